import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.distributions import Mixture, Normal, Uniform
from solvers.training import (
    L2,
    W2,
    Discretization,
    Energy,
    EulerianDiscretization,
    LagrangianDiscretization,
    Loss,
    Nodes,
    Paired,
    Quadratic,
    TrainingProblem,
)

RANDOM = np.random.default_rng(7)
SAMPLES = RANDOM.normal(0.2, 0.6, 24)
CLOUD = RANDOM.normal(0.0, 0.7, (17, 3))
TARGET = Normal(0.8, 0.5)
LINE_LOSSES: dict[str, Loss] = {
    "quadratic": Quadratic.to(TARGET),
    "paired": Paired(RANDOM.normal(1.0, 0.4, 24)),
    "w2": W2(TARGET),
    "energy": Energy(Mixture([0.4, 0.6], [TARGET, Uniform(-1.0, 0.0)])),
}
CLOUD_LOSSES: dict[str, Loss] = {
    "quadratic": Quadratic([0.5, -0.2, 1.0], 0.3),
    "paired": Paired(RANDOM.normal(0.5, 0.5, (17, 3))),
}


def random_controls(found: Discretization, seed: int, size: float = 1.0) -> tuple:
    grid = found.grid
    n, d = grid.intervals + 1, grid.dimension
    random = np.random.default_rng(seed)
    return random.normal(0.0, size, (n, d, d)), random.normal(0.0, size, (n, d))


def directional(found: Discretization, gradient: tuple, direction: tuple) -> float:
    grid = found.grid
    return grid.inner(grid.pack(*gradient), grid.pack(*direction))


def assert_finite_differences_agree(found: Discretization, step: float = 3e-4) -> None:
    w, b = random_controls(found, 1)
    v, c = random_controls(found, 2)

    def along(s: float) -> float:
        return found.cost(w + s * v, b + s * c)

    near, far = (along(k * step) - along(-k * step) for k in (1, 2))
    difference = (8.0 * near - far) / (12.0 * step)
    _, gw, gb = found.cost_and_gradient(w, b)
    assert directional(found, (gw, gb), (v, c)) == pytest.approx(difference, rel=1e-7)


@pytest.mark.parametrize("integrator", ["euler", "ssprk3", "rk4"])
@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "gcu"])
@pytest.mark.parametrize("loss", LINE_LOSSES)
def test_finite_differences_on_the_line(integrator: str, name: str, loss: str) -> None:
    nodes = Nodes.samples(SAMPLES)
    problem = TrainingProblem(ACTIVATIONS[name], nodes, LINE_LOSSES[loss], 0.02, 0.3, 1.3)
    found = LagrangianDiscretization(problem, 7, integrator, steps_per_interval=2)
    assert_finite_differences_agree(found)


@pytest.mark.parametrize("integrator", ["euler", "ssprk3", "rk4"])
@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "gcu"])
@pytest.mark.parametrize("loss", CLOUD_LOSSES)
def test_finite_differences_in_space(integrator: str, name: str, loss: str) -> None:
    nodes = Nodes.weighted(CLOUD, np.arange(1.0, 18.0) / 153.0)
    problem = TrainingProblem(ACTIVATIONS[name], nodes, CLOUD_LOSSES[loss], 0.02, 0.3)
    found = LagrangianDiscretization(problem, 5, integrator, steps_per_interval=3)
    assert_finite_differences_agree(found)


@pytest.mark.parametrize("integrator", ["euler", "ssprk3", "rk4"])
@pytest.mark.parametrize("points", [SAMPLES, CLOUD])
def test_finite_differences_with_relu(integrator: str, points: np.ndarray) -> None:
    loss = (LINE_LOSSES if points.ndim == 1 else CLOUD_LOSSES)["quadratic"]
    problem = TrainingProblem(ACTIVATIONS["relu"], Nodes.samples(points), loss, 0.02, 0.3)
    found = LagrangianDiscretization(problem, 5, integrator)
    assert_finite_differences_agree(found, step=1e-6)  # within it no stage crosses a kink


@pytest.mark.parametrize("loss", ["quadratic", "w2", "energy"])
def test_finite_differences_of_the_mean_field_problem(loss: str) -> None:
    problem = TrainingProblem(ACTIVATIONS["tanh"], TARGET, LINE_LOSSES[loss], 0.02, 0.0)
    assert_finite_differences_agree(LagrangianDiscretization(problem, 10))


def test_blocks_of_nodes_change_nothing_but_rounding() -> None:
    points = np.random.default_rng(3).normal(0.0, 1.0, (700, 2))
    sigma, weights = ACTIVATIONS["tanh"], np.full(350, 1.0 / 350)
    loss = Quadratic([1.0, 0.0])
    whole, *halves = (
        LagrangianDiscretization(
            TrainingProblem(sigma, Nodes.weighted(part, w / w.sum()), loss, 0.0, 0.0), 400
        )
        for part, w in (
            (points, np.full(700, 1.0 / 700)),
            (points[:350], weights),
            (points[350:], weights),
        )
    )
    w, b = random_controls(whole, 4, 0.3)
    cost, gw, gb = whole.cost_and_gradient(w, b)
    parts = [half.cost_and_gradient(w, b) for half in halves]
    assert cost == pytest.approx(0.5 * (parts[0][0] + parts[1][0]), rel=1e-13)
    np.testing.assert_allclose(gw, 0.5 * (parts[0][1] + parts[1][1]), atol=1e-13)
    np.testing.assert_allclose(gb, 0.5 * (parts[0][2] + parts[1][2]), atol=1e-13)


