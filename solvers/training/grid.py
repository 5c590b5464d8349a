"""Controls as arrays: values at the nodes of a uniform time grid, linear in between.

An optimiser sees one matrix U of shape (n + 1, d^2 + d): row k holds the entries of w(t_k), row by
row, and then those of b(t_k). It works in the inner product <U, V> = sum_k weights_k U_k . V_k with
the weights of the trapezoidal rule, in which a gradient has no time step in it: it tends to the
L2 gradient as the grid is refined.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze, integer
from solvers.errors import InputError


@dataclass(frozen=True)
class ControlGrid:
    """The time grid of the controls.

    Attributes:
        horizon: The final time T.
        intervals: The number n of intervals.
        dimension: The dimension d of the space.
    """

    horizon: float
    intervals: int
    dimension: int = 1

    def __post_init__(self) -> None:
        """Validate."""
        if not (math.isfinite(self.horizon) and self.horizon > 0.0):
            raise InputError(f"horizon = {self.horizon} must be positive and finite")
        integer(self.intervals, "intervals", 1)
        integer(self.dimension, "dimension", 1)

    @cached_property
    def times(self) -> FloatArray:
        """The nodes, shape (n + 1,)."""
        times = self.horizon * np.arange(self.intervals + 1) / self.intervals
        times[-1] = self.horizon
        return freeze(times)

    @cached_property
    def weights(self) -> FloatArray:
        """The weights of the trapezoidal rule, shape (n + 1,)."""
        weights = np.full(self.intervals + 1, self.horizon / self.intervals)
        weights[[0, -1]] *= 0.5
        return freeze(weights)

    def zeros(self) -> tuple[FloatArray, FloatArray]:
        """Return w = 0 and b = 0."""
        d = self.dimension
        return self.unpack(np.zeros((self.intervals + 1, d * d + d)))

    def pack(self, w: ArrayLike, b: ArrayLike) -> FloatArray:
        """Return w and b as one matrix, shape (n + 1, d^2 + d).

        Args:
            w: Values at the nodes, shape (n + 1, d, d), or one matrix (d, d); for d = 1 also
                (n + 1,) or a number.
            b: Likewise, shape (n + 1, d) or (d,).

        Raises:
            InputError: if a shape does not fit or a value is not finite.
        """
        n, d = self.intervals + 1, self.dimension
        parts = [_values("w", w, n, (d, d)), _values("b", b, n, (d,))]
        return np.concatenate([part.reshape(n, -1) for part in parts], axis=1)

    def unpack(self, controls: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return w (n + 1, d, d) and b (n + 1, d); both (n + 1,) for d = 1."""
        n, d = controls.shape[0], self.dimension
        w, b = controls[:, : d * d], controls[:, d * d :]
        if d == 1:
            return w[:, 0].copy(), b[:, 0].copy()
        return w.reshape(n, d, d).copy(), b.copy()

    def inner(self, u: FloatArray, v: FloatArray) -> float:
        """Return <U, V>."""
        return float(self.weights @ (u * v).sum(axis=1))

    def norm(self, u: FloatArray) -> float:
        """Return the norm of that inner product."""
        return math.sqrt(self.inner(u, u))

    def l2_norm(self, u: FloatArray) -> float:
        """Return the L2 norm of the piecewise linear function, exactly."""
        return math.sqrt(max(float(np.sum(u * self._mass(u))), 0.0))

    def penalty(self, u: FloatArray, gamma: FloatArray) -> tuple[float, FloatArray]:
        """Return 1/2 int gamma . U^2 dt of the piecewise linear U exactly, and its gradient.

        Over one interval int u^2 dt = dt/3 (u0^2 + u0 u1 + u1^2).

        Args:
            u: The controls.
            gamma: One factor for each column of `u`.
        """
        moved = gamma * self._mass(u)
        return 0.5 * float(np.sum(u * moved)), moved / self.weights[:, None]

    def _mass(self, u: FloatArray) -> FloatArray:
        """Return the product with the mass matrix of the hat functions."""
        out = self.weights[:, None] * u * (2.0 / 3.0)
        sixth = self.horizon / self.intervals / 6.0
        out[1:] += sixth * u[:-1]
        out[:-1] += sixth * u[1:]
        return out


def _values(name: str, values: ArrayLike, n: int, shape: tuple[int, ...]) -> FloatArray:
    """Return the values of one control at n nodes, shape (n, *shape)."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        message = f"{name} must be an array of numbers: {problem}"
        raise InputError(message) from None
    full = (n, *shape)
    line = set(shape) == {1}
    if not (array.shape in (full, shape) or (line and array.shape in ((), (n,)))):
        also = f" or ({n},)" if line else f" or {shape}"
        raise InputError(f"{name} must have shape {full}{also}, not {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} has values that are not finite")
    if array.shape == (n,) and line:
        return array.reshape(full)
    return np.broadcast_to(array, full).copy()
