"""The finite-volume scheme for whole arrays, of NumPy or of JAX, by the formulas of this package.

The benchmarks of the kernels and of the training measure against it: CWENO3 as in
:mod:`solvers.cweno3`, with one division a cell, local Lax-Friedrichs and SSP-RK3 as in
:mod:`solvers.finite_volumes`; they say what the symbols mean. `np` is ``numpy`` or ``jax.numpy``.
"""

from types import ModuleType
from typing import Any

from solvers.cweno3 import SCALE

SIGMA = {
    "identity": lambda _np, z: z,
    "tanh": lambda np, z: np.tanh(z),
    "sigmoid": lambda np, z: 1.0 / (1.0 + np.exp(-z)),
}


def cweno3(u: Any, epsilon: float) -> tuple[Any, Any]:
    """Return the values at the left and right faces of all cells but the first and the last.

    Args:
        u: Averages, shape (n + 2,).
        epsilon: Regularisation of the weights.
    """
    sl, sr = u[1:-1] - u[:-2], u[2:] - u[1:-1]
    mean, d = 0.25 * (sl + sr), sr - sl
    quarter = 0.25 * d
    p1, p2 = sl * sl + epsilon, sr * sr + epsilon
    p0 = quarter * d + 0.5 * SCALE * (p1 + p2)
    q0, q1, q2 = p0 * p0, p1 * p1, p2 * p2
    m, t = q1 * q2, q0 * (q2 - q1)
    g = quarter / (6.0 * SCALE**2 * m + q0 * (q1 + q2))
    m = 8.0 / 3.0 * SCALE**2 * m
    return u[1:-1] - mean + g * (m + t), u[1:-1] + mean + g * (m - t)


def rate(np: ModuleType, u: Any, v: Any, dx: float, adjoint: bool) -> Any:
    """Return the rate of change of the cell averages.

    Args:
        np: The library of the arrays.
        u: Averages, shape (N,).
        v: Velocities at the faces, shape (N + 1,).
        dx: Cell width.
        adjoint: Whether the ghost cells extrapolate; otherwise they are empty, and the ends closed.
    """
    zero = 0.0 * u[:1]
    ghosts = zero, zero, zero, zero
    if adjoint:
        ghosts = (
            3 * u[:1] - 2 * u[1:2], 2 * u[:1] - u[1:2], 2 * u[-1:] - u[-2:-1],
            3 * u[-1:] - 2 * u[-2:-1],
        )  # fmt: skip
    u = np.concatenate([*ghosts[:2], u, *ghosts[2:]])
    left, right = cweno3(u, dx**2)
    minus, plus = right[:-1], left[1:]
    if not adjoint:
        minus, plus = np.concatenate([zero, minus[1:]]), np.concatenate([plus[:-1], zero])
    flux = np.where(v > 0.0, minus, plus) * v  # local Lax-Friedrichs of v u, which is linear in u
    if not adjoint:
        flux = np.concatenate([zero, flux[1:-1], zero])
    return (flux[:-1] - flux[1:]) * (1.0 / dx)


def step(
    np: ModuleType, name: str, u: Any, faces: Any, dx: float, row: tuple, adjoint: bool = False
) -> Any:
    """Return the averages after a step.

    Args:
        np: The library of the arrays.
        name: The activation.
        u: Averages, shape (N,).
        faces: Faces, shape (N + 1,).
        dx: Cell width.
        row: The length of the step, and w and b at t, t + h, t + h/2.
        adjoint: Whether this is the adjoint equation, which has velocity -sigma.
    """
    h, w, b = row

    def change(u: Any, s: int) -> Any:
        v = SIGMA[name](np, w[s] * faces + b[s])
        return h * rate(np, u, -v if adjoint else v, dx, adjoint)

    first = u + change(u, 0)
    second = 0.25 * (3.0 * u + first + change(first, 1))
    return (u + 2.0 * (second + change(second, 2))) * (1.0 / 3.0)
