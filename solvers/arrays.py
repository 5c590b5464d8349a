"""Array types and the checks every driver makes."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.errors import InputError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Poll: TypeAlias = Callable[[], None]


def vector(
    values: ArrayLike, name: str, error: type[InputError] = InputError, *, minimum: int = 1
) -> FloatArray:
    """Return `values` as a new contiguous one-dimensional array of finite floats.

    Raises:
        InputError: (or the given subclass) if it is no such thing or shorter than `minimum`.
    """
    if np.asarray(values).dtype.kind in "cmM":
        raise error(f"{name} must be an array of real numbers, not of {np.asarray(values).dtype}")
    try:
        array = np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as problem:
        message = f"{name} must be an array of numbers: {problem}"
        raise error(message) from None
    if array.ndim != 1 or array.size < minimum:
        message = f"{name} must be one-dimensional with at least {minimum} value(s), not of shape"
        raise error(f"{message} {array.shape}")
    if not np.all(np.isfinite(array)):
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise error(f"{name}[{first}] = {array[first]} is not finite")
    return array


def increasing(
    values: ArrayLike, name: str, error: type[InputError] = InputError, *, minimum: int = 2
) -> FloatArray:
    """Return `values` as :func:`vector` does and require that it increases strictly."""
    array = vector(values, name, error, minimum=minimum)
    steps = np.diff(array)
    if np.any(steps <= 0.0):
        first = int(np.flatnonzero(steps <= 0.0)[0])
        raise error(
            f"{name} must increase strictly, but {name}[{first + 1}] = {array[first + 1]} follows"
            f" {array[first]}"
        )
    return array


def integer(value: object, name: str, minimum: int) -> int:
    """Return `value` as an int.

    Raises:
        InputError: if it is not an integer or less than `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise InputError(f"{name} = {value!r} must be an integer of at least {minimum}")
    return int(value)


def freeze(array: FloatArray) -> FloatArray:
    """Make `array` read-only and return it."""
    array.setflags(write=False)
    return array