def assert_remainder_is_quadratic(found: Discretization) -> None:
    """The remainder of first order falls with slope 2 over four decades of steps."""
    steps = 10.0 ** np.arange(-2.0, -6.25, -0.25)
    logs = np.log10(remainders(found, steps))
    assert np.polyfit(np.log10(steps), logs, 1)[0] == pytest.approx(2.0, abs=0.03)
    np.testing.assert_allclose((logs[4:] - logs[:-4]) / -1.0, 2.0, atol=0.15)


def remainders(found: Discretization, steps: np.ndarray) -> np.ndarray:
    w, b = random_controls(found, 5, 0.5)
    v, c = random_controls(found, 6)
    cost, gw, gb = found.cost_and_gradient(w, b)
    slope = directional(found, (gw, gb), (v, c))
    return np.array([abs(found.cost(w + s * v, b + s * c) - cost - s * slope) for s in steps])


@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "gcu"])
@pytest.mark.parametrize("loss", LINE_LOSSES)
def test_taylor_remainder_is_quadratic_over_four_decades(name: str, loss: str) -> None:
    problem = TrainingProblem(
        ACTIVATIONS[name], Nodes.samples(SAMPLES), LINE_LOSSES[loss], 1e-3, 1e-2
    )
    assert_remainder_is_quadratic(LagrangianDiscretization(problem, 20))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_taylor_remainder_in_space(name: str) -> None:
    problem = TrainingProblem(
        ACTIVATIONS[name], Nodes.samples(CLOUD), CLOUD_LOSSES["paired"], 0.0, 0.0
    )
    assert_remainder_is_quadratic(LagrangianDiscretization(problem, 20, "ssprk3"))


def eulerian_gaps(name: str, loss: Loss, cells: tuple[int, ...]) -> np.ndarray:
    """Relative distance in L2 between the Eulerian and the Lagrangian gradient."""
    problem = TrainingProblem(ACTIVATIONS[name], Normal(0.3, 0.2), loss, 0.01, 0.01)
    exact = LagrangianDiscretization(problem, 800)
    t = exact.grid.times
    w, b = 0.7 * np.cos(3 * t), 0.6 * np.sin(4 * t)
    _, *expected = exact.cost_and_gradient(w, b)
    gaps = []
    for count in cells:
        found = EulerianDiscretization(problem, 800, (-2.0, 3.0), count)
        _, *gradient = found.cost_and_gradient(w, b)
        inner = slice(1, -1)  # at the ends the Lagrangian one is a mean over half an interval
        error = [(g - e)[inner] for g, e in zip(gradient, expected, strict=True)]
        gaps.append(np.linalg.norm(error) / np.linalg.norm(expected))
    return np.array(gaps)


@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh"])
def test_eulerian_gradient_tends_to_the_exact_one_at_the_order_of_the_scheme(name: str) -> None:
    gaps = eulerian_gaps(name, Quadratic(1.0, 0.1), (100, 200, 400))
    assert np.all(np.log2(gaps[:-1] / gaps[1:]) > 2.75), gaps


@pytest.mark.parametrize("loss", [W2(TARGET), Energy(TARGET)])
def test_eulerian_gradient_of_losses_that_depend_on_the_state(loss: Loss) -> None:
    gaps = eulerian_gaps("tanh", loss, (100, 200, 400))
    assert np.all(np.log2(gaps[:-1] / gaps[1:]) > 1.85), gaps


def test_eulerian_gradient_of_the_l2_loss_tends_to_finite_differences() -> None:
    """It has no Lagrangian one to be compared with."""
    problem = TrainingProblem(ACTIVATIONS["tanh"], Normal(0.3, 0.2), L2(TARGET), 0.01, 0.01)
    gaps = []
    for cells in (100, 200, 400):
        found = EulerianDiscretization(problem, 400, (-2.0, 3.0), cells)
        t = found.grid.times
        w, b, v, c = 0.7 * np.cos(3 * t), 0.6 * np.sin(4 * t), np.sin(2 * t), np.cos(t)
        _, *gradient = found.cost_and_gradient(w, b)
        ends = [found.cost(w + s * v, b + s * c) for s in (1e-4, -1e-4)]
        difference = (ends[0] - ends[1]) / 2e-4
        gaps.append(abs(directional(found, tuple(gradient), (v, c)) / difference - 1.0))
    assert np.all(np.log2(np.array(gaps[:-1]) / gaps[1:]) > 1.85), gaps


@pytest.mark.parametrize("loss", ["quadratic", "w2", "energy"])
def test_eulerian_taylor_remainder_ends_at_the_discretisation_level(loss: str) -> None:
    problem = TrainingProblem(ACTIVATIONS["tanh"], Normal(0.3, 0.2), LINE_LOSSES[loss], 0.01, 0.01)
    found = EulerianDiscretization(problem, 50, (-2.0, 3.0), 200)
    w, b = 0.5, 0.3
    cost, gw, gb = found.cost_and_gradient(w, b)
    slope = directional(found, (gw, gb), (1.0, -0.5))
    for step in (1e-2, 1e-3, 1e-4):
        change = found.cost(w + step, b - 0.5 * step) - cost
        assert change == pytest.approx(step * slope, rel=1e-3 + 10 * step)
