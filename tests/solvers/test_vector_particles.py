import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from solvers import euler, rk4, ssprk3
from solvers.activations import ACTIVATIONS
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.errors import ControlError, InputError, NonFiniteError, PointTimeoutError
from solvers.particles import integrate
from solvers.time_grid import time_grid
from solvers.vector_controls import VectorControls, controls_from
from solvers.vector_particles import (
    TABLEAUX,
    TILE,
    Tableau,
    integrate_vectors,
    vector_moments,
)

ORDERS = {"euler": euler.ORDER, "ssprk3": ssprk3.ORDER, "rk4": rk4.ORDER}
FULL = VectorControls.of(
    [["t", -1, 0.3], [0.5, "sin(3*t)", 1], [-1, 0.2, "cos(t)"]], ["exp(t) - 1", 0.1, "-t"]
)
POINTS = np.random.default_rng(0).normal(size=(4, 3))


def oracle(name: str, controls: VectorControls, x: np.ndarray) -> np.ndarray:
    """SciPy's solution at t = 1 of one particle, restarted at the knots."""
    sigma = ACTIVATIONS[name]

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        w, b = controls.evaluate(t)
        return sigma(w @ y + b)

    stops = np.unique([0.0, *controls.knots, 1.0])
    for start, stop in itertools.pairwise(stops):
        x = solve_ivp(rate, (start, stop), x, method="DOP853", rtol=3e-14, atol=1e-15).y[:, -1]
    return x


def errors(name: str, controls: VectorControls, integrator: str, steps: list[int]) -> np.ndarray:
    exact = np.array([oracle(name, controls, x) for x in POINTS])
    found = []
    for n in steps:
        times, indices = time_grid(1.0, 1.0 / n, controls.knots, [1.0])
        x = integrate_vectors(POINTS, ACTIVATIONS[name], controls, times, indices, integrator)[0]
        found.append(np.abs(x - exact).max())
    return np.array(found)


@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "gcu"])
@pytest.mark.parametrize("integrator", TABLEAUX)
def test_order_against_solve_ivp_with_a_full_matrix(name: str, integrator: str) -> None:
    e = errors(name, FULL, integrator, [64, 128, 256])
    assert np.log2(e[1] / e[2]) == pytest.approx(ORDERS[integrator], abs=0.15)


def test_relu_against_solve_ivp_with_a_full_matrix() -> None:
    e = errors("relu", FULL, "rk4", [100, 10000])
    assert e[1] < 1e-7 < e[0]


def test_order_with_knots_off_the_grid() -> None:
    time = np.array([0.0, 0.1234, 0.3377, 0.618, 0.9021, 1.0])
    values = np.random.default_rng(1).normal(size=(6, 12))
    controls = VectorControls.piecewise_linear(time, values[:, :9].reshape(6, 3, 3), values[:, 9:])
    e = errors("tanh", controls, "rk4", [256, 512, 1024])
    np.testing.assert_allclose(np.log2(e[:-1] / e[1:]), 4.0, atol=0.15)


@pytest.mark.parametrize("integrator", TABLEAUX)
def test_a_diagonal_matrix_is_independent_problems_on_the_line(integrator: str) -> None:
    diagonal = VectorControls.of([["sin(t)", 0], [0, -2]], ["t", 0.5])
    x = np.random.default_rng(2).normal(size=(3 * TILE + 5, 2))
    times, indices = time_grid(1.0, 0.01, diagonal.knots, [0.5, 1.0])
    both = integrate_vectors(x, ACTIVATIONS["tanh"], diagonal, times, indices, integrator)
    for component, controls in enumerate([Controls.of("sin(t)", "t"), Controls.of(-2, 0.5)]):
        line = integrate(
            np.sort(x[:, component]), ACTIVATIONS["tanh"], controls, times, indices, integrator
        )
        np.testing.assert_allclose(np.sort(both[:, :, component], axis=1), line, rtol=0, atol=5e-14)


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_a_particle_has_the_same_bits_whatever_the_others_are(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    controls = VectorControls.of(
        random.normal(size=(dimension, dimension)).tolist(), random.normal(size=dimension).tolist()
    )
    x = random.normal(size=(2 * TILE + 77, dimension))
    times, indices = time_grid(1.0, 0.05, controls.knots, [1.0])
    for name in ACTIVATIONS:
        sigma = ACTIVATIONS[name]
        together = integrate_vectors(x, sigma, controls, times, indices)[0]
        part = integrate_vectors(x[100:461], sigma, controls, times, indices)[0]
        np.testing.assert_array_equal(together[100:461], part)


def test_moments_of_a_linear_flow() -> None:
    """With the identity the mean solves m' = w m + b, and the covariance turns with the flow."""
    w = [[0.0, -2.0], [2.0, 0.0]]
    controls = VectorControls.of(w, [1.0, 0.0])
    x = np.random.default_rng(3).normal(size=(5000, 2)) * [1.0, 3.0]
    times, indices = time_grid(1.0, 0.005, controls.knots, [1.0])
    mean, covariance = vector_moments(
        integrate_vectors(x, ACTIVATIONS["identity"], controls, times, indices)[0]
    )
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]])
    shift = np.linalg.solve(w, (turn - np.eye(2)) @ [1.0, 0.0])
    np.testing.assert_allclose(mean, turn @ x.mean(axis=0) + shift, rtol=1e-8)
    expected = turn @ np.cov(x.T, bias=True) @ turn.T
    np.testing.assert_allclose(covariance, expected, rtol=1e-8, atol=1e-8)


