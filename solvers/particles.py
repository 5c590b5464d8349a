"""Particles: x_i' = sigma(w(t) x_i + b(t)), i = 1 ... M, in one dimension.

Equation (3) of the neural ODE; with Euler steps it is the residual network (1). The particles do
not interact, so a tile of them is taken through all steps between two snapshots while it stays in
the first-level cache, and a particle's trajectory has the same bits whatever the others are. On a
GPU (:mod:`solvers.gpu`) each particle is a thread of its own.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from solvers import euler, rk4, ssprk3
from solvers.activations import Activation
from solvers.arrays import FloatArray, IntArray, Poll, increasing, vector
from solvers.controls import Controls
from solvers.device import check_activation, check_device
from solvers.errors import InputError, NonFiniteError
from solvers.stages import stage_controls
from solvers.tiles import work_space

TILE = 1024  # 8 kB
SUM_TILE = 4096
STEP_BLOCK = 4096
LARGEST_BLOCK = TILE * 65536
POLL_SECONDS = 0.1

Move = Callable[[FloatArray, FloatArray, FloatArray, Poll | None], None]
Kernel = Callable[[FloatArray, int, FloatArray, FloatArray, FloatArray, FloatArray], None]
INTEGRATORS: dict[str, tuple[Kernel, tuple[float, ...]]] = {
    "euler": (euler.euler, euler.STAGES),
    "ssprk3": (ssprk3.ssprk3, ssprk3.STAGES),
    "rk4": (rk4.rk4, rk4.STAGES),
}


def integrate(
    initial_sorted: ArrayLike,
    activation: Activation,
    controls: Controls,
    times: ArrayLike,
    snapshot_indices: ArrayLike,
    integrator: str = "rk4",
    poll: Poll | None = None,
    device: str = "cpu",
) -> FloatArray:
    """Take particles through a time grid.

    Args:
        initial_sorted: Initial positions, increasing, shape (M,).
        activation: The activation.
        controls: The controls w(t), b(t).
        times: The ends of the steps (see :func:`solvers.time_grid.time_grid`), shape (n + 1,).
        snapshot_indices: Indices into `times` of the output times, increasing, shape (S,).
        integrator: "euler", "ssprk3" or "rk4".
        poll: Called every fraction of a second; may raise PointTimeoutError.
        device: "cpu" or "gpu"; both give the same positions to rounding.

    Returns:
        The positions at the snapshots, sorted, shape (S, M).

    Raises:
        InputError: if an argument is not valid, or there is no GPU where one is asked for.
        NonFiniteError: if a position overflows.
    """
    x = vector(initial_sorted, "initial_sorted")
    if not _ordered(x):
        raise InputError("initial_sorted must not decrease")
    grid = increasing(times, "times", minimum=1)
    indices = check_indices(snapshot_indices, grid.size)
    if integrator not in INTEGRATORS:
        raise InputError(f"unknown integrator {integrator!r}; allowed: {', '.join(INTEGRATORS)}")
    check_device(device)
    check_activation(device, activation.name)
    out = np.empty((indices.size, x.size))
    for row, stop in enumerate(
        advance_to(indices, x, activation, controls, grid, integrator, poll, device)
    ):
        out[row] = _sorted_finite(x, grid[stop])
    return out


def advance_to(
    indices: IntArray,
    x: FloatArray,
    activation: Activation,
    controls: Controls,
    grid: FloatArray,
    integrator: str,
    poll: Poll | None = None,
    device: str = "cpu",
) -> Iterator[int]:
    """Take `x` in place to one index of the time grid after the other; yield each on arrival."""
    stages = INTEGRATORS[integrator][1]
    move = _mover(x, activation.code, integrator, device)
    for start, stop in itertools.pairwise([0, *indices]):
        for first in range(start, stop, STEP_BLOCK):
            ends = grid[first : min(first + STEP_BLOCK, stop) + 1]
            w, b = stage_controls(controls, ends, stages)
            move(np.diff(ends), w, b, poll)
        yield stop


def check_indices(indices: ArrayLike, size: int) -> IntArray:
    """Return snapshot indices as integers.

    Raises:
        InputError: unless they increase strictly within [0, size).
    """
    array = np.array(indices, dtype=np.int64).reshape(-1)
    if array.size == 0 or np.any(np.diff(array) <= 0) or array[0] < 0 or array[-1] >= size:
        raise InputError(f"snapshot indices must increase within 0 ... {size - 1}: {array[:20]}")
    return array


def _mover(x: FloatArray, code: int, integrator: str, device: str) -> Move:
    """Return what takes `x` in place through some steps."""
    if device == "gpu":
        from solvers import gpu  # and with it the CUDA target of Numba

        return gpu.mover(x, code, integrator)
    advance, tile = INTEGRATORS[integrator][0], work_space(TILE)

    def move(h: FloatArray, w: FloatArray, b: FloatArray, poll: Poll | None) -> None:
        def run(start: int, stop: int) -> None:
            advance(x[start:stop], code, h, w, b, tile)

        in_blocks(run, x.size, TILE, poll)

    return move


def in_blocks(run: Callable[[int, int], None], size: int, least: int, poll: Poll | None) -> None:
    """Call `run` with the ends of blocks of particles that take it about POLL_SECONDS each.

    Args:
        run: Takes the particles of a block through some steps.
        size: The number of particles.
        least: That of the first block, and the fewest of any but the last.
        poll: Called before each block.
    """
    start, block = 0, least
    while start < size:
        if poll is not None:
            poll()
        began = time.perf_counter()
        run(start, min(start + block, size))
        start += block
        if time.perf_counter() - began < 0.5 * POLL_SECONDS:
            block = min(2 * block, LARGEST_BLOCK)
        elif time.perf_counter() - began > 2.0 * POLL_SECONDS:
            block = max(block // 2, least)


def _ordered(x: FloatArray) -> bool:
    """Return whether numbers do not decrease; no NaN does."""
    return bool(np.all(x[:-1] <= x[1:]))


def _sorted_finite(x: FloatArray, at: float) -> FloatArray:
    """Return the positions in increasing order; the trajectories in `x` keep their places."""
    if _ordered(x) and np.isfinite(x[[0, -1]]).all():
        return x
    finite = np.isfinite(x)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise NonFiniteError(f"position of particle {bad} is {x[bad]} at t = {at:.12g}")
    return np.sort(x)


def moments(sorted_x: ArrayLike) -> tuple[float, float]:
    """Return mean and variance (divisor M) of positions.

    Sums are taken in fixed tiles and then without rounding error, so the bits do not depend on how
    the work is split.

    Raises:
        InputError: if an entry is not finite or there is none.
    """
    x = vector(sorted_x, "positions")
    centre = 0.5 * x[0] + 0.5 * x[-1]
    mean_offset = tiled_sum(x - centre) / x.size
    variance = tiled_sum((x - centre - mean_offset) ** 2) / x.size
    return float(centre + mean_offset), float(variance)


def tiled_sum(values: FloatArray) -> float:
    """Return the sum: pairwise within tiles of fixed size, exact over the tiles."""
    starts = range(0, values.size, SUM_TILE)
    return math.fsum(float(np.sum(values[start : start + SUM_TILE])) for start in starts)
