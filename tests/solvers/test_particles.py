import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from solvers import euler, rk4, ssprk3
from solvers.activations import ACTIVATIONS
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.distributions import Normal
from solvers.errors import InputError, NonFiniteError, PointTimeoutError
from solvers.particles import INTEGRATORS, TILE, integrate, moments, tiled_sum
from solvers.sampling import sample
from solvers.time_grid import time_grid

CONTROLS = Controls.of("1 + sin(3*t)", "cos(2*t)")
Y = np.array([-1.3, -0.2, 0.1, 0.4, 1.7])
ORDERS = {"euler": euler.ORDER, "ssprk3": ssprk3.ORDER, "rk4": rk4.ORDER}


def oracle(name: str, controls: Controls, y: np.ndarray, end: float = 1.0) -> np.ndarray:
    sigma = ACTIVATIONS[name]

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        w, b = controls.evaluate(t)
        return sigma(w * x + b)

    knots = controls.knots if controls.knots.size else np.array([0.0, end])
    for start, stop in itertools.pairwise(knots):
        y = solve_ivp(rate, (start, stop), y, method="DOP853", rtol=3e-14, atol=1e-15).y[:, -1]
    return y


def errors(name: str, controls: Controls, integrator: str, steps: list[int]) -> np.ndarray:
    exact = oracle(name, controls, Y)
    found = []
    for n in steps:
        times, indices = time_grid(1.0, 1.0 / n, controls.knots, [1.0])
        x = integrate(Y, ACTIVATIONS[name], controls, times, indices, integrator)[0]
        found.append(np.abs(x - np.sort(exact)).max())
    return np.array(found)


@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "gcu"])
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_order(name: str, integrator: str) -> None:
    e = errors(name, CONTROLS, integrator, [64, 128, 256])
    assert np.log2(e[1] / e[2]) == pytest.approx(ORDERS[integrator], abs=0.15)


@pytest.mark.parametrize("integrator", ["ssprk3", "rk4"])
def test_order_with_knots_off_the_grid(integrator: str) -> None:
    knots = np.array([0.0, 0.1234, 0.3377, 0.618, 0.9021, 1.0])
    controls = Controls(
        PiecewiseLinearControl(knots, [1.0, -2.0, 2.0, 0.5, 3.0, -1.0]),
        PiecewiseLinearControl([0.0, 0.5123, 1.0], [0.0, 2.0, -1.0]),
    )
    e = errors("tanh", controls, integrator, [256, 512, 1024])
    orders = np.log2(e[:-1] / e[1:])
    np.testing.assert_allclose(orders, ORDERS[integrator], atol=0.15)


def plain_step(integrator: str, name: str, t: float, h: float, x: np.ndarray) -> np.ndarray:
    """The methods as in the books, on whole arrays."""
    sigma = ACTIVATIONS[name]

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        w, b = CONTROLS.evaluate(t)
        return sigma(w * x + b)

    k1 = rate(t, x)
    if integrator == "euler":
        return x + h * k1
    if integrator == "ssprk3":
        v = (3 * x + x + h * k1 + h * rate(t + h, x + h * k1)) / 4
        return (x + 2 * (v + h * rate(t + h / 2, v))) / 3
    k2 = rate(t + h / 2, x + h / 2 * k1)
    k3 = rate(t + h / 2, x + h / 2 * k2)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(t + h, x + h * k3))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_tiled_kernels_agree_with_the_methods_written_plainly(name: str, integrator: str) -> None:
    x = expected = sample(Normal(0, 1), TILE + 37, "iid", (0, 0))
    times = np.linspace(0.0, 1.0, 33)
    for t, end in itertools.pairwise(times):
        expected = plain_step(integrator, name, float(t), float(end - t), expected)
    found = integrate(x, ACTIVATIONS[name], CONTROLS, times, [32], integrator)[0]
    np.testing.assert_allclose(found, np.sort(expected), rtol=2e-14, atol=2e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_trajectory_has_the_same_bits_whatever_the_others(name: str, integrator: str) -> None:
    x = sample(Normal(0, 1), 2 * TILE + 37, "iid", (0, 0))
    times, indices = time_grid(1.0, 0.05, snapshots=[0.5, 1.0])
    contracting = Controls.of("0.5*sin(3*t)", "cos(t)")  # keeps the order, so places are kept
    whole = integrate(x, ACTIVATIONS[name], contracting, times, indices, integrator)
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 7, 100, TILE - 1, TILE + 1):
        chosen = np.sort(rng.choice(x.size, count, replace=False))
        part = integrate(x[chosen], ACTIVATIONS[name], contracting, times, indices, integrator)
        np.testing.assert_array_equal(part, whole[:, chosen])


