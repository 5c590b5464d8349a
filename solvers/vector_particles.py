"""Particles in R^d: x_i' = sigma(w(t) x_i + b(t)), i = 1 ... M, w(t) a matrix and b(t) a vector.

Equation (3) of the neural ODE, sigma acting on each component; with Euler steps it is the residual
network (1). The particles do not interact: a tile of them is taken through all steps between two
snapshots while it stays in cache, component by component, so that the loops run over particles.
Rows of a tile are contiguous, which vectorised loops need, and whole blocks long. Tests compare
with SciPy, and for d = 1 with :mod:`solvers.particles`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation, sigma
from solvers.arrays import FloatArray, Poll, freeze, increasing
from solvers.errors import InputError, NonFiniteError
from solvers.jit import bare_kernel, fma, inlined, interleave
from solvers.particles import STEP_BLOCK, check_indices, tiled_sum
from solvers.stages import stage_controls
from solvers.tiles import BLOCK, load, store, work_space
from solvers.vector_controls import VectorControls

TILE = 1024  # components: the stages of a tile of particles stay in cache, next to the processor
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
    blocks = min(TILE // x.shape[0], x.shape[1] + BLOCK - 1) // BLOCK
    tile = max(blocks, 1) * BLOCK
    work = work_space(tableau.weights.size + 3, x.shape[0], tile)
    block = max(tile, POLL_EVERY * 64 // (h.size * x.shape[0] ** 2) // tile * tile)
    for start in range(0, x.shape[1], block):
        if poll is not None:
            poll()
        part = x[:, start : start + block]
        advance_vectors(part, activation.code, h, w, b, tableau.matrix, tableau.weights, work)


@bare_kernel
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
        work: Work space, shape (stages + 3, d, tile), the tile a whole number of blocks.
    """
    d, stages, tile = x.shape[0], weights.shape[0], work.shape[2]
    rows = work.reshape(work.shape[0], d * tile)  # all components of a tile in one
    u, y = rows[stages], rows[stages + 1]
    for start in range(0, x.shape[1], tile):
        stop = min(start + tile, x.shape[1])
        for c in range(d):
            row = work[stages, c]
            for i in range(load(x[c, start:stop], row), tile):
                row[i] = row[0]
        for j in range(h.shape[0]):
            for s in range(stages):
                _combine(u, h[j], matrix[s, :s], rows, y)
                _affine(w[j, s], b[j, s], work[stages + 1], work[s], work[stages + 2, 0])
                _activate(code, rows[s])
            _combine(u, h[j], weights, rows, u)
        for c in range(d):
            store(work[stages, c], x[c, start:stop])


@bare_kernel
def _combine(u: FloatArray, h: float, factors: FloatArray, k: FloatArray, out: FloatArray) -> None:
    """Write u + h (factors[0] k[0] + ...) into `out`, from the first factor that is not 0 on.

    Four stages are added in one go; beyond the last the factors are 0.
    """
    last, first, done = factors.shape[0] - 1, 0, u
    while first <= last and factors[first] == 0.0:
        first += 1
    if first > last:
        for i in range(out.shape[0]):
            out[i] = u[i]
    elif first == last:  # all stages of Euler and RK4, which need not load three rows more
        a, row = h * factors[last], k[last]
        for i in range(out.shape[0]):
            out[i] = fma(a, row[i], u[i])
    else:
        for s in range(first, last + 1, 4):
            a0, a1, a2, a3 = _four(factors, s, h)
            k0, k1, k2, k3 = k[s], k[min(s + 1, last)], k[min(s + 2, last)], k[min(s + 3, last)]
            for i in range(out.shape[0]):
                out[i] = fma(a3, k3[i], fma(a2, k2[i], fma(a1, k1[i], fma(a0, k0[i], done[i]))))
            done = out


@bare_kernel
def _affine(
    w: FloatArray, b: FloatArray, y: FloatArray, out: FloatArray, spare: FloatArray
) -> None:
    """Write w y + b into `out`: two components of it by four of `y` in one go.

    So a number is loaded once for two products, and sums stay in registers for four. Beyond the
    last component of `y` the weights are 0; beyond the last of `out` the numbers are not needed and
    go into `spare`, for a loop that wrote to one place twice would not be vectorised.
    """
    last = b.shape[0] - 1
    for c in range(0, last + 1, 2):
        e = min(c + 1, last)
        p, q = out[c], out[e] if e > c else spare
        for k in range(0, last + 1, 4):
            v0, v1, v2, v3 = _four(w[c], k, 1.0)
            w0, w1, w2, w3 = _four(w[e], k, 1.0)
            y0, y1, y2, y3 = y[k], y[min(k + 1, last)], y[min(k + 2, last)], y[min(k + 3, last)]
            for i in range(p.shape[0]):
                f, g = (p[i], q[i]) if k > 0 else (b[c], b[e])
                p[i] = fma(v3, y3[i], fma(v2, y2[i], fma(v1, y1[i], fma(v0, y0[i], f))))
                q[i] = fma(w3, y3[i], fma(w2, y2[i], fma(w1, y1[i], fma(w0, y0[i], g))))


@inlined
def _four(values: FloatArray, first: int, scale: float) -> tuple[float, float, float, float]:
    """Return scale times values[first], ... values[first + 3]; 0 beyond the last."""
    n = values.shape[0]
    return (
        scale * values[first],
        scale * values[first + 1] if first + 1 < n else 0.0,
        scale * values[first + 2] if first + 2 < n else 0.0,
        scale * values[first + 3] if first + 3 < n else 0.0,
    )


@bare_kernel
def _activate(code: int, z: FloatArray) -> None:
    """Replace numbers by their activation."""
    for i in range(z.shape[0]):
        z[i] = sigma(code, z[i])
    interleave()


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
