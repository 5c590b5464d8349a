"""Particles in R^d: x_i' = sigma(w(t) x_i + b(t)), i = 1 ... M, w(t) a matrix and b(t) a vector.

Equation (3) of the neural ODE, sigma acting on each component; with Euler steps it is the residual
network (1). The particles do not interact: a tile of them is taken through all steps between two
snapshots while it stays in cache, component by component, so that the loops run over particles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation, velocity
from solvers.arrays import FloatArray, Poll, freeze, increasing
from solvers.errors import InputError, NonFiniteError
from solvers.jit import kernel
from solvers.particles import STEP_BLOCK, check_indices, tiled_sum
from solvers.stages import stage_controls
from solvers.vector_controls import VectorControls

TILE = 256
POLL_EVERY = 1 << 14


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: x <- x + h sum_s weights[s] k_s.

    Attributes:
        nodes: Stage times as fractions of the step, (stages,).
        matrix: k_s is taken at x + h sum_r matrix[s, r] k_r, strictly lower triangular.
        weights: (stages,).
    """

    nodes: tuple[float, ...]
    matrix: FloatArray
    weights: FloatArray

    @classmethod
    def of(
        cls, nodes: tuple[float, ...], matrix: list[list[float]], weights: list[float]
    ) -> "Tableau":
        """Return the method with these coefficients."""
        return cls(nodes, freeze(np.array(matrix)), freeze(np.array(weights)))


TABLEAUX = {
    "euler": Tableau.of((0.0,), [[0.0]], [1.0]),
    "ssprk3": Tableau.of(
        (0.0, 1.0, 0.5),
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.0]],
        [1 / 6, 1 / 6, 2 / 3],
    ),
    "rk4": Tableau.of(
        (0.0, 0.5, 0.5, 1.0),
        [[0.0] * 4, [0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [1 / 6, 1 / 3, 1 / 3, 1 / 6],
    ),
}
"""The methods of :mod:`solvers.euler`, :mod:`solvers.ssprk3` and :mod:`solvers.rk4`."""


def integrate_vectors(
    initial: ArrayLike,
    activation: Activation,
    controls: VectorControls,
    times: ArrayLike,
    snapshot_indices: ArrayLike,
    integrator: str = "rk4",
    poll: Poll | None = None,
) -> FloatArray:
    """Take particles in R^d through a time grid.

    Args:
        initial: Initial positions, shape (M, d).
        activation: The activation.
        controls: The controls w(t), b(t) in R^d.
        times: The ends of the steps (see :func:`solvers.time_grid.time_grid`), shape (n + 1,).
        snapshot_indices: Indices into `times` of the output times, increasing, shape (S,).
        integrator: "euler", "ssprk3" or "rk4".
        poll: Called every fraction of a second; may raise PointTimeoutError.

    Returns:
        The positions at the snapshots, in the order of the particles, shape (S, M, d).

    Raises:
        InputError: if an argument is not valid.
        NonFiniteError: if a position overflows.
    """
    x = _components(initial, controls.dimension)
    grid = increasing(times, "times", minimum=1)
    indices = check_indices(snapshot_indices, grid.size)
    if integrator not in TABLEAUX:
        raise InputError(f"unknown integrator {integrator!r}; allowed: {', '.join(TABLEAUX)}")
    tableau = TABLEAUX[integrator]
    out = np.empty((indices.size, *x.shape[::-1]))
    for row, (start, stop) in enumerate(zip([0, *indices[:-1]], indices, strict=True)):
        for first in range(start, stop, STEP_BLOCK):
            ends = grid[first : min(first + STEP_BLOCK, stop) + 1]
            _advance(x, activation, tableau, ends, controls, poll)
        if not np.isfinite(x).all():
            bad = int(np.flatnonzero(~np.isfinite(x).all(axis=0))[0])
            message = f"position of particle {bad} is {x[:, bad]} at t = {grid[stop]:.12g}"
            raise NonFiniteError(message)
        out[row] = x.T
    return out


def _components(initial: ArrayLike, dimension: int) -> FloatArray:
    """Return positions as one contiguous row per component, shape (d, M)."""
    given = np.asarray(initial, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] < 1 or given.shape[1] != dimension:
        raise InputError(
            f"initial positions must have shape (particles, {dimension}), not {given.shape}"
        )
    if not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])
        raise InputError(f"initial[{row}] = {given[row]} is not finite")
    return given.T.copy()


def _advance(
    x: FloatArray,
    activation: Activation,
    tableau: Tableau,
    ends: FloatArray,
    controls: VectorControls,
    poll: Poll | None,
) -> None:
    """Take all particles through some steps, polling between blocks of tiles."""
    w, b = stage_controls(controls, ends, tableau.nodes)
    h = np.diff(ends)
    work = np.empty((tableau.weights.size + 2, x.shape[0], TILE))
    block = max(TILE, POLL_EVERY * 64 // (h.size * x.shape[0] ** 2) // TILE * TILE)
    for start in range(0, x.shape[1], block):
        if poll is not None:
            poll()
        part = x[:, start : start + block]
        advance_vectors(part, activation.code, h, w, b, tableau.matrix, tableau.weights, work)


@kernel
def advance_vectors(
    x: FloatArray,
    code: int,
    h: FloatArray,
    w: FloatArray,
    b: FloatArray,
    matrix: FloatArray,
    weights: FloatArray,
    work: FloatArray,
) -> None:
    """Take every particle through all steps of an explicit Runge-Kutta method, tile by tile.

    Args:
        x: Positions, shape (d, M); changed in place.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times, shape (n, stages, d, d).
        b: Control b likewise, shape (n, stages, d).
        matrix: Coefficients of the stages, shape (stages, stages), strictly lower triangular.
        weights: Weights of the stages, shape (stages,).
        work: Work space, shape (stages + 2, d, tile).
    """
    d, tile = x.shape[0], work.shape[2]
    stages = weights.shape[0]
    for start in range(0, x.shape[1], tile):
        u = x[:, start : min(start + tile, x.shape[1])]
        m = u.shape[1]
        y, z = work[stages], work[stages + 1]
        for j in range(h.shape[0]):
            for s in range(stages):
                for c in range(d):
                    for i in range(m):
                        y[c, i] = u[c, i]
                    for r in range(s):
                        a = h[j] * matrix[s, r]
                        if a != 0.0:
                            for i in range(m):
                                y[c, i] = y[c, i] + a * work[r, c, i]
                for c in range(d):
                    for i in range(m):
                        z[c, i] = b[j, s, c]
                    for k in range(d):
                        a = w[j, s, c, k]
                        for i in range(m):
                            z[c, i] = z[c, i] + a * y[k, i]
                    velocity(code, 1.0, 0.0, z[c, :m], work[s, c, :m])
            for s in range(stages):
                a = h[j] * weights[s]
                for c in range(d):
                    for i in range(m):
                        u[c, i] = u[c, i] + a * work[s, c, i]


def vector_moments(x: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return mean (d,) and covariance matrix (d, d), divisor M, of positions (M, d).

    Sums are taken in fixed tiles and then without rounding error, so the bits do not depend on how
    the work is split.
    """
    points = np.asarray(x, dtype=np.float64)
    count, d = points.shape
    centre = 0.5 * points.min(axis=0) + 0.5 * points.max(axis=0)
    offsets = points - centre
    mean = np.array([tiled_sum(offsets[:, j]) for j in range(d)]) / count
    offsets -= mean
    products = [[tiled_sum(offsets[:, j] * offsets[:, k]) for k in range(d)] for j in range(d)]
    return centre + mean, np.array(products) / count
