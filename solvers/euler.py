"""The explicit Euler method: x <- x + h sigma(w x + b). Order 1; a ResNet layer is one step.

It keeps the order of particles only while 1 + h w sigma' > 0.
"""

from solvers.activations import sigma
from solvers.arrays import FloatArray
from solvers.jit import bare_kernel, fma, interleave
from solvers.tiles import load, store

STAGES = (0.0,)
ORDER = 1


@bare_kernel
def _step(x: FloatArray, code: int, h: float, w: FloatArray, b: FloatArray) -> None:
    """Take a tile through one step."""
    w0, b0 = w[0], b[0]
    for i in range(x.shape[0]):
        x[i] = fma(h, sigma(code, fma(w0, x[i], b0)), x[i])
    interleave()


@bare_kernel
def euler(
    x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray, tile: FloatArray
) -> None:
    """Take every particle through all steps, one tile after the other.

    Args:
        x: Positions, shape (M,); changed in place.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times, shape (n, 1).
        b: Control b likewise.
        tile: Work space for a whole number of blocks.
    """
    for start in range(0, x.shape[0], tile.shape[0]):
        part = x[start : min(start + tile.shape[0], x.shape[0])]
        u = tile[: load(part, tile)]
        for j in range(h.shape[0]):
            _step(u, code, h[j], w[j], b[j])
        store(u, part)
