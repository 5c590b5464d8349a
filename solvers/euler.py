"""The explicit Euler method: x <- x + h sigma(w x + b). Order 1; a ResNet layer is one step.

It keeps the order of particles only while 1 + h w sigma' > 0.
"""

from solvers.activations import velocity
from solvers.arrays import FloatArray
from solvers.jit import kernel

STAGES = (0.0,)
ORDER = 1


@kernel
def euler(
    x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray, work: FloatArray
) -> None:
    """Take every particle through all steps, one tile after the other.

    Args:
        x: Positions, shape (M,); changed in place.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times, shape (n, 1).
        b: Control b likewise.
        work: Work space, shape (3, tile).
    """
    tile = work.shape[1]
    for start in range(0, x.shape[0], tile):
        y = x[start : min(start + tile, x.shape[0])]
        k = work[0, : y.shape[0]]
        for j in range(h.shape[0]):
            velocity(code, w[j, 0], b[j, 0], y, k)
            for i in range(y.shape[0]):
                y[i] = y[i] + h[j] * k[i]
