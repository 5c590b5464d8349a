"""The closed results of Herty et al. as verification: Propositions 3.4, 3.5, 3.6 and Lemma 3.1.

Estimate (12) is in test_continuous_dependence.py.
"""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from solvers.activations import ACTIVATIONS
from solvers.characteristics import characteristics, reference
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.convergence import fit_order
from solvers.distributions import Affine, Beta, Distribution, Mixture, Normal, Uniform
from solvers.particles import integrate
from solvers.sampling import sample
from solvers.time_grid import time_grid
from solvers.transport import automatic_domain, solve_transport
from solvers.wasserstein import Measure, PiecewiseLinearCdf, PointMasses, w1

IDENTITY = ACTIVATIONS["identity"]
CELLS = (400, 800, 1600)
SMOOTH = Beta(4, 7)
LAWS: list[Distribution] = [
    SMOOTH,
    Uniform(-0.5, 0.5),
    Normal(1, 0.1),
    Mixture([1, 3], [Uniform(-2, -1), Uniform(1, 1.5)]),
]


def exact_measure(law: Distribution) -> Measure:
    return reference(law, IDENTITY, Controls.of(0, 0), [0.0]).measure(0)


def pde_errors(law: Distribution, target: Distribution, name: str, controls: Controls) -> list:
    """Return the L1 distances of f_T, T = 1, to the target in cell averages, one for each mesh."""
    times, last = time_grid(1.0, 1e-2, controls.knots, [1.0])
    domain = automatic_domain(law, ACTIVATIONS[name], controls, times)
    errors = []
    for cells in CELLS:
        found = solve_transport(law, ACTIVATIONS[name], controls, domain, cells, times, last)
        gap = np.abs(found.density[0] - target.cell_averages(found.edges))
        errors.append(float(gap @ np.diff(found.edges)))
    return errors


class TestProposition34:
    """w = 0, b = sigma^{-1}(beta/T): the law is translated by beta."""

    BETA = 0.4
    INVERSES = {  # noqa: RUF012
        "identity": 0.4,
        "relu": 0.4,
        "sigmoid": np.log(0.4 / 0.6),
        "tanh": np.arctanh(0.4),
        "gcu": brentq(lambda z: z * np.cos(z) - 0.4, 0.0, 0.8, xtol=1e-15),
    }

    @pytest.mark.parametrize("name", ACTIVATIONS)
    @pytest.mark.parametrize("law", LAWS)
    def test_reference_and_particles(self, name: str, law: Distribution) -> None:
        sigma, controls = ACTIVATIONS[name], Controls.of(0, float(self.INVERSES[name]))
        target = exact_measure(Affine(law, 1.0, self.BETA))
        exact = reference(law, sigma, controls, [1.0])
        assert w1(exact.measure(0), target) < 1e-11 * np.ptp(exact.range(0))
        times, last = time_grid(1.0, 1e-2, snapshots=[1.0])
        x = sample(law, 1000, "iid", (0, 0))
        for integrator in ("euler", "ssprk3", "rk4"):
            moved = integrate(x, sigma, controls, times, last, integrator)[0]
            np.testing.assert_allclose(moved, x + self.BETA, rtol=0, atol=1e-13)

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_pde_to_third_order(self, name: str) -> None:
        controls = Controls.of(0, float(self.INVERSES[name]))
        errors = pde_errors(SMOOTH, Affine(SMOOTH, 1.0, self.BETA), name, controls)
        assert fit_order(CELLS, errors).order == pytest.approx(3.0, abs=0.15)

    def test_the_controls_are_not_unique(self) -> None:
        """The paper's remark: b = t^2 + 1 up to the T with T^3/3 + T = beta, or b = beta/T."""
        end = brentq(lambda t: t**3 / 3 + t - self.BETA, 0, 1, xtol=1e-15)
        ends = [
            characteristics([-1.0, 0.3, 2.0], IDENTITY, Controls.of(0, b), [end])[0][0]
            for b in ("t**2 + 1", self.BETA / end)
        ]
        np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-13)
        np.testing.assert_allclose(ends[0], np.array([-1.0, 0.3, 2.0]) + self.BETA, atol=1e-13)

    @pytest.mark.parametrize("name", ["tanh", "sigmoid"])
    def test_beyond_the_image_it_does_not_apply(self, name: str) -> None:
        """beta/T = 1, as in Test 1: with w = 0 the law stays behind for every b."""
        law, target = Uniform(-0.5, 0.5), exact_measure(Uniform(0.5, 1.5))
        missed = [
            w1(reference(law, ACTIVATIONS[name], Controls.of(0, b), [1.0]).measure(0), target)
            for b in (0.0, 1.0, 3.0, 9.0)
        ]
        np.testing.assert_allclose(missed, 1 - ACTIVATIONS[name]([0.0, 1.0, 3.0, 9.0]), atol=1e-12)
        assert np.all(np.diff(missed) < 0.0)
        assert missed[-1] > 1e-9


