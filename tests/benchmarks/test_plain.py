import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.finite_volumes import CLOSED, LINEAR, advance, work_space

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("plain")


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("name", ["identity", "tanh", "sigmoid"])
def test_peers_are_given_the_same_scheme(plain: ModuleType, name: str, adjoint: bool) -> None:
    cells, steps = 700, 20
    faces, dx = np.linspace(-2.0, 3.0, cells + 1), 5.0 / cells
    u = np.exp(-8.0 * faces[:-1] ** 2) + (np.abs(faces[:-1]) < 0.4)
    h = np.full(steps, 0.1 * dx)
    w, b = np.cos(np.arange(6.0 * steps)).reshape(2, steps, 3)
    ours = np.concatenate([[0.0, 0.0], u, [0.0, 0.0]])
    sign, mode = (-1.0, LINEAR) if adjoint else (1.0, CLOSED)
    code, work = ACTIVATIONS[name].code, work_space()
    advance(ours, code, sign, mode, faces, h, w, b, dx, dx**2, work, np.zeros(2))
    for row in zip(h, w, b, strict=True):
        u = plain.step(np, name, u, faces, dx, row, adjoint)
    np.testing.assert_allclose(ours[2:-2], u, rtol=0.0, atol=1e-13)
