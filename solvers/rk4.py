"""The classical Runge-Kutta method of order 4.

    0   |
    1/2 | 1/2
    1/2 |  0   1/2
    1   |  0    0    1
    ----+--------------------
        | 1/6  1/3  1/3  1/6

Reference: W. Kutta, Z. Math. Phys. 46 (1901) 435-453; Hairer, Norsett, Wanner, "Solving Ordinary
Differential Equations I", Table II.1.2.
"""

from solvers.activations import velocity
from solvers.arrays import FloatArray
from solvers.jit import kernel

STAGES = (0.0, 0.5, 1.0)
ORDER = 4


@kernel
def rk4(
    x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray, work: FloatArray
) -> None:
    """Take every particle through all steps, one tile after the other.

    Args:
        x: Positions, shape (M,); changed in place.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times t, t + h/2, t + h, shape (n, 3).
        b: Control b likewise.
        work: Work space, shape (3, tile).
    """
    tile = work.shape[1]
    for start in range(0, x.shape[0], tile):
        u = x[start : min(start + tile, x.shape[0])]
        m = u.shape[0]
        k, v, s = work[0, :m], work[1, :m], work[2, :m]
        for j in range(h.shape[0]):
            step = h[j]
            half = 0.5 * step
            velocity(code, w[j, 0], b[j, 0], u, k)
            for i in range(m):
                s[i] = k[i]
                v[i] = u[i] + half * k[i]
            velocity(code, w[j, 1], b[j, 1], v, k)
            for i in range(m):
                s[i] = s[i] + 2.0 * k[i]
                v[i] = u[i] + half * k[i]
            velocity(code, w[j, 1], b[j, 1], v, k)
            for i in range(m):
                s[i] = s[i] + 2.0 * k[i]
                v[i] = u[i] + step * k[i]
            velocity(code, w[j, 2], b[j, 2], v, k)
            for i in range(m):
                u[i] = u[i] + step / 6.0 * (s[i] + k[i])
