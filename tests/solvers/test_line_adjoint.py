import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.distributions import Uniform
from solvers.training import LagrangianDiscretization, Nodes, Quadratic, TrainingProblem
from solvers.training import line_adjoint as line
from solvers.training import runge_kutta_adjoint as twin
from solvers.vector_particles import TABLEAUX

STEPS, H = 11, 0.1


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("method", TABLEAUX)
def test_the_kernels_do_what_the_simple_ones_do(method: str, name: str) -> None:
    random, code = np.random.default_rng(3), ACTIVATIONS[name].code
    matrix, weights = (
        np.array(part) for part in (TABLEAUX[method].matrix, TABLEAUX[method].weights)
    )
    s, m = weights.size, 37
    w, b = random.normal(size=(2, STEPS, s))
    x, adjoint = random.normal(size=(2, m))

    plain, pulled = x[None].copy(), adjoint[None].copy()
    stages, work = np.empty((STEPS, s, 1, m)), np.empty((s + 2, 1, m))
    dw, db = np.zeros((STEPS, s, 1, 1)), np.zeros((STEPS, s, 1))
    rest = (w[..., None, None], b[..., None], matrix, weights, stages, work)
    twin.forward(plain, code, H, *rest)
    twin.backward(pulled, code, H, *rest, dw, db)

    kept, rows = np.empty((STEPS, s, 2, m)), np.empty((s + 1, m))
    found, back, lost = x.copy(), adjoint.copy(), x.copy()
    line.forward(found, code, H, w, b, matrix, weights, True, kept, rows)
    line.forward(lost, code, H, w, b, matrix, weights, False, kept[:0], rows)
    np.testing.assert_array_equal(lost, found)
    np.testing.assert_allclose(found, plain[0], rtol=1e-12, atol=1e-13)
    ow, ob = np.zeros((2, STEPS, s))
    line.backward(back, H, w, matrix, weights, kept, rows, ow, ob)
    for ours, theirs in ((back, pulled[0]), (ow, dw[..., 0, 0]), (ob, db[..., 0])):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max())


def test_many_blocks_and_one_have_the_same_gradient() -> None:
    points = np.random.default_rng(0).normal(0.0, 0.5, 1500)
    t = np.linspace(0.0, 1.0, 101)
    parts = []
    for part in (points, *np.array_split(points, 15)):
        problem = TrainingProblem(
            ACTIVATIONS["tanh"], Nodes.samples(part), Quadratic.to(Uniform(0.5, 1.5)), 0.0, 0.0
        )
        found = LagrangianDiscretization(problem, 100)
        parts.append(found.cost_and_gradient(np.sin(t), np.cos(t)))
    (cost, gw, gb), others = parts[0], parts[1:]
    assert cost == pytest.approx(np.mean([other[0] for other in others]), rel=1e-12)
    for k, whole in ((1, gw), (2, gb)):
        np.testing.assert_allclose(
            whole, np.mean([other[k] for other in others], axis=0), rtol=1e-9, atol=1e-13
        )
