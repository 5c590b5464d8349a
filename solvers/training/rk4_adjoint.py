"""RK4 on the line with its exact discrete adjoint, tile by tile.

The formulas are those of :mod:`solvers.training.runge_kutta_adjoint`, the twin that tests compare
with. A tile of nodes goes forward through all steps and at once back, so that what is kept of it,
256 kB for 100 steps, stays in the second cache: its positions before each step, and sigma in the
stages where that is dear (tanh, sigmoid; sigma' is made of it). A node goes through the four stages
of a step in registers, both ways. Derivatives are summed up in LANES parts, node i of a tile in
part i modulo LANES, tile after tile: one order of summation, whatever the processor and however the
nodes are divided among calls. Compilers vectorise these loops only where they see that nothing
overlaps: hence tiles of a constant length in flat arrays, and one copy of everything for each
activation.
"""

from solvers.activations import GCU, IDENTITY, RELU, SIGMOID, TANH, both, sigma
from solvers.arrays import FloatArray
from solvers.jit import bare_kernel, fma, inlined, interleave
from solvers.tiles import BLOCK, load, store

FRACTIONS = (0.0, 0.5, 1.0)
"""Times of the stages in a step; the second and the third have the same controls."""
LANES = BLOCK // 4
SUMS = 2 * len(FRACTIONS) * LANES
K1, K2, K3, K4, KEPT = (row * BLOCK for row in range(1, 6))


@inlined
def _slope(code: int, z: float, value: float) -> float:
    """Return sigma'(z), where sigma(z) is `value` if it was kept."""
    if code == TANH:
        return fma(-value, value, 1.0)
    if code == SIGMOID:
        return fma(-value, value, value)
    return both(code, z)[1]


@inlined
def _forward(kept: FloatArray, code: int, h: float, w: FloatArray, b: FloatArray) -> None:
    """Take a tile through one step, as :mod:`solvers.rk4` does, to the bit."""
    half, sixth = 0.5 * h, h / 6.0
    w0, w1, w2, b0, b1, b2 = w[0], w[1], w[2], b[0], b[1], b[2]
    for i in range(BLOCK):
        x = kept[i]
        k1 = sigma(code, fma(w0, x, b0))
        k2 = sigma(code, fma(w1, fma(half, k1, x), b1))
        k3 = sigma(code, fma(w1, fma(half, k2, x), b1))
        k4 = sigma(code, fma(w2, fma(h, k3, x), b2))
        kept[KEPT + i] = fma(sixth, fma(2.0, k2 + k3, k1) + k4, x)
        if code in (TANH, SIGMOID):
            kept[K1 + i], kept[K2 + i], kept[K3 + i], kept[K4 + i] = k1, k2, k3, k4
    interleave()


@inlined
def _stage(
    kept: FloatArray, row: int, i: int, code: int, w: float, b: float, y: float
) -> tuple[float, float]:
    """Return sigma and sigma' in the stage at y."""
    z = fma(w, y, b)
    k = kept[row + i] if code in (TANH, SIGMOID) else sigma(code, z)
    return k, _slope(code, z, k)


@inlined
def _back(
    kept: FloatArray, adjoint: FloatArray, i: int, code: int, h: float, w: FloatArray, b: FloatArray
) -> tuple[float, float, float, float, float, float]:
    """Take lambda of a node back through one step; return its derivatives by w and b."""
    half, sixth = 0.5 * h, h / 6.0
    x, p = kept[i], sixth * adjoint[i]
    k1, s1 = _stage(kept, K1, i, code, w[0], b[0], x)
    y2 = fma(half, k1, x)
    k2, s2 = _stage(kept, K2, i, code, w[1], b[1], y2)
    y3 = fma(half, k2, x)
    k3, s3 = _stage(kept, K3, i, code, w[1], b[1], y3)
    y4 = fma(h, k3, x)
    _, s4 = _stage(kept, K4, i, code, w[2], b[2], y4)
    q4 = s4 * p
    q3 = s3 * fma(h * w[2], q4, 2.0 * p)
    q2 = s2 * fma(half * w[1], q3, 2.0 * p)
    q1 = s1 * fma(half * w[1], q2, p)
    adjoint[i] = fma(w[2], q4, fma(w[1], q2 + q3, fma(w[0], q1, adjoint[i])))
    return q1 * x, q1, fma(q2, y2, q3 * y3), q2 + q3, q4 * y4, q4


