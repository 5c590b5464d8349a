from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError

from solvers.activations import ACTIVATIONS, velocity
from solvers.controls import Controls
from solvers.cweno3 import cweno3
from solvers.distributions import Uniform
from solvers.finite_volumes import (
    CLOSED,
    LINEAR,
    NONE,
    OPEN,
    POSITIVITY,
    TILE,
    TINY,
    advance,
    work_space,
)
from solvers.jit import bare_kernel, fma
from solvers.llf import llf
from solvers.training.eulerian import reduced_gradient, sweep
from solvers.transport import solve_transport
from solvers.zhang_shu import zhang_shu


@numba.njit(error_model="numpy")
def euler(u: np.ndarray, ratio: float, flux: np.ndarray) -> np.ndarray:
    return np.array([fma(ratio, flux[i] - flux[i + 1], u[i]) for i in range(u.size)])


@numba.njit(error_model="numpy")
def upwind(v: np.ndarray, minus: np.ndarray, plus: np.ndarray) -> np.ndarray:
    return np.array([llf(v[i], minus[i], plus[i]) for i in range(v.size)])


def fluxes(u: np.ndarray, v: np.ndarray, mode: int, epsilon: float) -> tuple[np.ndarray, ...]:
    """The fluxes at all faces, and what those at the boundary were before they were closed."""
    ghosts = [0.0, 0.0, 0.0, 0.0]
    if mode & LINEAR:
        ghosts = [3 * u[0] - 2 * u[1], 2 * u[0] - u[1], 2 * u[-1] - u[-2], 3 * u[-1] - 2 * u[-2]]
    wide = np.concatenate([ghosts[:2], u, ghosts[2:]])
    left, right = np.empty((2, u.size + 2))
    cweno3(wide, epsilon, left, right)
    if mode & POSITIVITY:
        zhang_shu(wide[1:-1], left, right)
    if not mode & LINEAR:
        right[0] = left[-1] = 0.0
    flux = upwind(v, right[:-1], left[1:])
    ends = flux[[0, -1]]
    if mode & CLOSED:
        flux[[0, -1]] = 0.0
    return flux, ends


def three_passes(
    u: np.ndarray, code: int, sign: float, mode: int, faces: np.ndarray, table: tuple, dx: float
) -> tuple[np.ndarray, np.ndarray]:
    """The simple twin of `advance`: whole arrays, one stage after the other."""
    left = np.zeros(2)
    for h, w, b in zip(*table, strict=True):
        stage, ends = u, []
        for s in range(3):
            v = np.empty(faces.size)
            velocity(code, w[s], b[s], faces, v)
            flux, at = fluxes(stage, sign * v, mode, dx**2)
            ends.append(at)
            moved = euler(stage, h / dx, flux)
            stage = (moved, (3.0 * u + moved) / 4.0, (u + 2.0 * moved) / 3.0)[s]
        u = np.where(np.abs(stage) < TINY, 0.0, stage)
        left += h * (ends[0] + ends[1] + 4.0 * ends[2]) / 6.0 * [-1.0, 1.0]
    return u, left


def problem(cells: int, steps: int) -> tuple:
    faces = np.linspace(-2.0, 3.0, cells + 1)
    dx = 5.0 / cells
    u = np.zeros(cells + 4)
    u[2:-2] = np.where(np.abs(faces[:-1]) < 0.7, 1.0 + np.sin(9.0 * faces[:-1]), 0.0)
    h = np.full(steps, 0.1 * dx)
    t = np.cumsum(h)[:, None] + h[0] * np.array([0.0, 1.0, 0.5])
    return u, faces, dx, (h, np.cos(9.0 * t), np.sin(8.0 * t))


MODES = [OPEN + NONE, CLOSED + NONE, LINEAR + NONE, OPEN + POSITIVITY, CLOSED + POSITIVITY]
EDGES = [4, 5, 100, *(TILE + k for k in range(-1, 7)), 2 * TILE + 3]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cells", EDGES)
def test_one_pass_in_tiles_has_the_bits_of_three_passes(cells: int, mode: int) -> None:
    u, faces, dx, table = problem(cells, 7)
    sign, code = (-1.0 if mode == LINEAR else 1.0), ACTIVATIONS["tanh"].code
    plain, left = three_passes(u[2:-2], code, sign, mode, faces, table, dx)
    found, work = np.zeros(2), work_space()
    work.fill(np.nan)
    advance(u, code, sign, mode, faces, *table, dx, dx**2, work, found)
    np.testing.assert_array_equal(u[2:-2], plain)
    np.testing.assert_allclose(found, left, rtol=1e-13, atol=1e-30)
    assert plain.any()


