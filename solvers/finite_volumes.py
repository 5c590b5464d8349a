"""The kernel of the finite-volume scheme: CWENO3, local Lax-Friedrichs, SSP-RK3.

It advances u_t + (s sigma(w(t) x + b(t)) u)_x = 0 through a table of substeps; s = 1 is the
mean-field equation, s = -1 the adjoint. Ghost cells are empty (mode OPEN: nothing enters, what
reaches the boundary leaves; mode CLOSED: nothing leaves either) or extrapolate linearly (mode
LINEAR: for the adjoint, whose data do not vanish at the boundary). The limiter is that of Zhang and
Shu, or none.

A substep is one pass over the cells, in tiles, and each tile goes through all three stages while it
is in cache. The rate of a cell needs two cells on each side, so a stage lags two cells behind the
one before it; of its values only a window as long as a tile is kept, whose last four cells become
the first of the next tile. So each average is read and written once, where three passes, one for
each stage, would move three times as much through memory. Every cell goes through the operations of
three passes, in their order, so the bits are theirs. While a tile is worked on the next is asked
for: a tile is a page of memory, and what processors fetch unasked ends where a page ends.

Averages below 1e-150 are set to 0 after each step. Ahead of a support the scheme leaves a tail that
falls by some powers of ten from one cell to the next, down to numbers that processors add and
multiply by microcode: one to four cells in a hundred were such, and took up to half of the time.
"""

import math

import numpy as np

from solvers.activations import velocity
from solvers.arrays import FloatArray
from solvers.cweno3 import cweno3
from solvers.jit import bare_kernel, fma, prefetch
from solvers.llf import llf
from solvers.ssprk3 import second, third
from solvers.zhang_shu import zhang_shu

OPEN, CLOSED, LINEAR = 0, 1, 2
NONE, POSITIVITY = 0, 4
LEFT, RIGHT = 8, 16  # a tile that touches this end of the domain
TILE = 512
LINE = 8  # numbers in a line of the cache
WORK_SHAPE = (6, TILE + 16)
TINY = 1e-150


