import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.cweno3 import cweno3
from solvers.distributions import Beta, Distribution, Mixture, Normal, Uniform
from solvers.errors import InputError
from solvers.time_grid import time_grid
from solvers.transport import CFL, automatic_domain, solve_transport
from solvers.wasserstein import PiecewiseLinearCdf
from solvers.zhang_shu import CFL as POSITIVITY_CFL
from solvers.zhang_shu import zhang_shu

TIMES, LAST = time_grid(1.0, 1e-2, snapshots=[1.0])
MOVING = Controls.of("sin(3*t)", "cos(4*t)")
SHIFT = Controls.of(0, 1)
AVERAGES = st.lists(st.sampled_from([0.0, 1e-12, 0.01, 0.3, 1.0, 50.0]), min_size=3, max_size=40)


def limited(u: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the faces of the inner cells before and after."""
    left, right = np.empty((2, u.size - 2))
    cweno3(u, 1e-4, left, right)
    before = left.copy(), right.copy()
    zhang_shu(u[1:-1], left, right)
    return (*before, left, right)


@settings(max_examples=200, deadline=None)
@given(AVERAGES)
def test_the_parabola_is_scaled_towards_its_average(values: list[float]) -> None:
    u = np.array(values)
    before_left, before_right, left, right = limited(u)
    mean = u[1:-1]
    centre = (6 * mean - left - right) / 4
    assert min(left.min(), right.min()) >= 0.0
    assert np.all(centre >= -4e-16 * mean)
    # one factor theta in each cell, between 0 and 1; 1 where nothing was negative
    offsets = np.array([before_left - mean, before_right - mean])
    after = np.array([left - mean, right - mean])
    np.testing.assert_allclose(
        after[0] * offsets[1], after[1] * offsets[0], atol=1e-13 * max(u.max(), 1e-300) ** 2
    )
    assert np.all(np.abs(after) <= np.abs(offsets) * (1 + 1e-12) + 1e-15 * mean)
    low = np.minimum(np.minimum(before_left, before_right), mean - (offsets[0] + offsets[1]) / 4)
    untouched = low > 1e-14 * u.max()
    np.testing.assert_array_equal(left[untouched], before_left[untouched])
    np.testing.assert_array_equal(right[untouched], before_right[untouched])


@settings(max_examples=100, deadline=None)
@given(AVERAGES, st.floats(0, 1 / 6), st.lists(st.floats(-1, 1), min_size=2, max_size=2))
def test_an_euler_step_keeps_the_sign(values: list[float], cfl: float, speeds: list) -> None:
    """With any velocities at the faces up to the bound on h max|v|/dx."""
    u = np.array([0.0, 0.0, *values, 0.0, 0.0])
    _, _, left, right = limited(u)
    v = cfl * np.resize(speeds, left.size - 1)
    flux = np.maximum(v, 0) * right[:-1] + np.minimum(v, 0) * left[1:]
    assert np.all(u[2:-2] - np.diff(flux) >= -1e-15 * u.max())


def test_what_rounding_made_negative_gives_nothing() -> None:
    left, right = np.array([[1e-18, -1e-18, 2.0], [-1e-18, -1e-18, -1.0]])
    zhang_shu(np.array([-1e-18, -1e-18, 1.0]), left, right)
    np.testing.assert_array_equal(left[:2], 0.0)
    np.testing.assert_array_equal(right, 0.0)
    assert left[2] == pytest.approx(1.5)


LAWS: list[Distribution] = [
    Uniform(-0.5, 0.5),  # Test 1
    Beta(2, 5),  # Test 3
    Beta(0.5, 0.5),
    Mixture([1, 2], [Uniform(-0.5, 0), Beta(2, 5, 0.2, 1.2)]),
]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("controls", [MOVING, SHIFT])
def test_no_average_is_negative(name: str, law: Distribution, controls: Controls) -> None:
    sigma = ACTIVATIONS[name]
    domain = automatic_domain(law, sigma, controls, 1.0)
    times, indices = time_grid(1.0, 1e-2, snapshots=np.linspace(0.1, 1.0, 10))
    arguments = (law, sigma, controls, domain, 200, times, indices)
    found = solve_transport(*arguments, limiter="positivity")
    assert found.density.min() >= -1e-15 * found.density.max()
    assert found.mass_error.max() < 1e-13
    assert (found.limiter, found.cfl) == ("positivity", POSITIVITY_CFL)
    without = solve_transport(*arguments)
    if name != "relu":
        assert without.density.min() < -1e-4  # so there was something to limit
    assert (without.limiter, without.cfl) == ("none", CFL)


def l1_errors(law: Distribution, name: str, controls: Controls, limiter: str) -> np.ndarray:
    sigma = ACTIVATIONS[name]
    domain = automatic_domain(law, sigma, controls, 1.0)
    exact = reference(law, sigma, controls, [1.0])
    errors = []
    for cells in (200, 400, 800, 1600):
        found = solve_transport(law, sigma, controls, domain, cells, TIMES, LAST, limiter=limiter)
        gap = np.abs(found.density[0] - exact.cell_averages(0, found.edges))
        errors.append(float(gap @ np.diff(found.edges)))
    return np.array(errors)


@pytest.mark.parametrize("name", ["identity", "tanh", "gcu"])
@pytest.mark.parametrize("law", [Normal(0.3, 0.35), Beta(4, 4)])
def test_the_order_stays_three(name: str, law: Distribution) -> None:
    """On data that are positive, and on data that vanish to third order at the ends."""
    e = l1_errors(law, name, MOVING, "positivity")
    orders = np.log2(e[:-1] / e[1:])
    assert np.all(np.abs(orders[1:] - 3.0) < 0.15), orders
    assert e[-1] < 1.05 * l1_errors(law, name, MOVING, "none")[-1]


def test_the_order_stays_three_at_zeros_inside() -> None:
    """f_0 proportional to sin^2 under a Gaussian; translated, so its averages only move."""

    def density(x: np.ndarray) -> np.ndarray:
        return np.sin(3 * np.pi * x) ** 2 * np.exp(-0.5 * (x / 0.25) ** 2)

    nodes, weights = np.polynomial.legendre.leggauss(8)
    errors = []
    for cells in (400, 800, 1600):
        edges = np.linspace(-2, 3, cells + 1)
        inside = edges[:-1, None] + np.diff(edges)[:, None] * 0.5 * (1 + nodes)
        start, end = (density(inside - shift) @ weights / 2 for shift in (0.0, 1.0))
        found = solve_transport(
            None, ACTIVATIONS["identity"], SHIFT, (-2, 3), cells, TIMES, LAST,
            initial_averages=start, limiter="positivity",
        )  # fmt: skip
        assert found.density.min() >= 0.0
        errors.append(np.abs(found.density[0] - end).mean())
    assert np.log2(errors[1] / errors[2]) == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("law", LAWS[:2])
def test_data_with_kinks_and_jumps_lose_nothing(law: Distribution) -> None:
    limited_errors = l1_errors(law, "tanh", MOVING, "positivity")
    assert np.all(limited_errors < 1.01 * l1_errors(law, "tanh", MOVING, "none"))


def test_the_cdf_of_a_limited_solution_does_not_decrease() -> None:
    found = solve_transport(
        Uniform(-0.5, 0.5), ACTIVATIONS["tanh"], MOVING, (-2, 3), 200, TIMES, LAST,
        limiter="positivity",
    )  # fmt: skip
    measure = PiecewiseLinearCdf(found.edges, found.density[0])
    assert np.all(np.diff(measure.right) >= 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limiter": "minmod"}, "unknown limiter 'minmod'; allowed: none, positivity"),
        ({"limiter": "positivity", "cfl": 0.3}, "at most 1/6"),
        ({"limiter": "positivity", "cfl": -0.1}, "must be positive"),
    ],
)
def test_invalid_settings_are_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        solve_transport(
            Uniform(0, 1), ACTIVATIONS["tanh"], MOVING, (-2, 3), 50, TIMES, LAST, **change
        )