def test_snapshots_do_not_change_bits() -> None:
    x = sample(Normal(0, 1), 300, "iid", (0, 0))
    times, indices = time_grid(1.0, 0.01, snapshots=[0.0, 0.13, 0.5, 1.0])
    many = integrate(x, ACTIVATIONS["tanh"], CONTROLS, times, indices)
    last = integrate(x, ACTIVATIONS["tanh"], CONTROLS, times, indices[-1:])
    np.testing.assert_array_equal(many[0], x)
    np.testing.assert_array_equal(many[-1], last[0])


def test_euler_that_breaks_the_order_is_sorted_again() -> None:
    x = np.linspace(-1, 1, 11)
    out = integrate(
        x, ACTIVATIONS["identity"], Controls.of(-30, 0), [0.0, 0.1, 0.2], [1, 2], "euler"
    )
    np.testing.assert_allclose(out, [2 * x, 4 * x], rtol=1e-13, atol=1e-15)


def test_overflow_is_an_error() -> None:
    times = np.linspace(0.0, 1e4, 11)
    with pytest.raises(NonFiniteError, match="t = 10000"):
        integrate([1.0, 2.0], ACTIVATIONS["identity"], Controls.of("900*t", 0), times, [1, 10])


def test_poll_is_called_and_may_stop_the_run() -> None:
    calls = []

    def poll() -> None:
        calls.append(0)
        if len(calls) == 3:
            raise PointTimeoutError("too long")

    times, indices = time_grid(1.0, 0.01, snapshots=[1.0])
    with pytest.raises(PointTimeoutError):
        integrate(np.arange(10000.0), ACTIVATIONS["tanh"], CONTROLS, times, indices, "rk4", poll)


@pytest.mark.parametrize(
    "arguments",
    [
        ([2.0, 1.0], [0, 1.0], [1], "rk4"),
        ([np.nan], [0, 1.0], [1], "rk4"),
        ([], [0, 1.0], [1], "rk4"),
        ([1.0], [0, 0.0], [1], "rk4"),
        ([1.0], [0, 1.0], [2], "rk4"),
        ([1.0], [0, 1.0], [], "rk4"),
        ([1.0], [0, 1.0], [1], "rk5"),
    ],
)
def test_bad_arguments(arguments: tuple) -> None:
    x, times, indices, integrator = arguments
    with pytest.raises(InputError):
        integrate(x, ACTIVATIONS["tanh"], CONTROLS, times, indices, integrator)


def test_moments() -> None:
    x = np.sort(np.random.default_rng(0).normal(1e8, 1.0, 100001))
    mean, variance = moments(x)
    z = x.astype(np.longdouble)
    assert mean == pytest.approx(float(z.mean()), rel=1e-16)
    assert variance == pytest.approx(float(((z - z.mean()) ** 2).mean()), rel=1e-12)
    assert moments([2.0]) == (2.0, 0.0)


def test_tiled_sum_is_accurate() -> None:
    values = np.random.default_rng(1).normal(size=50000)
    assert tiled_sum(values) == pytest.approx(float(values.astype(np.longdouble).sum()), abs=1e-13)