def work_space() -> FloatArray:
    """Return work space for :func:`advance`, its rows aligned with the lines of the cache."""
    room = np.empty(math.prod(WORK_SHAPE) + LINE)
    start = -(room.ctypes.data // room.itemsize) % LINE
    return room[start : start + math.prod(WORK_SHAPE)].reshape(WORK_SHAPE)


@bare_kernel
def _ghosts(u: FloatArray, mode: int) -> None:
    """Fill the two ghost cells at those ends of `u` that `mode` names."""
    n = u.shape[0]
    linear = (mode & LINEAR) != 0
    if mode & LEFT:
        u[1] = 2.0 * u[2] - u[3] if linear else 0.0
        u[0] = 3.0 * u[2] - 2.0 * u[3] if linear else 0.0
    if mode & RIGHT:
        u[n - 2] = 2.0 * u[n - 3] - u[n - 4] if linear else 0.0
        u[n - 1] = 3.0 * u[n - 3] - 2.0 * u[n - 4] if linear else 0.0


@bare_kernel
def _fluxes(
    u: FloatArray,
    faces: FloatArray,
    code: int,
    sign: float,
    w: float,
    b: float,
    mode: int,
    epsilon: float,
    work: FloatArray,
) -> tuple[float, float]:
    """Write the fluxes at the faces of n cells into work[0] and return the first and the last.

    In mode CLOSED those at the ends of the domain are returned as they would be, before they are
    set to zero.

    Args:
        u: Averages of the cells and of two more on each side, shape (n + 4,); ghosts are filled.
        faces: The faces of the cells, shape (n + 1,).
        code: Code of the activation.
        sign: 1 or -1.
        w: Control w.
        b: Control b.
        mode: As in :func:`advance`, plus LEFT and RIGHT where the cells touch that end.
        epsilon: Regularisation of the CWENO weights.
        work: Work space of four rows of n + 2 numbers at least.
    """
    n = faces.shape[0] - 1
    _ghosts(u, mode)
    left, right = work[2, : n + 2], work[3, : n + 2]  # faces of the cells -1 ... n
    cweno3(u, epsilon, left, right)
    if mode & POSITIVITY:
        zhang_shu(u[1 : n + 3], left, right)
    if not mode & LINEAR:
        if mode & LEFT:
            right[0] = 0.0
        if mode & RIGHT:
            left[n + 1] = 0.0
    v = work[1, : n + 1]
    velocity(code, w, b, faces, v)
    flux, plus = work[0, : n + 1], left[1:]
    for i in range(n + 1):
        flux[i] = llf(sign * v[i], right[i], plus[i])
    first, last = flux[0], flux[n]
    if mode & CLOSED:
        if mode & LEFT:
            flux[0] = 0.0
        if mode & RIGHT:
            flux[n] = 0.0
    return first, last


@bare_kernel
def advance(
    u: FloatArray,
    code: int,
    sign: float,
    mode: int,
    faces: FloatArray,
    h: FloatArray,
    w: FloatArray,
    b: FloatArray,
    dx: float,
    epsilon: float,
    work: FloatArray,
    left_flux: FloatArray,
) -> None:
    """Take the cell averages through all substeps.

    Args:
        u: Averages with two ghost cells on each side, shape (N + 4,); changed in place.
        code: Code of the activation.
        sign: 1 for the mean-field equation, -1 for the adjoint.
        mode: OPEN, CLOSED or LINEAR, plus NONE or POSITIVITY. (One number, so that the kernels that
            call this one all use one compiled version of it.)
        faces: Positions of the faces, shape (N + 1,).
        h: Lengths of the substeps, shape (n,).
        w: Control w at t, t + h, t + h/2, shape (n, 3).
        b: Control b likewise.
        dx: Cell width.
        epsilon: Regularisation of the CWENO weights.
        work: Work space (:func:`work_space`), shape WORK_SHAPE.
        left_flux: What left through the left and right boundary is added here, shape (2,); in mode
            CLOSED the fluxes that would have flowed there, which are no mass.
    """
    cells = faces.shape[0] - 1
    flux, ahead = work[0], work[0, 1:]
    for j in range(h.shape[0]):
        ratio = h[j] / dx
        _ghosts(u, mode + LEFT + RIGHT)  # a tile before a last one of one cell reads a ghost cell
        for p in range(0, cells, TILE):
            q = min(p + TILE, cells)
            tile = mode + LEFT * (p == 0) + RIGHT * (q == cells)
            for i in range(q, min(q + TILE, cells), LINE):
                prefetch(u, i + 4)
                prefetch(faces, i)
            # stage 1 of the cells p ... q - 1; work[4] begins with that of cell p - 4
            l1, r1 = _fluxes(
                u[p : q + 4], faces[p : q + 1], code, sign, w[j, 0], b[j, 0], tile, epsilon, work
            )
            here, new = u[p + 2 : q + 2], work[4, 4 : q - p + 4]
            for i in range(q - p):
                new[i] = fma(ratio, flux[i] - ahead[i], here[i])
            # stage 2 two cells behind; work[5] begins with that of cell p - 6
            start = max(p - 2, 0)
            stop = q if q == cells else q - 2
            k, m = start - p, stop - start
            x = faces[start : stop + 1]
            l2, r2 = _fluxes(
                work[4, k + 2 : k + m + 6], x, code, sign, w[j, 1], b[j, 1], tile, epsilon, work
            )
            here, old, new = u[start + 2 :], work[4, k + 4 :], work[5, k + 6 :]
            for i in range(m):
                new[i] = second(here[i], fma(ratio, flux[i] - ahead[i], old[i]))
            # stage 3 four cells behind
            start = max(p - 4, 0)
            stop = q if q == cells else q - 4
            k, m = start - p, stop - start
            x = faces[start : stop + 1]
            l3, r3 = _fluxes(
                work[5, k + 4 : k + m + 8], x, code, sign, w[j, 2], b[j, 2], tile, epsilon, work
            )
            here, old = u[start + 2 :], work[5, k + 6 :]
            for i in range(m):
                value = third(here[i], fma(ratio, flux[i] - ahead[i], old[i]))
                here[i] = 0.0 if math.fabs(value) < TINY else value
            for i in range(4):
                work[4, i] = work[4, i + TILE]
                work[5, i] = work[5, i + TILE]
            if p == 0:
                left_flux[0] -= h[j] * (l1 + l2 + 4.0 * l3) / 6.0
            if q == cells:
                left_flux[1] += h[j] * (r1 + r2 + 4.0 * r3) / 6.0
