"""The strong-stability-preserving Runge-Kutta method of order 3 (Shu and Osher).

    u1 = u + h L(t, u)
    u2 = (3 u + u1 + h L(t + h, u1)) / 4
    u  = (u + 2 (u2 + h L(t + h/2, u2))) / 3

The convex combinations are evaluated as written, so constants are kept exactly and rounding does
not spoil conservation. The same two combinations serve the particles here and the finite volumes.

Reference: C.-W. Shu and S. Osher, J. Comput. Phys. 77 (1988) 439-471.
"""

from solvers.activations import velocity
from solvers.arrays import FloatArray
from solvers.jit import inlined, kernel

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


@kernel
def ssprk3(
    x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray, work: FloatArray
) -> None:
    """Take every particle through all steps, one tile after the other.

    Args:
        x: Positions, shape (M,); changed in place.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times t, t + h, t + h/2, shape (n, 3).
        b: Control b likewise.
        work: Work space, shape (3, tile).
    """
    tile = work.shape[1]
    for start in range(0, x.shape[0], tile):
        u = x[start : min(start + tile, x.shape[0])]
        m = u.shape[0]
        k, v = work[0, :m], work[1, :m]
        for j in range(h.shape[0]):
            velocity(code, w[j, 0], b[j, 0], u, k)
            for i in range(m):
                v[i] = u[i] + h[j] * k[i]
            velocity(code, w[j, 1], b[j, 1], v, k)
            for i in range(m):
                v[i] = second(u[i], v[i] + h[j] * k[i])
            velocity(code, w[j, 2], b[j, 2], v, k)
            for i in range(m):
                u[i] = third(u[i], v[i] + h[j] * k[i])
