"""The finite-volume scheme as one would write it for whole arrays, of NumPy or of JAX.

The benchmarks of the kernels and of the training measure against it: CWENO3, local Lax-Friedrichs,
SSP-RK3, as in :mod:`solvers.finite_volumes`, which says what the symbols mean. `np` is ``numpy`` or
``jax.numpy``.
"""

from types import ModuleType
from typing import Any

SIGMA = {
    "identity": lambda _np, z: z,
    "tanh": lambda np, z: np.tanh(z),
    "sigmoid": lambda np, z: 1.0 / (1.0 + np.exp(-z)),
}


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
    left, right = u[1:-1] - u[:-2], u[2:] - u[1:-1]
    centre, bend = 0.5 * (left + right), (right - left) / 1.5
    epsilon = dx**2
    a0 = 0.75 / (epsilon + centre**2 + 13.0 / 3.0 * bend**2) ** 2
    a1, a2 = 0.125 / (epsilon + left**2) ** 2, 0.125 / (epsilon + right**2) ** 2
    total = a0 + a1 + a2
    half = 0.5 * (a0 * centre + a1 * left + a2 * right) / total
    lift = a0 / total * bend / 6.0
    minus, plus = (u[1:-1] + half + lift)[:-1], (u[1:-1] - half + lift)[1:]
    if not adjoint:
        minus, plus = np.concatenate([zero, minus[1:]]), np.concatenate([plus[:-1], zero])
    flux = 0.5 * (v * (minus + plus) - np.abs(v) * (plus - minus))
    if not adjoint:
        flux = np.concatenate([zero, flux[1:-1], zero])
    return (flux[:-1] - flux[1:]) / dx


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
    second = (3.0 * u + first + change(first, 1)) / 4.0
    return (u + 2.0 * (second + change(second, 2))) / 3.0