@inlined
def _backward(
    kept: FloatArray,
    adjoint: FloatArray,
    code: int,
    h: float,
    w: FloatArray,
    b: FloatArray,
    sums: FloatArray,
) -> None:
    """Take a tile back through one step; four nodes at a time, so that sums stay in registers."""
    for i in range(LANES):
        c = _back(kept, adjoint, i, code, h, w, b)
        d = _back(kept, adjoint, i + LANES, code, h, w, b)
        e = _back(kept, adjoint, i + 2 * LANES, code, h, w, b)
        f = _back(kept, adjoint, i + 3 * LANES, code, h, w, b)
        sums[i] += (c[0] + d[0]) + (e[0] + f[0])
        sums[LANES + i] += (c[1] + d[1]) + (e[1] + f[1])
        sums[2 * LANES + i] += (c[2] + d[2]) + (e[2] + f[2])
        sums[3 * LANES + i] += (c[3] + d[3]) + (e[3] + f[3])
        sums[4 * LANES + i] += (c[4] + d[4]) + (e[4] + f[4])
        sums[5 * LANES + i] += (c[5] + d[5]) + (e[5] + f[5])


@inlined
def _tiles(
    x: FloatArray,
    slope: FloatArray,
    constant: FloatArray,
    code: int,
    h: float,
    w: FloatArray,
    b: FloatArray,
    kept: FloatArray,
    adjoint: FloatArray,
    sums: FloatArray,
) -> None:
    """Do what :func:`gradient` does, for one activation."""
    n = w.shape[0]
    last = kept[n * KEPT :]
    for start in range(0, x.shape[0], BLOCK):
        stop = min(start + BLOCK, x.shape[0])
        load(x[start:stop], kept)
        for j in range(n):
            _forward(kept[j * KEPT :], code, h, w[j], b[j])
        store(last, x[start:stop])
        for i in range(stop - start, BLOCK):
            adjoint[i] = 0.0
        for i in range(start, stop):
            adjoint[i - start] = fma(slope[i], x[i], constant[i])
        for j in range(n - 1, -1, -1):
            _backward(kept[j * KEPT :], adjoint, code, h, w[j], b[j], sums[j * SUMS :])


@bare_kernel
def gradient(
    x: FloatArray,
    slope: FloatArray,
    constant: FloatArray,
    code: int,
    h: float,
    w: FloatArray,
    b: FloatArray,
    kept: FloatArray,
    adjoint: FloatArray,
    sums: FloatArray,
) -> None:
    """Take nodes through all steps and back, and sum up the derivatives by the stage controls.

    Args:
        x: Positions, shape (m,); changed in place to the final ones.
        slope: The derivative of the final cost by x is slope x + constant, shape (m,).
        constant: Likewise.
        code: Code of the activation.
        h: Length of a step.
        w: Control w at the times `FRACTIONS` of the steps, shape (n, 3).
        b: Control b likewise.
        kept: Work space, n KEPT + BLOCK numbers.
        adjoint: Work space, BLOCK numbers.
        sums: Derivatives are added here, for each step and each of the times by w and by b, in
            LANES parts, shape (n SUMS,).
    """
    if code == IDENTITY:
        _tiles(x, slope, constant, IDENTITY, h, w, b, kept, adjoint, sums)
    elif code == RELU:
        _tiles(x, slope, constant, RELU, h, w, b, kept, adjoint, sums)
    elif code == SIGMOID:
        _tiles(x, slope, constant, SIGMOID, h, w, b, kept, adjoint, sums)
    elif code == TANH:
        _tiles(x, slope, constant, TANH, h, w, b, kept, adjoint, sums)
    else:
        _tiles(x, slope, constant, GCU, h, w, b, kept, adjoint, sums)
