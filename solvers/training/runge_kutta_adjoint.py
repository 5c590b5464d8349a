"""Explicit Runge-Kutta methods and their exact discrete adjoints.

Forward, for a method with nodes c, matrix a and weights beta, of order that of the method,

    k_s = sigma(w_s Y_s + b_s),   Y_s = x + h sum_{r<s} a_sr k_r,   x <- x + h sum_s beta_s k_s.

Backward, with lambda the derivative of the final cost by x after the step, stages in reverse order,

    q_s = sigma'(w_s Y_s + b_s) h (beta_s lambda + sum_{r>s} a_rs mu_r),   mu_s = w_s^T q_s,
    lambda <- lambda + sum_s mu_s,

and q_s, q_s Y_s^T, summed over the particles, are the derivatives by the stage controls b_s, w_s.
This is the derivative of the discrete forward map itself, not a discretisation of the adjoint
equation, so it agrees with finite differences to rounding; at the kink of relu sigma'(0) = 0.

Reference: W. W. Hager, Numer. Math. 87 (2000) 247-282.
"""

from solvers.activations import slopes, velocity
from solvers.arrays import FloatArray
from solvers.jit import kernel
from solvers.training.sums import dot, total


@kernel
def _argument(w: FloatArray, b: FloatArray, y: FloatArray, c: int, z: FloatArray) -> None:
    """Write component c of w y + b into `z`."""
    for i in range(z.shape[0]):
        z[i] = b[c] + w[c, 0] * y[0, i]
    for k in range(1, y.shape[0]):
        a = w[c, k]
        for i in range(z.shape[0]):
            z[i] = z[i] + a * y[k, i]


@kernel
def forward(
    x: FloatArray,
    code: int,
    h: float,
    w: FloatArray,
    b: FloatArray,
    matrix: FloatArray,
    weights: FloatArray,
    stages: FloatArray,
    work: FloatArray,
) -> None:
    """Take nodes through all steps and keep the stage positions.

    Args:
        x: Positions, one row per component, shape (d, m); changed in place.
        code: Code of the activation.
        h: Length of a step.
        w: Control w at the stage times, shape (n, S, d, d).
        b: Control b likewise, shape (n, S, d).
        matrix: Coefficients a of the method, shape (S, S), strictly lower triangular.
        weights: Its weights beta, shape (S,).
        stages: The Y_s of all steps (output), shape (n, S, d, m).
        work: Work space, shape (S + 1, d, m).
    """
    d, m, count = x.shape[0], x.shape[1], weights.shape[0]
    for j in range(w.shape[0]):
        for s in range(count):
            y = stages[j, s]
            for c in range(d):
                for i in range(m):
                    y[c, i] = x[c, i]
                for r in range(s):
                    a = h * matrix[s, r]
                    if a != 0.0:
                        for i in range(m):
                            y[c, i] = y[c, i] + a * work[r, c, i]
            for c in range(d):
                _argument(w[j, s], b[j, s], y, c, work[count, 0])
                velocity(code, 1.0, 0.0, work[count, 0], work[s, c])
        for s in range(count):
            a = h * weights[s]
            for c in range(d):
                for i in range(m):
                    x[c, i] = x[c, i] + a * work[s, c, i]


@kernel
def backward(
    adjoint: FloatArray,
    code: int,
    h: float,
    w: FloatArray,
    b: FloatArray,
    matrix: FloatArray,
    weights: FloatArray,
    stages: FloatArray,
    work: FloatArray,
    dw: FloatArray,
    db: FloatArray,
) -> None:
    """Take the adjoint back through all steps and sum up the derivatives by the stage controls.

    Args:
        adjoint: lambda, shape (d, m); changed in place from the final to the initial time.
        code: Code of the activation.
        h: Length of a step.
        w: Control w at the stage times, shape (n, S, d, d).
        b: Control b likewise, shape (n, S, d).
        matrix: Coefficients a of the method, shape (S, S).
        weights: Its weights beta, shape (S,).
        stages: The Y_s that :func:`forward` kept, shape (n, S, d, m).
        work: Work space, shape (S + 2, d, m).
        dw: Derivatives by w are added here, shape (n, S, d, d).
        db: Derivatives by b are added here, shape (n, S, d).
    """
    d, m, count = adjoint.shape[0], adjoint.shape[1], weights.shape[0]
    q, slope = work[count], work[count + 1, 0]
    for j in range(w.shape[0] - 1, -1, -1):
        for s in range(count - 1, -1, -1):
            y = stages[j, s]
            for c in range(d):
                a = h * weights[s]
                for i in range(m):
                    q[c, i] = a * adjoint[c, i]
                for r in range(s + 1, count):
                    a = h * matrix[r, s]
                    if a != 0.0:
                        for i in range(m):
                            q[c, i] = q[c, i] + a * work[r, c, i]
                _argument(w[j, s], b[j, s], y, c, work[s, c])  # a row still free
                slopes(code, 1.0, 0.0, work[s, c], slope)
                for i in range(m):
                    q[c, i] = q[c, i] * slope[i]
                db[j, s, c] += total(q[c])
                for k in range(d):
                    dw[j, s, c, k] += dot(q[c], y[k])
            for k in range(d):
                mu = work[s, k]
                a = w[j, s, 0, k]
                for i in range(m):
                    mu[i] = a * q[0, i]
                for c in range(1, d):
                    a = w[j, s, c, k]
                    for i in range(m):
                        mu[i] = mu[i] + a * q[c, i]
        for s in range(count):
            for c in range(d):
                for i in range(m):
                    adjoint[c, i] = adjoint[c, i] + work[s, c, i]