KNOTS = np.linspace(0, 1, 6)
WEIGHTS: dict[str, object] = {
    "constant": -1.5,
    "expression": "2*cos(5*t) + t",
    "grid": PiecewiseLinearControl(KNOTS, [1.0, -2.0, 3.0, 0.0, -1.0, 2.0]),
}


class TestLemma31:
    """sigma(x) = x, b = -w m(0): the mean does not move, whatever w does."""

    @staticmethod
    def controls(key: str, mean: float) -> Controls:
        w = WEIGHTS[key]
        if isinstance(w, PiecewiseLinearControl):
            return Controls(w, PiecewiseLinearControl(w.times, -mean * w.values))
        return Controls.of(w, f"({-mean!r})*({w})")

    @pytest.mark.parametrize("key", WEIGHTS)
    @pytest.mark.parametrize("law", LAWS)
    def test_reference_and_particles(self, key: str, law: Distribution) -> None:
        controls = self.controls(key, law.mean)
        times, indices = time_grid(1.0, 0.02, controls.knots, [0.4, 1.0])
        exact = reference(law, IDENTITY, controls, times[indices])
        width = np.ptp(exact.range(1)) + np.ptp(exact.range(0))
        for s in range(2):
            assert abs(exact.mean(s) - law.mean) < 1e-12 * width
        x = sample(law, 500, "iid", (3, 0))
        moved = integrate(x, IDENTITY, controls, times, indices)
        growth = [
            quad(controls.w, 0, t, points=controls.knots[1:-1], limit=200)[0] for t in (0.4, 1.0)
        ]
        # the particles' own mean is not m(0): its distance to it grows by exp(int w)
        expected = law.mean + np.exp(growth) * (x.mean() - law.mean)
        np.testing.assert_allclose(moved.mean(axis=1), expected, rtol=0, atol=1e-6 * width)

    @pytest.mark.parametrize("key", WEIGHTS)
    def test_pde(self, key: str) -> None:
        controls = self.controls(key, SMOOTH.mean)
        times, last = time_grid(1.0, 1e-2, controls.knots, [1.0])
        domain = automatic_domain(SMOOTH, IDENTITY, controls, times)
        drift = []
        for cells in CELLS:
            found = solve_transport(SMOOTH, IDENTITY, controls, domain, cells, times, last)
            mean = found.density[0] @ found.centers * np.diff(found.edges)[0]
            drift.append(abs(mean - SMOOTH.mean))
        assert drift[-1] < 1e-7
        assert fit_order(CELLS, drift).order > 2.85


