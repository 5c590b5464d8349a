"""The classical Runge-Kutta method of order 4.

    0   |
    1/2 | 1/2
    1/2 |  0   1/2
    1   |  0    0    1
    ----+--------------------
        | 1/6  1/3  1/3  1/6

Reference: W. Kutta, Z. Math. Phys. 46 (1901) 435-453; Hairer, Norsett, Wanner, "Solving Ordinary
Differential Equations I", Table II.1.2.

A particle goes through the four stages of a step in registers, so that a step reads and writes the
tile once; in loops of one stage each, loads and stores took a third of the time. As every operation
of a particle waits for the one before, eight vectors of particles are interleaved. A particle's
bits depend neither on that nor on the tile. The method written plainly, which tests compare with,
is `plain_step` in tests/solvers/test_particles.py.
"""

from solvers.activations import sigma
from solvers.arrays import FloatArray
from solvers.jit import bare_kernel, fma, interleave
from solvers.tiles import load, store

STAGES = (0.0, 0.5, 1.0)
ORDER = 4


@bare_kernel
def _step(u: FloatArray, code: int, h: float, w: FloatArray, b: FloatArray) -> None:
    """Take a tile through one step: all stages of a particle while it is in a register."""
    half, sixth = 0.5 * h, h / 6.0
    w0, w1, w2, b0, b1, b2 = w[0], w[1], w[2], b[0], b[1], b[2]
    for i in range(u.shape[0]):
        x = u[i]
        k1 = sigma(code, fma(w0, x, b0))
        k2 = sigma(code, fma(w1, fma(half, k1, x), b1))
        k3 = sigma(code, fma(w1, fma(half, k2, x), b1))
        k4 = sigma(code, fma(w2, fma(h, k3, x), b2))
        u[i] = fma(sixth, fma(2.0, k2 + k3, k1) + k4, x)
    interleave()


@bare_kernel
def rk4(
    x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray, tile: FloatArray
) -> None:
    """Take every particle through all steps, one tile after the other.

    Args:
        x: Positions, shape (M,); changed in place.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times t, t + h/2, t + h, shape (n, 3).
        b: Control b likewise.
        tile: Work space for a whole number of blocks.
    """
    for start in range(0, x.shape[0], tile.shape[0]):
        part = x[start : min(start + tile.shape[0], x.shape[0])]
        u = tile[: load(part, tile)]
        for j in range(h.shape[0]):
            _step(u, code, h[j], w[j], b[j])
        store(u, part)
