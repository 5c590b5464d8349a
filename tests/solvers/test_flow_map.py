import itertools

import numpy as np
import pytest

from solvers.activations import ACTIVATIONS, Activation
from solvers.arrays import FloatArray
from solvers.characteristics import reference
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.distributions import Beta, Distribution, Mixture, Normal, Uniform
from solvers.errors import FlowMapError, InputError, NonFiniteError, PointTimeoutError
from solvers.flow_map import DEGREE, FlowMap, exact_flow, flow_map
from solvers.kinks import relu_kinks
from solvers.particles import INTEGRATORS, integrate
from solvers.sampling import sample
from solvers.stages import stage_controls
from solvers.time_grid import time_grid

LAWS = [
    Normal(0.0, 1.0),
    Beta(2.0, 5.0, -1.0, 1.0),
    Mixture([1.0, 2.0], [Normal(-2.0, 0.1), Uniform(1.0, 3.0)]),
]
GRID = np.array([0.0, 0.137, 0.45, 1.0])
CONTROLS = [
    Controls.of("exp(t) - 1", "-5*t**2 + t"),
    Controls.of(-1.5, "cos(9*t)"),
    Controls(PiecewiseLinearControl(GRID, [1, -1, 0.5, 0]), PiecewiseLinearControl(GRID, GRID)),
]
SIGMAS = pytest.mark.parametrize("sigma", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
METHODS = pytest.mark.parametrize("integrator", list(INTEGRATORS))


def both(
    law: Distribution, sigma: Activation, controls: Controls, integrator: str, particles: int = 999
) -> tuple[FlowMap, FloatArray, FloatArray]:
    """The flow map, and particles pushed by it and one by one."""
    times, indices = time_grid(1.0, 2e-2, controls.knots, [0.0, 0.5, 1.0])
    x = sample(law, particles, "iid", (1, 2))
    found = flow_map(law.support(), sigma, controls, times, indices, integrator)
    return found, found(x), integrate(x, sigma, controls, times, indices, integrator)


@METHODS
@SIGMAS
def test_it_pushes_particles_where_their_steps_do(sigma: Activation, integrator: str) -> None:
    for law, controls in itertools.product(LAWS, CONTROLS):
        found, pushed, stepped = both(law, sigma, controls, integrator)
        largest = np.abs(stepped).max(axis=1)
        steepest = (np.diff(stepped) / np.diff(stepped[0])).max(axis=1)
        scale = np.maximum(largest, steepest * largest[0])
        missed = np.abs(pushed - stepped).max(axis=1)
        # gcu on a wide law is steep: there rounding of the initial position moves a particle more
        assert np.all(missed <= 1e-12 * (scale if sigma.name == "gcu" else largest))
        assert np.all(missed <= found.error + 1e-14 * scale)
        np.testing.assert_array_equal(pushed[0], stepped[0])  # nothing has moved


@METHODS
def test_pieces_end_at_the_kinks_of_relu(integrator: str) -> None:
    """Between two kinks all second differences vanish; across one they do not."""
    law, controls, sigma = Uniform(-1.0, 1.0), CONTROLS[1], ACTIVATIONS["relu"]
    times, indices = time_grid(1.0, 2e-2, (), [1.0])
    w, b = stage_controls(controls, times, INTEGRATORS[integrator][1])
    kinks = relu_kinks(-1.0, 1.0, integrator, np.diff(times), w, b)
    assert kinks.size >= 10
    found = flow_map(law.support(), sigma, controls, times, indices, integrator)
    distances = np.abs(kinks[:, None] - found.edges).min(axis=1)
    assert distances.max() <= 1e-14
    for low, high in itertools.pairwise(found.edges):
        x = np.linspace(low, high, 5)
        y = integrate(x, sigma, controls, times, indices, integrator)[0]
        assert np.abs(np.diff(y, 2)).max() <= 4e-15
    wide = [k for k in range(1, kinks.size - 1) if np.diff(kinks[k - 1 : k + 2]).min() > 1e-4]
    h = 1e-4 * np.array([-1.0, 0.0, 1.0])
    for k in wide:
        y = integrate(kinks[k] + h, sigma, controls, times, indices, integrator)[0]
        assert abs(np.diff(y, 2)[0]) > 1e-8
    assert len(wide) >= 5


def test_the_error_is_that_of_what_was_asked_for() -> None:
    law, sigma, controls = LAWS[0], ACTIVATIONS["tanh"], CONTROLS[0]
    times, indices = time_grid(1.0, 2e-2, (), [0.5, 1.0])
    x = np.linspace(-4.0, 4.0, 5001)
    exact = integrate(x, sigma, controls, times, indices)
    pieces = []
    for tolerance in (1e-5, 1e-9, 1e-13):
        found = flow_map(law.support(), sigma, controls, times, indices, "rk4", tolerance)
        missed = np.abs(found(x) - exact).max(axis=1)
        largest = np.abs(found(np.array(law.support()))).max(axis=1)
        assert np.all(missed <= found.error)
        assert np.all(found.error <= 1.5 * tolerance * largest)
        assert np.all(missed >= 1e-4 * found.error)  # not a guess far above
        pieces.append(found.edges.size - 1)
    assert pieces[0] < pieces[1] < pieces[2]
    # a polynomial of degree 5: pieces shrink like the sixth root of the tolerance
    order = np.log(1e-9 / 1e-13) / np.log(pieces[2] / pieces[1])
    assert abs(order - (DEGREE + 1)) < 1.0


def test_beyond_the_pieces_every_step_is_taken() -> None:
    sigma, controls = ACTIVATIONS["sigmoid"], CONTROLS[0]
    times, indices = time_grid(1.0, 1e-1, (), [0.0, 1.0])
    found = flow_map((-1.0, 1.0), sigma, controls, times, indices)
    for x in ([-3.0, -2.0], [-2.0, -1.0, 0.0, 1.0, 2.5], [1.5], [-1.0, 1.0]):
        expected = integrate(x, sigma, controls, times, indices)
        np.testing.assert_allclose(found(np.array(x)), expected, rtol=0, atol=1e-13)
        far = np.abs(x) > 1.0
        np.testing.assert_array_equal(found(np.array(x))[:, far], expected[:, far])


def test_a_particle_does_not_depend_on_its_neighbours() -> None:
    found, pushed, _ = both(LAWS[0], ACTIVATIONS["gcu"], CONTROLS[0], "rk4", 20_000)
    x = sample(LAWS[0], 20_000, "iid", (1, 2))
    for part in (slice(0, 1), slice(17, 18), slice(100, 133), slice(0, 19_999, 7)):
        np.testing.assert_array_equal(found(x[part].copy()), pushed[:, part])


def test_steps_that_do_not_keep_the_order_are_refused() -> None:
    times, indices = time_grid(1.0, 0.5, (), [1.0])
    with pytest.raises(FlowMapError, match="do not keep the order of the particles near x = "):
        flow_map((-1.0, 1.0), ACTIVATIONS["tanh"], Controls.of(-5.0, 0.0), times, indices, "euler")


def test_the_order_is_that_at_each_output_time() -> None:
    """One step reverses it, a hundred do not and are larger by seventeen orders of magnitude."""
    times, indices = time_grid(10.0, 0.1, (), [0.1, 10.0])
    with pytest.raises(FlowMapError, match="do not keep the order"):
        flow_map(
            (0.0, 1.0), ACTIVATIONS["identity"], Controls.of(-25.0, 0.0), times, indices, "euler"
        )


@pytest.mark.parametrize(
    ("w", "horizon", "step", "steepest"), [(1.0, 20.0, 0.05, 1e7), (1000.0, 1.0, 0.1, 1e50)]
)
def test_beside_an_unstable_point(w: float, horizon: float, step: float, steepest: float) -> None:
    """The map is steep at 0, but there numbers are dense: rounding the initial position is little.

    Rounding another one, relative to which an error might be small, is much.
    """
    times, indices = time_grid(horizon, step, (), [horizon])
    sigma, controls = ACTIVATIONS["tanh"], Controls.of(w, 0.0)
    found = flow_map((-1.0, 1.0), sigma, controls, times, indices)
    x = 10.0 ** np.arange(-70.0, 0.0, 0.25)
    x = np.concatenate([-x[::-1], [0.0], x])
    expected = integrate(x, sigma, controls, times, indices)
    assert (np.diff(expected) / np.diff(x)).max() > steepest
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found(x), expected, rtol=0, atol=1e-12 * largest)
    assert np.all(found.error <= 1e-12 * largest)


