import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.distributions import Beta, Distribution, Normal, Samples, Uniform
from solvers.dobrushin import dobrushin_factors
from solvers.errors import InputError
from solvers.particles import integrate
from solvers.sampling import sample
from solvers.time_grid import time_grid
from solvers.wasserstein import PointMasses, w1

UNIT = ([-1.0], [1.0])
LAWS: list[Distribution] = [
    Uniform(-0.5, 0.5),
    Normal(0.3, 0.7),
    Beta(2, 5),
    Beta(0.5, 0.5, -1, 2),
    Samples([-1.0, 0.0, 0.5, 0.5, 2.0]),
]


@pytest.mark.parametrize(
    ("w", "integral"),
    [
        (-1.5, 1.5),
        ("exp(t) - 1", np.e - 2),
        ("t - 0.3", 0.5 * (0.09 + 0.49)),
        ("cos(7*pi*t)", 2 / np.pi),
        ("abs(t - 0.3)", 0.29),
        ("sqrt(t)", 2 / 3),
        ("0", 0.0),
    ],
)
def test_integral_of_the_control(w: str | float, integral: float) -> None:
    factor = dobrushin_factors(ACTIVATIONS["identity"], Controls.of(w, 1), UNIT, [1.0])[0]
    assert np.log(factor) == pytest.approx(integral, rel=1e-12, abs=1e-15)


def test_integral_of_a_piecewise_linear_control() -> None:
    times, values = np.linspace(0, 1, 8), np.array([0, 1, -2, 3, -1, 0, 0, 2.0])
    controls = Controls(
        PiecewiseLinearControl(times, values), PiecewiseLinearControl([0, 1], [0, 0])
    )
    zeros = [
        t0 + (t1 - t0) * a / (a - b)
        for t0, t1, a, b in zip(times, times[1:], values, values[1:], strict=False)
        if a * b < 0
    ]
    points = np.unique(np.concatenate([times, zeros]))
    expected = sum(
        quad(lambda t: abs(float(controls.w(t))), a, b)[0] for a, b in itertools.pairwise(points)
    )
    factor = dobrushin_factors(ACTIVATIONS["identity"], controls, UNIT, [1.0])[0]
    assert np.log(factor) == pytest.approx(expected, rel=1e-12)


def test_constants_come_from_the_ranges() -> None:
    times = [0.0, 0.5, 1.0]
    factors = dobrushin_factors(
        ACTIVATIONS["gcu"], Controls.of(1, 0), ([0, 0, -3], [0, 0.1, 5]), times
    )
    gcu = ACTIVATIONS["gcu"]
    expected = np.exp([0.0, 0.5 * gcu.lipschitz(0, 0.1), gcu.lipschitz(-3, 5)])
    np.testing.assert_allclose(factors, expected, rtol=1e-13)
    with pytest.raises(InputError):
        dobrushin_factors(gcu, Controls.of(1, 0), UNIT, times)


def random_controls(rng: np.random.Generator) -> Controls:
    grid = np.linspace(0, 1, 6)
    return Controls(
        PiecewiseLinearControl(grid, rng.normal(0, 1.5, 6)),
        PiecewiseLinearControl(grid, rng.normal(0, 1, 6)),
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("law", LAWS)
def test_no_realisation_exceeds_the_bound(name: str, law: Distribution) -> None:
    rng = np.random.default_rng(5)
    sigma = ACTIVATIONS[name]
    for seed in range(2):
        controls = random_controls(rng)
        times, indices = time_grid(1.0, 0.02, controls.knots, [0.5, 1.0])
        exact = reference(law, sigma, controls, times[indices])
        start = reference(law, sigma, controls, [0.0]).measure(0)
        factors = dobrushin_factors(sigma, controls, exact.argument_range(), times[indices])
        for particles in (10, 300):
            x = sample(law, particles, "iid", (3, seed))
            w1_initial = w1(PointMasses(x, sorted=True), start)
            out = integrate(x, sigma, controls, times, indices)
            for s in range(2):
                flow_error = np.abs(out[s] - exact.flow(s, x)).max()
                distance = w1(PointMasses(out[s], sorted=True), exact.measure(s))
                ratio = distance / (factors[s] * w1_initial + flow_error)
                assert ratio <= 1 + 1e-9 + 1e-10 / w1_initial


@pytest.mark.parametrize("law", LAWS)
def test_the_bound_is_attained_by_the_identity(law: Distribution) -> None:
    controls = Controls.of("1 + t", "sin(t)")
    sigma = ACTIVATIONS["identity"]
    exact = reference(law, sigma, controls, [1.0])
    start = reference(law, sigma, controls, [0.0]).measure(0)
    factor = dobrushin_factors(sigma, controls, exact.argument_range(), [1.0])[0]
    x = sample(law, 200, "iid", (0, 0))
    distance = w1(PointMasses(exact.flow(0, x)), exact.measure(0))
    assert distance / (factor * w1(PointMasses(x), start)) == pytest.approx(1.0, rel=1e-9)