class TestProposition36:
    """sigma(x) = x, b = -w m_0, int w dt = -alpha: f_T = F^{-1} # f_0.

    F(x) = x e^alpha + (1 - e^alpha) m_0, so x_T = m_0 + e^-alpha (x_0 - m_0): alpha > 0
    concentrates. The statement, the choice int w = -alpha in its proof, the text after it and Test
    2 agree on this sign. Slips: the printed flow lacks a factor e^W before the integral (the
    printed inverse is right); df_T = df_0(F(x)) is meant as measures, the density is
    e^alpha f_0(F(x)); and without that Jacobian the second moment gets the printed e^(-3 alpha),
    that of a density of mass e^-alpha. It is e^(-2 alpha).
    """

    @staticmethod
    def controls(alpha: float, mean: float, shape: str) -> Controls:
        w = {"constant": f"({-alpha!r})", "linear": f"({-2 * alpha!r})*t"}[shape]
        return Controls.of(w, f"({-mean!r})*{w}")

    @pytest.mark.parametrize("alpha", [0.25, 1.0, -0.5])
    @pytest.mark.parametrize("shape", ["constant", "linear"])
    @pytest.mark.parametrize("law", LAWS)
    def test_reference_and_particles(self, alpha: float, shape: str, law: Distribution) -> None:
        controls = self.controls(alpha, law.mean, shape)
        image = Affine(law, np.exp(-alpha), (1 - np.exp(-alpha)) * law.mean)
        exact = reference(law, IDENTITY, controls, [1.0])
        assert w1(exact.measure(0), exact_measure(image)) < 1e-11 * np.ptp(exact.range(0))
        assert exact.mean(0) == pytest.approx(law.mean, abs=1e-11)
        assert exact.variance(0) == pytest.approx(np.exp(-2 * alpha) * law.variance, rel=1e-10)
        times, last = time_grid(1.0, 1e-2, snapshots=[1.0])
        x = sample(law, 1000, "iid", (0, 0))
        moved = integrate(x, IDENTITY, controls, times, last)[0]
        expected = law.mean + np.exp(-alpha) * (x - law.mean)
        np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-9 * np.ptp(x))

    @pytest.mark.parametrize("alpha", [0.25, 1.0, -0.5])
    def test_pde_to_third_order(self, alpha: float) -> None:
        image = Affine(SMOOTH, np.exp(-alpha), (1 - np.exp(-alpha)) * SMOOTH.mean)
        errors = pde_errors(
            SMOOTH, image, "identity", self.controls(alpha, SMOOTH.mean, "constant")
        )
        assert fit_order(CELLS, errors).order == pytest.approx(3.0, abs=0.15)

    def test_the_density_of_test_2(self) -> None:
        """g(x) = f_0(x e^alpha + (1 - e^alpha) mu) e^alpha is reached with int w = -alpha."""
        law, alpha = Normal(1, 0.1), 0.25
        exact = reference(law, IDENTITY, self.controls(alpha, 1.0, "constant"), [1.0])
        x = np.linspace(0.7, 1.3, 41)
        g = law.pdf(x * np.exp(alpha) + (1 - np.exp(alpha)) * 1.0) * np.exp(alpha)
        np.testing.assert_allclose(exact.density(0, x), g, rtol=1e-9)
        opposite = reference(law, IDENTITY, self.controls(-alpha, 1.0, "constant"), [1.0])
        assert w1(exact.measure(0), opposite.measure(0)) == pytest.approx(
            (np.exp(alpha) - np.exp(-alpha)) * 0.1 * np.sqrt(2 / np.pi), rel=1e-9
        )

    def test_the_printed_second_moment_is_of_a_density_without_its_jacobian(self) -> None:
        law, alpha = Normal(0, 1), 0.25
        exact = reference(law, IDENTITY, self.controls(alpha, 0.0, "constant"), [1.0])
        assert exact.variance(0) == pytest.approx(np.exp(-2 * alpha), rel=1e-10)
        without = quad(lambda x: x**2 * float(law.pdf(x * np.exp(alpha))), -20, 20)[0]
        assert without == pytest.approx(np.exp(-3 * alpha), rel=1e-8)
        mass = quad(lambda x: float(law.pdf(x * np.exp(alpha))), -20, 20)[0]
        assert mass == pytest.approx(np.exp(-alpha), rel=1e-8)

    def test_the_printed_flow_lacks_a_factor(self) -> None:
        mean, alpha, y = 1.0, 0.25, np.array([0.5, 1.0, 2.0])
        found = characteristics(y, IDENTITY, self.controls(alpha, mean, "linear"), [1.0])[0][0]
        inner = np.expm1(alpha)  # int -e^-W w dt = e^(-W(T)) - 1, W(T) = -alpha
        np.testing.assert_allclose(found, np.exp(-alpha) * (y + mean * inner), rtol=1e-12)
        assert np.all(np.abs(found - (np.exp(-alpha) * y + mean * inner)) > 0.05)