def test_a_flow_that_blows_up_is_reported() -> None:
    controls = VectorControls.of([[1e5, 0], [0, 1e5]], [0, 0])
    times, indices = time_grid(1.0, 0.01, controls.knots, [1.0])
    with pytest.raises(NonFiniteError, match="particle 1 is"):
        integrate_vectors([[0, 0], [1, 1]], ACTIVATIONS["identity"], controls, times, indices)


def test_it_is_polled() -> None:
    def poll() -> None:
        raise PointTimeoutError("enough")

    times, indices = time_grid(1.0, 0.01, FULL.knots, [1.0])
    with pytest.raises(PointTimeoutError):
        integrate_vectors(POINTS, ACTIVATIONS["tanh"], FULL, times, indices, poll=poll)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0.0, 1.0]], r"shape \(particles, 3\), not \(1, 2\)"),
        ([0.0, 1.0, 2.0], r"shape \(particles, 3\)"),
        (np.empty((0, 3)), r"shape \(particles, 3\)"),
        ([[0.0, np.nan, 1.0]], r"initial\[0\] .* not finite"),
    ],
)
def test_bad_positions_are_refused(points: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        integrate_vectors(points, ACTIVATIONS["tanh"], FULL, [0.0, 1.0], [1])


@pytest.mark.parametrize(
    ("w", "b", "message"),
    [
        ([[1, 2], [3, 4]], [1], "w has 2 row"),
        ([[1, 2], [3]], [1, 2], "row 1 of w has 1 entries, not 2"),
        ([[1, "t +"], [3, 4]], [1, 2], r"w\[0\]\[1\]: .*t \+"),
        ([[1, 2], [3, 4]], [1, None], r"b\[1\]: "),
        ([1, 2], [1, 2], r"w\[0\] must be a list"),
        (1, [1, 2], "both be scalars, or a d x d matrix and a vector"),
        ([], [], "b has no entries"),
    ],
)
def test_controls_that_do_not_fit_are_refused(w: object, b: object, message: str) -> None:
    with pytest.raises(ControlError, match=message):
        controls_from(w, b)


def test_a_one_by_one_matrix_is_a_control_on_the_line() -> None:
    assert controls_from([["t"]], [2]) == Controls.of("t", 2)


def test_scalars_in_space_act_on_every_component_as_on_the_line() -> None:
    expected = VectorControls.of([["t", 0, 0], [0, "t", 0], [0, 0, "t"]], [2, 2, 2])
    assert controls_from("t", 2, dimension=3) == expected
    assert controls_from("t", 2) == Controls.of("t", 2)
    assert controls_from([["t"]], [2], dimension=3) == Controls.of("t", 2)  # it is a matrix
    knots = PiecewiseLinearControl([0.0, 0.25, 1.0], [0.0, 1.0, 0.0])
    isotropic = VectorControls.isotropic(Controls(knots, Controls.of(0, 1).b), 2)
    np.testing.assert_array_equal(isotropic.knots, [0.0, 0.25, 1.0])
    w, b = isotropic.evaluate([0.25, 0.0])
    np.testing.assert_array_equal(w, [np.eye(2), np.zeros((2, 2))])
    np.testing.assert_array_equal(b, np.ones((2, 2)))


def test_an_entry_that_is_not_finite_is_named() -> None:
    with pytest.raises(ControlError, match=r"w\[1\]\[0\]: "):
        VectorControls.of([[1, 2], ["1/t", 4]], [1, 2]).check(1.0)


def test_knots_are_those_of_all_entries() -> None:
    entry = PiecewiseLinearControl([0.0, 0.25, 1.0], [0.0, 1.0, 0.0])
    other = PiecewiseLinearControl([0.0, 0.5, 1.0], [0.0, 1.0, 0.0])
    controls = VectorControls.of([[entry, 0], [0, 1]], [other, 0])
    np.testing.assert_array_equal(controls.knots, [0.0, 0.25, 0.5, 1.0])


def test_a_method_may_have_more_than_four_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six stages at the beginning of the step, a sixth each, are a step of Euler's method."""
    tableau = Tableau.of((0.0,) * 6, [[0.0] * 6] * 6, [1 / 6] * 6)
    monkeypatch.setitem(TABLEAUX, "six", tableau)
    x = np.random.default_rng(0).normal(size=(100, 3))
    plane = VectorControls.of([["0.3", "1 + t", "-t"]] * 3, ["0.1", "t", "-0.2"])
    steps = (x, ACTIVATIONS["tanh"], plane, np.linspace(0.0, 1.0, 11), [10])
    expected = integrate_vectors(*steps, "euler")
    np.testing.assert_allclose(integrate_vectors(*steps, "six"), expected, rtol=1e-13, atol=1e-15)
