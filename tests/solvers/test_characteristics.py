import itertools

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from solvers.activations import ACTIVATIONS
from solvers.characteristics import characteristics, reference
from solvers.chebyshev import control_panels
from solvers.controls import Controls, PiecewiseLinearControl, control_from
from solvers.distributions import Beta, Distribution, Normal, Samples, Uniform
from solvers.errors import ControlError, InputError, NonFiniteError, PointTimeoutError
from solvers.particles import integrate
from solvers.sampling import sample
from solvers.wasserstein import PointMasses, w1

Y = np.array([-1.7, -0.4, 0.0, 0.3, 1.1, 2.0])
KNOTS = np.linspace(0, 1, 9)
CONTROLS = {
    "constant": (Controls.of(1.5, -0.3), [0, 1]),
    "smooth": (Controls.of("exp(t)-1", "-5*t**2+t"), [0, 1]),
    "kink": (Controls.of("3*abs(t-0.3)", "t"), [0, 0.3, 1]),
    "fast": (Controls.of("2*sin(50*t)", "cos(50*t)"), [0, 1]),
    "grid": (
        Controls(
            PiecewiseLinearControl(KNOTS, np.sin(5 * KNOTS) * 3),
            PiecewiseLinearControl(KNOTS, np.cos(9 * KNOTS)),
        ),
        KNOTS,
    ),
}


def dop853(name: str, controls: Controls, ends: np.ndarray, y: np.ndarray) -> np.ndarray:
    sigma = ACTIVATIONS[name]

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        w, b = controls.evaluate(t)
        return sigma(w * x + b)

    for start, stop in itertools.pairwise(ends):
        y = solve_ivp(rate, (start, stop), y, method="DOP853", rtol=3e-14, atol=1e-15).y[:, -1]
    return y


@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "gcu"])
@pytest.mark.parametrize("key", CONTROLS)
def test_flow_against_dop853(name: str, key: str) -> None:
    controls, ends = CONTROLS[key]
    x, _ = characteristics(Y, ACTIVATIONS[name], controls, [0.5, 1.0])
    np.testing.assert_allclose(x[1], dop853(name, controls, ends, Y), rtol=1e-12, atol=1e-12)


