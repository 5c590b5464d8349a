"""Explicit Runge-Kutta methods on the line and their exact discrete adjoints.

The formulas are those of :mod:`solvers.training.runge_kutta_adjoint`, which serves every dimension
and is the twin that tests compare with. Here a block of nodes is one row for each stage, short
enough that all its stages stay in the second cache between the pass forward and the pass backward.
The pass forward keeps sigma' next to the stage positions, made of sigma by

    tanh' = 1 - tanh^2,     sigmoid' = sigmoid (1 - sigmoid),

so the pass backward evaluates no exponential; and where no gradient is wanted nothing is kept.
"""

from solvers.activations import SIGMOID, TANH, slopes, velocity
from solvers.arrays import FloatArray
from solvers.jit import bare_kernel, fma
from solvers.training.sums import dot, total


@bare_kernel
def _slopes(
    code: int, w: float, b: float, y: FloatArray, value: FloatArray, out: FloatArray
) -> None:
    """Write sigma'(w y + b) into `out`, where sigma(w y + b) is `value`."""
    m = y.shape[0]
    if code == TANH:
        for i in range(m):
            out[i] = fma(-value[i], value[i], 1.0)
    elif code == SIGMOID:
        for i in range(m):
            out[i] = fma(-value[i], value[i], value[i])
    else:
        slopes(code, w, b, y, out)


@bare_kernel
def _place(x: FloatArray, a: FloatArray, h: float, k: FloatArray, y: FloatArray) -> None:
    """Write x + h sum a_r k_r into `y`; terms with a_r = 0 cost nothing."""
    m, fresh = y.shape[0], True
    for r in range(a.shape[0]):
        factor, term = h * a[r], k[r]
        if factor == 0.0:
            continue
        if fresh:
            for i in range(m):
                y[i] = fma(factor, term[i], x[i])
        else:
            for i in range(m):
                y[i] = fma(factor, term[i], y[i])
        fresh = False
    if fresh:
        for i in range(m):
            y[i] = x[i]


@bare_kernel
def _add(a: FloatArray, h: float, k: FloatArray, y: FloatArray) -> None:
    """Add h sum a_r k_r to `y`, two terms at a time."""
    m, count = y.shape[0], a.shape[0]
    for r in range(0, count - 1, 2):
        f, g, u, v = h * a[r], h * a[r + 1], k[r], k[r + 1]
        for i in range(m):
            y[i] = fma(g, v[i], fma(f, u[i], y[i]))
    if count % 2 == 1:
        f, u = h * a[count - 1], k[count - 1]
        for i in range(m):
            y[i] = fma(f, u[i], y[i])


@bare_kernel
def forward(
    x: FloatArray,
    code: int,
    h: float,
    w: FloatArray,
    b: FloatArray,
    matrix: FloatArray,
    weights: FloatArray,
    keep: bool,
    stages: FloatArray,
    work: FloatArray,
) -> None:
    """Take nodes through all steps.

    Args:
        x: Positions, shape (m,); changed in place.
        code: Code of the activation.
        h: Length of a step.
        w: Control w at the stage times, shape (n, S).
        b: Control b likewise.
        matrix: Coefficients a of the method, shape (S, S), strictly lower triangular.
        weights: Its weights beta, shape (S,).
        keep: Whether the pass backward will follow.
        stages: Where it will, the Y_s of all steps and sigma' there (output), shape (n, S, 2, m).
        work: Work space, shape (S + 1, m): the k_s of a step, and Y_s where it is not kept.
    """
    count = weights.shape[0]
    for j in range(w.shape[0]):
        for s in range(count):
            y = stages[j, s, 0] if keep else work[count]
            _place(x, matrix[s, :s], h, work, y)
            k = work[s]
            velocity(code, w[j, s], b[j, s], y, k)
            if keep:
                _slopes(code, w[j, s], b[j, s], y, k, stages[j, s, 1])
        _add(weights, h, work, x)


@bare_kernel
def backward(
    adjoint: FloatArray,
    h: float,
    w: FloatArray,
    matrix: FloatArray,
    weights: FloatArray,
    stages: FloatArray,
    work: FloatArray,
    dw: FloatArray,
    db: FloatArray,
) -> None:
    """Take the adjoint back through all steps and sum up the derivatives by the stage controls.

    Args:
        adjoint: lambda, shape (m,); changed in place from the final to the initial time.
        h: Length of a step.
        w: Control w at the stage times, shape (n, S).
        matrix: Coefficients a of the method, shape (S, S).
        weights: Its weights beta, shape (S,).
        stages: What :func:`forward` kept, shape (n, S, 2, m).
        work: Work space, shape (S, m): the q_s of a step.
        dw: Derivatives by w are added here, shape (n, S).
        db: Derivatives by b are added here, shape (n, S).
    """
    m, count = adjoint.shape[0], weights.shape[0]
    for j in range(w.shape[0] - 1, -1, -1):
        for s in range(count - 1, -1, -1):
            q, y, slope = work[s], stages[j, s, 0], stages[j, s, 1]
            a = h * weights[s]
            for i in range(m):
                q[i] = a * adjoint[i]
            for r in range(s + 1, count):
                a, later = h * matrix[r, s] * w[j, r], work[r]
                if a != 0.0:
                    for i in range(m):
                        q[i] = fma(a, later[i], q[i])
            for i in range(m):
                q[i] = q[i] * slope[i]
            db[j, s] += total(q)
            dw[j, s] += dot(q, y)
        _add(w[j], 1.0, work, adjoint)