@pytest.mark.parametrize(
    ("b", "near"), [(0.0, r"-?[0-9.]+e-29\d:"), (300.0, r"-0\.3")], ids=["at 0", "elsewhere"]
)
def test_a_flow_as_steep_as_a_jump_is_refused(b: float, near: str) -> None:
    """At 0 not even the smallest numbers resolve it, elsewhere rounding hides it."""
    times, indices = time_grid(4.0, 0.01, (), [4.0])
    controls = Controls.of(1000.0, b)
    with pytest.raises(FlowMapError, match=f'near x = {near}.* \\(push = "direct"\\)'):
        flow_map((-1.0, 0.9), ACTIVATIONS["tanh"], controls, times, indices, "euler")


def test_what_rounding_amplifies_is_either_accurate_or_refused() -> None:
    """An unstable point away from 0: positions scatter by about eps exp(T)."""
    sigma, controls = ACTIVATIONS["tanh"], Controls.of(1.0, 0.3)
    times, indices = time_grid(8.0, 0.05, (), [8.0])
    found = flow_map((-0.4, -0.2), sigma, controls, times, indices)
    x = np.linspace(-0.4, -0.2, 5001)
    expected = integrate(x, sigma, controls, times, indices)
    missed, largest = np.abs(found(x) - expected).max(), np.abs(expected).max()
    assert 1e-13 * largest < missed <= found.error[0] + 1e-13 * largest <= 1e-10 * largest
    times, indices = time_grid(25.0, 0.25, (), [25.0])
    with pytest.raises(FlowMapError, match=r"near x = -0\.(29|3)"):
        flow_map((-0.4, -0.2), sigma, controls, times, indices)


