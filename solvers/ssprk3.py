"""The strong-stability-preserving Runge-Kutta method of order 3 (Shu and Osher).

    u1 = u + h L(t, u)
    u2 = (3 u + u1 + h L(t + h, u1)) / 4
    u  = (u + 2 (u2 + h L(t + h/2, u2))) / 3

The convex combinations are evaluated as written, so constants are kept exactly and rounding does
not spoil conservation. The same two combinations serve the particles here and the finite volumes.

Reference: C.-W. Shu and S. Osher, J. Comput. Phys. 77 (1988) 439-471.
"""

from solvers.activations import sigma
from solvers.arrays import FloatArray
from solvers.jit import bare_kernel, fma, inlined, interleave
from solvers.tiles import load, store

STAGES = (0.0, 1.0, 0.5)
ORDER = 3


@inlined
def second(u: float, v: float) -> float:
    """Return (3 u + v) / 4."""
    return (3.0 * u + v) / 4.0


@inlined
def third(u: float, v: float) -> float:
    """Return (u + 2 v) / 3."""
    return (u + 2.0 * v) / 3.0


@bare_kernel
def _step(x: FloatArray, code: int, h: float, w: FloatArray, b: FloatArray) -> None:
    """Take a tile through one step: all stages of a particle while it is in a register."""
    w0, w1, w2, b0, b1, b2 = w[0], w[1], w[2], b[0], b[1], b[2]
    for i in range(x.shape[0]):
        u = x[i]
        v = fma(h, sigma(code, fma(w0, u, b0)), u)
        v = second(u, fma(h, sigma(code, fma(w1, v, b1)), v))
        x[i] = third(u, fma(h, sigma(code, fma(w2, v, b2)), v))
    interleave()


@bare_kernel
def ssprk3(
    x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray, tile: FloatArray
) -> None:
    """Take every particle through all steps, one tile after the other.

    Args:
        x: Positions, shape (M,); changed in place.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times t, t + h, t + h/2, shape (n, 3).
        b: Control b likewise.
        tile: Work space for a whole number of blocks.
    """
    for start in range(0, x.shape[0], tile.shape[0]):
        part = x[start : min(start + tile.shape[0], x.shape[0])]
        u = tile[: load(part, tile)]
        for j in range(h.shape[0]):
            _step(u, code, h[j], w[j], b[j])
        store(u, part)