@pytest.mark.parametrize("mode", [*MODES, LINEAR + POSITIVITY])
@pytest.mark.parametrize("cells", [2, 9, TILE, TILE + 1, TILE + 2, 3 * TILE + 1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nothing_that_stood_in_ghost_cells_counts(cells: int, mode: int, sign: float) -> None:
    _, faces, dx, table = problem(cells, 5)
    u = np.full(cells + 4, np.nan)
    u[2:-2] = 2.0 + np.sin(9.0 * faces[1:])  # not zero at the boundaries
    code = ACTIVATIONS["sigmoid"].code
    plain, _ = three_passes(u[2:-2].copy(), code, sign, mode, faces, table, dx)
    advance(u, code, sign, mode, faces, *table, dx, dx**2, work_space(), np.zeros(2))
    np.testing.assert_array_equal(u[2:-2], plain)


def exact_faces(u: list[Fraction], epsilon: Fraction) -> tuple[Fraction, Fraction]:
    """The reconstruction as the formulas stand, in rational numbers."""
    sl, sr = u[1] - u[0], u[2] - u[1]
    sc, c = (sl + sr) / 2, (sr - sl) / Fraction(3, 2)
    indicators = (sc**2 + Fraction(13, 3) * c**2, sl**2, sr**2)
    linear = (Fraction(3, 4), Fraction(1, 8), Fraction(1, 8))
    alpha = [d / (epsilon + i) ** 2 for d, i in zip(linear, indicators, strict=True)]
    omega = [a / sum(alpha) for a in alpha]
    half = (omega[0] * sc + omega[1] * sl + omega[2] * sr) / 2
    return u[1] - half + omega[0] * c / 6, u[1] + half + omega[0] * c / 6


VALUES = st.floats(-1e3, 1e3, allow_subnormal=False)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, min_size=3, max_size=3), st.sampled_from([1e-2, 1e-6, 1e-40]))
def test_the_reconstruction_is_that_of_the_formulas(values: list[float], epsilon: float) -> None:
    u, left, right = np.array(values), np.empty(1), np.empty(1)
    cweno3(u, epsilon, left, right)
    exact = exact_faces([Fraction(value) for value in values], Fraction(epsilon))
    scale = 4e-15 * np.abs(u).max()
    assert abs(left[0] - float(exact[0])) <= scale
    assert abs(right[0] - float(exact[1])) <= scale


def test_no_tail_of_numbers_below_the_normal_ones() -> None:
    times = np.linspace(0.0, 1.0, 101)
    found = solve_transport(
        Uniform(-0.5, 0.5), ACTIVATIONS["tanh"], Controls.of(-1, "exp(t) - 1"), (-2, 3), 1000,
        times, [50, 100],
    )  # fmt: skip
    size = np.abs(found.density[found.density != 0.0])
    assert size.min() >= TINY
    assert size.min() < 1e-100  # there was a tail to cut
    assert found.mass_error.max() < 1e-13


def test_what_is_not_finite_is_not_hidden() -> None:
    u, faces, dx, table = problem(20, 1)
    u[9] = np.nan
    advance(u, 0, 1.0, CLOSED, faces, *table, dx, dx**2, work_space(), np.zeros(2))
    assert np.isnan(u[9])


def test_a_bare_kernel_cannot_allocate() -> None:
    def makes_an_array(n: int) -> float:
        return np.empty(n)[0]

    with pytest.raises(TypingError, match="function empty"):
        bare_kernel(makes_an_array)(3)


@pytest.mark.parametrize("kernel", [advance, cweno3, zhang_shu, velocity, sweep, reduced_gradient])
def test_the_kernels_are_bare(kernel: Any) -> None:
    assert kernel.targetoptions["_nrt"] is False