def test_what_cannot_be_resolved_is_refused() -> None:
    """Steps far beyond stability: the map oscillates wildly, though not backwards everywhere."""
    times, indices = time_grid(40.0, 0.02, (), [40.0])
    with pytest.raises(FlowMapError, match="push the particles one by one"):
        flow_map((-20.0, 20.0), ACTIVATIONS["gcu"], Controls.of(3.0, 0.1), times, indices, "rk4")


def test_a_flow_may_end_in_one_point() -> None:
    found = flow_map((-1.0, 3.0), ACTIVATIONS["identity"], Controls.of(-1, 0), [0, 1], [1], "euler")
    np.testing.assert_array_equal(found(np.array([-1.0, 0.3, 3.0])), [[0.0, 0.0, 0.0]])


def test_bad_arguments() -> None:
    sigma, controls, times = ACTIVATIONS["tanh"], CONTROLS[0], np.array([0.0, 1.0])
    with pytest.raises(InputError, match="support"):
        flow_map((1.0, 1.0), sigma, controls, times, [1])
    with pytest.raises(InputError, match="euler, ssprk3, rk4"):
        flow_map((0.0, 1.0), sigma, controls, times, [1], "rk5")
    with pytest.raises(NonFiniteError, match="overflows"):
        flow_map((0.0, 1.0), ACTIVATIONS["identity"], Controls.of(1e300, 1e300), times, [1])


def test_it_can_be_interrupted() -> None:
    def poll() -> None:
        raise PointTimeoutError("late")

    for name in ("tanh", "relu"):
        with pytest.raises(PointTimeoutError):
            flow_map((0.0, 1.0), ACTIVATIONS[name], CONTROLS[0], [0.0, 1.0], [1], poll=poll)


@SIGMAS
def test_the_exact_flow_of_a_reference(sigma: Activation) -> None:
    law = LAWS[2]
    exact = reference(law, sigma, CONTROLS[0], [0.0, 1.0])
    x = np.concatenate([[-50.0], sample(law, 500, "iid", (0, 0)), [60.0]])
    found = exact_flow(exact)(x)
    for s in range(2):
        expected = exact.flow(s, x)
        np.testing.assert_allclose(found[s], expected, rtol=0, atol=1e-14 * np.abs(expected).max())