def test_singular_control_after_a_change_of_variable() -> None:
    x, _ = characteristics(Y, ACTIVATIONS["tanh"], Controls.of("sqrt(t)", 1), [1.0])
    smooth = solve_ivp(
        lambda s, z: 2 * s * np.tanh(s * z + 1), (0, 1), Y, method="DOP853", rtol=3e-14, atol=1e-15
    ).y[:, -1]
    np.testing.assert_allclose(x[0], smooth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("w", [2.0, -2.0])
def test_relu_in_closed_form(w: float) -> None:
    b = -0.6
    x, j = characteristics(Y, ACTIVATIONS["relu"], Controls.of(w, b), [0.3, 1.0])
    active = w * Y + b > 0
    for s, t in enumerate((0.3, 1.0)):
        exact = np.where(active, (Y + b / w) * np.exp(w * t) - b / w, Y)
        np.testing.assert_allclose(x[s], exact, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(j[s], np.where(active, w * t, 0.0), atol=1e-12)


def test_relu_that_switches_on_and_off() -> None:
    b = control_from("sin(6*pi*t) - 0.3")
    x, j = characteristics(Y, ACTIVATIONS["relu"], Controls.of(0, "sin(6*pi*t) - 0.3"), [1.0])
    start = np.arcsin(0.3)
    zeros = [(start + k * 2 * np.pi) / (6 * np.pi) for k in range(3)]
    ends = [(np.pi - start + k * 2 * np.pi) / (6 * np.pi) for k in range(3)]
    moved = sum(quad(lambda t: float(b(t)), a, c)[0] for a, c in zip(zeros, ends, strict=True))
    np.testing.assert_allclose(x[0], Y + moved, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(j, 0.0)


def test_relu_that_wakes_up_late_in_a_step() -> None:
    """Inactive at every early stage: agreement of the first extrapolations must not fool it."""
    x, _ = characteristics([0.0, 1.0], ACTIVATIONS["relu"], Controls.of(0, "t - 0.97"), [1.0])
    np.testing.assert_allclose(x[0], np.array([0.0, 1.0]) + 0.5 * 0.03**2, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_log_slope_is_the_derivative_of_the_flow(name: str) -> None:
    controls = CONTROLS["smooth"][0]
    h = 1e-4
    x, j = characteristics(
        np.concatenate([Y - 2 * h, Y - h, Y + h, Y + 2 * h]), ACTIVATIONS[name], controls, [1.0]
    )
    _, j = characteristics(Y, ACTIVATIONS[name], controls, [1.0])
    a, b, c, d = x[0].reshape(4, -1)
    np.testing.assert_allclose(np.exp(j[0]), (8 * (c - b) - (d - a)) / (12 * h), rtol=1e-7)


def test_blow_up_and_bad_times() -> None:
    with pytest.raises(NonFiniteError, match="cannot be integrated"):
        characteristics([1.0], ACTIVATIONS["identity"], Controls.of(800, 0), [1.0])
    for times in ([1.0, 0.5], [-1.0, 1.0], [np.nan]):
        with pytest.raises(InputError):
            characteristics([1.0], ACTIVATIONS["tanh"], Controls.of(1, 0), times)


class TestPanels:
    @pytest.mark.parametrize("key", CONTROLS)
    def test_series_reproduce_the_controls(self, key: str) -> None:
        controls = CONTROLS[key][0]
        panels = control_panels(controls, 1.0, [0.37])
        assert np.abs(panels.edges - 0.37).min() == 0.0
        t, w, b = panels.dense
        exact_w, exact_b = controls.evaluate(np.clip(t, 0, 1))
        np.testing.assert_allclose(w, exact_w, rtol=0, atol=3e-14)
        np.testing.assert_allclose(b, exact_b, rtol=0, atol=3e-14)

    def test_what_cannot_be_resolved_is_refused(self) -> None:
        with pytest.raises(ControlError):
            control_panels(Controls.of("sin(1e9*t)", 0), 1.0)
        with pytest.raises(ControlError):
            control_panels(Controls.of("1/(t-0.31830988618)", 0), 1.0)


LAWS: list[Distribution] = [
    Uniform(-0.5, 0.5),
    Normal(0.3, 0.7),
    Beta(2, 5),
    Beta(0.5, 0.7, -1, 1),
    Beta(1.5, 1.2),
    Samples([-1.0, 0.0, 0.5, 0.5, 2.0]),
]


@pytest.mark.parametrize("law", LAWS)
class TestAffineFlow:
    """For the identity everything is known: x = a y + c."""

    times = (0.0, 0.4, 1.0)

    def solution(self, law: Distribution) -> tuple:
        exact = reference(law, ACTIVATIONS["identity"], Controls.of(-1.5, 2.0), self.times)
        maps = [(np.exp(-1.5 * t), -2.0 / 1.5 * np.expm1(-1.5 * t)) for t in self.times]
        return exact, maps

    def test_distribution_function_and_density(self, law: Distribution) -> None:
        exact, maps = self.solution(law)
        low, high = law.support(1e-14)
        y = np.linspace(low, high, 403)[1:-1]
        for s, (a, c) in enumerate(maps):
            x = a * y + c
            tolerance = 1e-11 if not np.isfinite(law.pdf([low, high])).all() else 2e-12
            np.testing.assert_allclose(exact.cdf(s, x), law.cdf(y), rtol=0, atol=tolerance)
            np.testing.assert_allclose(exact.flow(s, y), x, rtol=0, atol=2e-12)
            away = np.abs(y[:, None] - np.append(law.breakpoints(), 99)).min(axis=1) > 1e-3
            np.testing.assert_allclose(exact.density(s, x)[away], (law.pdf(y) / a)[away], rtol=2e-9)
            u = np.linspace(0.01, 0.99, 21)
            np.testing.assert_allclose(exact.quantile(s, u), a * law.quantile(u) + c, atol=2e-12)

    def test_moments_and_ranges(self, law: Distribution) -> None:
        exact, maps = self.solution(law)
        low, high = law.support()
        for s, (a, c) in enumerate(maps):
            assert exact.mean(s) == pytest.approx(a * law.mean + c, abs=2e-12)
            assert exact.variance(s) == pytest.approx(a * a * law.variance, rel=2e-11)
            assert exact.range(s) == pytest.approx((a * low + c, a * high + c), abs=1e-12)

    def test_argument_range_is_an_outer_hull(self, law: Distribution) -> None:
        exact, _ = self.solution(law)
        low, high = law.support()
        t = np.linspace(0, 1, 1001)[:, None]
        z = -1.5 * (np.exp(-1.5 * t) * np.array([low, high]) - 2 / 1.5 * np.expm1(-1.5 * t)) + 2.0
        found = exact.argument_range()
        assert found[0][-1] <= z.min() + 1e-12
        assert found[1][-1] >= z.max() - 1e-12
        assert found[1][-1] - found[0][-1] < 1.1 * np.ptp(z)

    def test_cell_averages(self, law: Distribution) -> None:
        exact, maps = self.solution(law)
        a, c = maps[2]
        edges = np.linspace(*exact.range(2), 41)
        back = (edges - c) / a
        back[[0, -1]] = law.support()  # at a singular end a rounding error of 1e-16 is one of 1e-8
        expected = law.cell_averages(back) / a
        np.testing.assert_allclose(
            exact.cell_averages(2, edges) * np.diff(edges), expected * np.diff(edges), atol=3e-11
        )


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gcu"])
@pytest.mark.parametrize("law", [Uniform(-0.5, 0.5), Normal(0.3, 0.7), Beta(2, 5)])
def test_w1_against_brute_force_quadrature(name: str, law: Distribution) -> None:
    """W1 of two laws on one flow: the integral of |Q_1 - Q_2| by Gauss nodes and DOP853."""
    controls, _ = CONTROLS["smooth"]
    shifted = {
        Uniform: lambda: Uniform(-0.3, 0.9),
        Normal: lambda: Normal(0.8, 0.7),
        Beta: lambda: Beta(2, 5, 0.1, 1.1),
    }[type(law)]()
    found = w1(
        *(reference(each, ACTIVATIONS[name], controls, [1.0]).measure(0) for each in (law, shifted))
    )
    low, high = law.support(1e-16)
    pieces = np.linspace(low, high, 161 if name != "relu" else 4001)  # relu: kinks in between
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half = 0.5 * np.diff(pieces)[:, None]
    y = (pieces[:-1, None] + half * (1 + nodes)).ravel()
    density = law.pdf(y) * (half * weights).ravel()
    other = shifted.support(1e-16)
    z = other[0] + (y - low) * (other[1] - other[0]) / (high - low)  # same quantiles: affine
    if name == "relu":
        both, _ = characteristics(np.concatenate([y, z]), ACTIVATIONS[name], controls, [1.0])
        ends = both[0]
    else:
        ends = dop853(name, controls, np.array([0, 1]), np.concatenate([y, z]))
    expected = float(np.dot(np.abs(ends[: y.size] - ends[y.size :]), density))
    assert found == pytest.approx(expected, abs=1e-10 if name != "relu" else 1e-8)


def test_strong_contraction_makes_no_nan() -> None:
    for law in (Normal(0, 1), Uniform(-1, 2), Beta(0.5, 0.5)):
        exact = reference(law, ACTIVATIONS["identity"], Controls.of(-50, 0), [0.0, 1.0])
        measure = exact.measure(1)
        assert np.isfinite(measure.coefficients).all()
        assert abs(exact.mean(1)) < 1e-10
        assert 0 <= exact.variance(1) < 1e-20
        assert w1(PointMasses([0.0]), measure) < 1e-10


def test_weight_on_many_breakpoints() -> None:
    data = np.round(np.random.default_rng(0).normal(size=20000), 5)
    law = Samples(data)
    exact = reference(law, ACTIVATIONS["tanh"], CONTROLS["smooth"][0], [0.0, 1.0])
    assert w1(PointMasses(data), exact.measure(0)) < 1e-3
    assert exact.mean(0) == pytest.approx(law.mean, abs=1e-13)
    assert np.all(np.diff(exact.x, axis=1) >= 0)


def test_reference_is_reproducible_and_snapshots_agree() -> None:
    law, sigma = Beta(2, 5), ACTIVATIONS["gcu"]
    controls = CONTROLS["smooth"][0]
    a = reference(law, sigma, controls, [0.5, 1.0])
    b = reference(law, sigma, controls, [0.5, 1.0])
    np.testing.assert_array_equal(a.x, b.x)
    alone = reference(law, sigma, controls, [1.0])
    assert w1(a.measure(1), alone.measure(0)) < 1e-11


def test_particles_approach_the_reference() -> None:
    law, sigma = Normal(0, 1), ACTIVATIONS["tanh"]
    exact = reference(law, sigma, CONTROLS["smooth"][0], [1.0])
    distances = [
        w1(PointMasses(exact.flow(0, sample(law, m, "quantile"))), exact.measure(0))
        for m in (100, 1000, 10000)
    ]
    assert distances[0] > 5 * distances[1] > 25 * distances[2]


def test_poll_may_stop() -> None:
    def poll() -> None:
        raise PointTimeoutError("too long")

    with pytest.raises(PointTimeoutError):
        reference(Normal(0, 1), ACTIVATIONS["tanh"], Controls.of(1, 0), [1.0], poll=poll)


@pytest.mark.parametrize(("w", "horizon"), [(10.0, 2.0), (4.0, 4.0)])
def test_noise_ends_the_bisection(w: float, horizon: float) -> None:
    """Rounding grows by exp(w T): sinh(w x) = sinh(w y) exp(w T)."""
    exact = reference(Uniform(-0.5, 0.5), ACTIVATIONS["tanh"], Controls.of(w, 0), [horizon])
    assert exact.y.size < 20_000
    assert exact.error_estimate < 1e-7
    x = np.linspace(*exact.range(0), 20001)
    y = np.arcsinh(np.sinh(w * x) * np.exp(-w * horizon)) / w
    assert np.trapezoid(np.abs(exact.cdf(0, x) - (y + 0.5)), x) < 1e-11


def test_singular_density_ends() -> None:
    controls = Controls.of("2*sin(7*t)", "-5*t**2+t")
    exact = reference(Beta(0.1, 0.1), ACTIVATIONS["identity"], controls, [0.0, 0.5, 1.0])
    assert exact.y.size < 20_000
    assert exact.error_estimate < 1e-12


def test_the_largest_mesh_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solvers.characteristics.MAX_MESH", 1000)
    controls = Controls.of(-1, "-5*t**2+t")
    exact = reference(Normal(0, 5), ACTIVATIONS["gcu"], controls, [1.0])
    assert exact.y.size < 1200
    assert exact.error_estimate > 1e-3


def test_two_low_columns_that_agree_by_accident() -> None:
    controls = Controls.of("sin(7*t)*2", "-5*t**2+t")
    y = np.linspace(0.25, 0.3, 20001)
    x, j = characteristics(y, ACTIVATIONS["identity"], controls, [0.5, 1.0])
    for s in range(2):  # affine in y
        line = x[s, 0] + (y - y[0]) * np.exp(j[s, 0])
        np.testing.assert_allclose(x[s], line, rtol=0, atol=3e-14)


def test_small_positions_are_accurate_relatively() -> None:
    y = np.geomspace(1e-9, 0.5, 200)
    x, _ = characteristics(y, ACTIVATIONS["tanh"], Controls.of(10, 0), [2.0])
    np.testing.assert_allclose(x[0], np.arcsinh(np.sinh(10 * y) * np.exp(20)) / 10, rtol=1e-11)


def test_a_kept_reference_forgets_its_poll() -> None:
    late = False

    def poll() -> None:
        if late:
            raise PointTimeoutError("too long")

    exact = reference(Normal(0, 1), ACTIVATIONS["tanh"], Controls.of(1, 0), [1.0], poll=poll)
    late = True
    assert np.isfinite(exact.density(0, [0.3])).all()
    assert exact.measure(0) is exact.measure(0)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_switches_between_steep_knots_are_not_missed(name: str) -> None:
    """Against our own fourth-order particles with steps far below the width of a switch."""
    random = np.random.default_rng(0)
    knots = np.linspace(0.0, 0.2, 21)
    w, b = 20 * random.standard_normal((2, 21))
    controls = Controls(PiecewiseLinearControl(knots, w), PiecewiseLinearControl(knots, b))
    times = np.unique([np.linspace(a, c, 1001) for a, c in itertools.pairwise(knots)])
    y = np.linspace(-2.0, 2.0, 21)
    found = characteristics(y, ACTIVATIONS[name], controls, [0.2])[0][0]
    paths = integrate(y, ACTIVATIONS[name], controls, times, [times.size - 1])[0]
    np.testing.assert_allclose(found, paths, rtol=0, atol=1e-10)
