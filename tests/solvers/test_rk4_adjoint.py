import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.distributions import Uniform
from solvers.rk4 import rk4
from solvers.tiles import BLOCK
from solvers.training import LagrangianDiscretization, Nodes, Paired, Quadratic, TrainingProblem
from solvers.training import flow as flows
from solvers.training.flow import LineRk4, RungeKutta
from solvers.training.grid import ControlGrid


def gradients(name: str, nodes: int, substeps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return final positions and derivatives of the fast form and of its twin."""
    random, grid = np.random.default_rng(3), ControlGrid(1.3, 7)
    u, x = random.normal(size=(8, 2)), random.normal(size=(1, nodes))
    slope, constant = random.normal(size=nodes), random.normal(size=(1, nodes))
    found = []
    for flow in (
        LineRk4(grid, ACTIVATIONS[name], substeps),
        RungeKutta(grid, ACTIVATIONS[name], "rk4", substeps),
    ):
        flow.steer(u)
        final = x.copy()
        flow.gradient(final, slope, constant)
        found.append((final, flow.derivative()))
    return found


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("nodes", [1, 37, 2 * BLOCK, 3 * BLOCK + 5])
@pytest.mark.parametrize("substeps", [1, 3])
def test_the_kernel_does_what_the_simple_ones_do(name: str, nodes: int, substeps: int) -> None:
    (final, derivative), (plain, expected) = gradients(name, nodes, substeps)
    np.testing.assert_allclose(final, plain, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(derivative, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nodes_go_where_particles_go_to_the_bit(name: str) -> None:
    random, n = np.random.default_rng(4), 9
    w, b, x = random.normal(size=(n, 3)), random.normal(size=(n, 3)), random.normal(size=150)
    flow = LineRk4(ControlGrid(0.9, n), ACTIVATIONS[name], 1)
    flow._w, flow._b = w[..., None, None], b[..., None]
    flow._forget()
    final, particles = x[None].copy(), x.copy()
    flow.gradient(final, np.ones(150), np.ones((1, 150)))
    rk4(particles, ACTIVATIONS[name].code, np.full(n, 0.9 / n), w, b, np.empty(BLOCK))
    np.testing.assert_array_equal(final[0], particles)


def discretization(loss: Quadratic | Paired, points: np.ndarray) -> LagrangianDiscretization:
    problem = TrainingProblem(ACTIVATIONS["tanh"], Nodes.samples(points), loss, 0.1, 0.1)
    return LagrangianDiscretization(problem, 100)


@pytest.mark.parametrize("loss", ["quadratic", "paired"])
@pytest.mark.parametrize("dimension", [1, 2])
def test_one_pass_and_two_have_the_same_bits(loss: str, dimension: int) -> None:
    random = np.random.default_rng(5)
    points, targets = random.normal(size=(2, 1500, dimension))
    goal = Quadratic(np.ones(dimension)) if loss == "quadratic" else Paired(targets)
    at_once, apart = discretization(goal, points), discretization(goal, points)
    w, b = 0.5 * np.eye(dimension), np.ones(dimension)
    cost = apart.cost(w, b)
    for found, expected in zip(
        at_once.cost_and_gradient(w, b), apart.cost_and_gradient(w, b), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert at_once.cost(w, b) == cost


def test_blocks_of_nodes_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivatives are summed tile after tile, wherever the polls lie."""
    points, t = np.random.default_rng(0).normal(0.0, 0.5, 1500), np.linspace(0.0, 1.0, 101)
    goal = Quadratic.to(Uniform(0.5, 1.5))
    whole = discretization(goal, points).cost_and_gradient(np.sin(t), np.cos(t))
    monkeypatch.setattr(flows, "POLL_WORK", 100 * 5 * BLOCK)
    polls: list[int] = []
    parts = discretization(goal, points)
    found = parts.cost_and_gradient(np.sin(t), np.cos(t), lambda: polls.append(1))
    assert len(polls) == 5
    for ours, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(ours, expected)
