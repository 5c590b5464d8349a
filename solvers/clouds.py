"""Clouds: finitely many points in R^d, of equal weight unless weights are given."""

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.errors import MeasureError


def two_clouds(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return two clouds in one space as arrays of finite floats, shapes (M, d) and (N, d).

    Args:
        x: The points of the first, shape (M, d), or (M,) on the line.
        y: The points of the second, likewise.

    Raises:
        MeasureError: if one is no such thing, or they lie in spaces of different dimensions.
    """
    first, second = _cloud(x, "x"), _cloud(y, "y")
    if first.shape[1] != second.shape[1]:
        raise MeasureError(
            f"x is a cloud in R^{first.shape[1]}, y one in R^{second.shape[1]}; they must share "
            "a space"
        )
    return first, second


def _cloud(points: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.size == 0:
        raise MeasureError(f"{name} must have shape (points, dimension), not {np.shape(points)}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise MeasureError(f"{name}[{row}] = {array[row]} is not finite")
    return array