STABLE = 0.5 * np.pi
STEADY = [
    # activation, w, b, f_0, stable zeros, their basins' shares of f_0, rate
    ("tanh", -1.0, 0.5, Uniform(-0.5, 1), [0.5], [1.0], 1.0),
    ("tanh", -2.0, 0.5, Normal(0, 1), [0.25], [1.0], 2.0),
    ("gcu", -1.0, 0.0, Uniform(-0.5, 1), [0.0], [1.0], 1.0),
    ("gcu", 1.0, 0.0, Uniform(0.2, 1.2), [STABLE], [1.0], STABLE),
    ("gcu", 1.0, 0.0, Uniform(-0.5, 1), [-STABLE, STABLE], [1 / 3, 2 / 3], 1.0),
    ("gcu", 1.0, 0.0, Mixture([1, 4], [Uniform(-2, -1), Beta(2, 2, 1, 3)]),
     [-STABLE, STABLE], [0.2, 0.8], STABLE),
    ("gcu", 2.0, -2.0, Uniform(0.8, 1.4), [1 - STABLE / 2, 1 + STABLE / 2], [1 / 3, 2 / 3], 2.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "w", "b", "law", "zeros", "shares", "rate"), STEADY)
class TestProposition35:
    """Constant w, b: f_t tends to point masses at stable zeros of sigma(w x + b).

    A zero y is stable where sigma'(w y + b) w < 0; its mass is what f_0 gives to its basin, which
    unstable zeros bound. W1 falls like e^(-r t) with the smallest r = |sigma'(w y + b) w| of the
    stable zeros and of those unstable ones where f_0 has a density: they are left only as slowly.
    """

    def setting(self, w: float, b: float, zeros: list, shares: list) -> tuple:
        return Controls.of(w, b), PointMasses(zeros, shares)

    def test_rate(
        self,
        name: str,
        w: float,
        b: float,
        law: Distribution,
        zeros: list,
        shares: list,
        rate: float,
    ) -> None:
        controls, limit = self.setting(w, b, zeros, shares)
        sigma = ACTIVATIONS[name]
        np.testing.assert_allclose(sigma(w * np.array(zeros) + b), 0.0, atol=1e-15)
        slopes = sigma.derivative(w * np.array(zeros) + b) * w
        assert np.all(slopes < 0.0)
        assert rate <= np.abs(slopes).min() + 1e-12
        times = np.array([0.0, 8.0, 10.0, 12.0]) / rate
        exact = reference(law, sigma, controls, times)
        distance = np.array([w1(exact.measure(s), limit) for s in range(4)])
        measured = -np.diff(np.log(distance)) / np.diff(times)
        assert measured[-1] == pytest.approx(rate, rel=5e-3)
        assert distance[-1] < 2e-4 * distance[0]

    def test_particles(
        self,
        name: str,
        w: float,
        b: float,
        law: Distribution,
        zeros: list,
        shares: list,
        rate: float,
    ) -> None:
        controls, limit = self.setting(w, b, zeros, shares)
        times, last = time_grid(20.0, 1e-2, snapshots=[20.0])
        for particles in (300, 3000):
            x = sample(law, particles, "quantile")
            moved = integrate(x, ACTIVATIONS[name], controls, times, last)[0]
            # at most one particle of each basin is on the wrong side, or still between
            reach = np.ptp(zeros) / particles
            assert w1(PointMasses(moved), limit) < reach + 1e-6

    def test_pde(
        self,
        name: str,
        w: float,
        b: float,
        law: Distribution,
        zeros: list,
        shares: list,
        rate: float,
    ) -> None:
        """The scheme keeps the point masses to less than a cell."""
        controls, limit = self.setting(w, b, zeros, shares)
        times, last = time_grid(12.0, 1e-2, snapshots=[12.0])
        domain = automatic_domain(law, ACTIVATIONS[name], controls, times)
        found = solve_transport(law, ACTIVATIONS[name], controls, domain, 400, times, last)
        distance = w1(PiecewiseLinearCdf(found.edges, found.density[0]), limit)
        assert distance < np.diff(found.edges)[0]
        assert found.mass_error.max() < 1e-13
