"""Controls on a time grid, from a NumPy archive."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from solvers.arrays import FloatArray
from solvers.controls import SLACK, Controls, PiecewiseLinearControl
from solvers.errors import ControlError
from solvers.vector_controls import VectorControls


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


def _archive(path: Path) -> dict[str, FloatArray]:
    """Return the three arrays of an archive."""
    if not path.is_file():
        raise ControlError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.keys())
            missing = [name for name in ("time", "w", "b") if name not in names]
            if missing:
                has = ", ".join(names) or "nothing"
                raise ControlError(f"{path}: no array {missing[0]!r}; it has {has}")
            return {name: archive[name] for name in ("time", "w", "b")}
    except ControlError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0][:200]
        raise ControlError(f"{path}: not a NumPy archive (.npz): {reason}") from None
