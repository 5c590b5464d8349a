"""Controls on a time grid, from a NumPy archive."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from solvers.arrays import FloatArray
from solvers.controls import SLACK, Controls, PiecewiseLinearControl
from solvers.errors import ControlError
from solvers.vector_controls import VectorControls

NAMES = ("time", "w", "b")
ALLOWED = "an .npz file with the arrays time, w and b, as numpy.savez writes it"
MOST_BYTES = 10**9
UNREADABLE = (
    MemoryError,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_controls(path: str | Path, horizon: float | None = None) -> Controls | VectorControls:
    """Return the piecewise-linear controls stored in a NumPy archive.

    Args:
        path: An ``.npz`` file with the arrays `time` (increasing, shape (n,)), `w` and `b`, both of
            shape (n,), or (n, d, d) and (n, d) for controls in R^d.
        horizon: If given, `time` must cover [0, horizon].

    Raises:
        ControlError: one line that names the file and what is wrong with it.
    """
    path = Path(path)
    arrays = _archive(path)
    if problem := _misfit(**arrays):
        raise ControlError(f"{path}: {problem}")
    try:
        controls = piecewise_linear(**arrays)
    except ControlError as problem:
        raise ControlError(f"{path}: {problem}") from None
    if horizon is not None:
        first, last = arrays["time"][0], arrays["time"][-1]
        if first > SLACK * horizon or last < horizon * (1.0 - SLACK):
            span = f"[{first:.12g}, {last:.12g}]"
            raise ControlError(f"{path}: time covers {span}, not [0, {horizon:.12g}]")
    return controls


def piecewise_linear(time: FloatArray, w: FloatArray, b: FloatArray) -> Controls | VectorControls:
    """Return controls that are linear between the points of a grid, on the line or in R^d.

    Args:
        time: The grid, increasing, shape (n,).
        w: Values of w, shape (n,) or (n, d, d).
        b: Values of b, shape (n,) or (n, d).

    Raises:
        ControlError: if the shapes do not fit or a number is not finite.
    """
    if b.ndim < 2:
        return Controls(PiecewiseLinearControl(time, w), PiecewiseLinearControl(time, b))
    found = VectorControls.piecewise_linear(time, w, b)
    return Controls(found.w[0][0], found.b[0]) if found.dimension == 1 else found


def _misfit(time: FloatArray, w: FloatArray, b: FloatArray) -> str:
    """Say which array is not what it must be; empty if all are."""
    for name, array in (("time", time), ("w", w), ("b", b)):
        if array.dtype.kind not in "iuf":
            return f"array {name!r} holds values of type {array.dtype}; allowed: real numbers"
    if time.ndim != 1 or time.size < 2:
        return f"array 'time' has shape {time.shape}; allowed: (n,) with n of 2 or more"
    n = time.size
    d = b.shape[1] if b.ndim == 2 else 1
    if (w.shape, b.shape) not in (((n,), (n,)), ((n, d, d), (n, d))):
        what = f"array 'w' has shape {w.shape} and 'b' {b.shape} at {n} times"
        return f"{what}; allowed: ({n},) for both, or ({n}, d, d) and ({n}, d)"
    return ""


def _archive(path: Path) -> dict[str, FloatArray]:
    """Return the three arrays of an archive."""
    if path.is_dir():
        raise ControlError(f"{path}: a folder; allowed: {ALLOWED}")
    if not path.is_file():
        raise ControlError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            size = sum(part.file_size for part in archive.zip.infolist())
            if size > MOST_BYTES:
                raise ControlError(f"{path}: unpacks to {size} bytes; allowed: up to {MOST_BYTES}")
            missing = [name for name in NAMES if name not in archive.files]
            if missing:
                has = ", ".join(archive.files) or "nothing"
                raise ControlError(f"{path}: no array {missing[0]!r}; it has {has}")
            return {name: _array(path, archive, name) for name in NAMES}
    except ControlError:
        raise
    except (*UNREADABLE, TypeError, AttributeError):  # the last two: one array, not an archive
        raise ControlError(f"{path}: not a NumPy archive; allowed: {ALLOWED}") from None


def _array(path: Path, archive: Any, name: str) -> FloatArray:
    """Return one array of an archive."""
    try:
        return np.asarray(archive[name])
    except UNREADABLE as problem:
        if "Object arrays" in str(problem):
            reason = "holds Python objects"
        else:
            reason = f"cannot be read ({(str(problem) or type(problem).__name__).splitlines()[0]})"
        raise ControlError(f"{path}: array {name!r} {reason}; allowed: real numbers") from None
