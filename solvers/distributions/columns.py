"""Reading numeric columns from a CSV, Parquet or NumPy file."""

import difflib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solvers.arrays import FloatArray
from solvers.errors import DistributionError

Column = str | int | None


def read_column(path: str | Path, column: str | int | None = None) -> FloatArray:
    """Return one column of a file as an array of finite floats.

    Args:
        path: A ``.csv``, ``.parquet`` or ``.npy`` file.
        column: The name of the column; for ``.npy`` its index, or None where the array is
            one-dimensional. None is allowed too where a table has a single column.

    Raises:
        DistributionError: one line that names the file and what is wrong with it: it is missing or
            unreadable, has no such column (with those that it has), holds something that is not a
            finite number (with its row, counted from 1), or fewer than two distinct values.
    """
    path = Path(path)
    values = _numbers(path, column, _column(path, _content(path), column))
    if np.all(values == values[0]):
        raise DistributionError(f"{path}: fewer than two distinct values{_where(column)}")
    return values


def read_columns(path: str | Path, columns: Sequence[str | int] | None = None) -> FloatArray:
    """Return some columns of a file as the rows of points, shape (n, d).

    Args:
        path: A ``.csv``, ``.parquet`` or ``.npy`` file.
        columns: The names of the columns, or their indices for ``.npy``, in the wanted order; all
            columns by default.

    Raises:
        DistributionError: as :func:`read_column`; or if no column is named, one twice, or there are
            fewer than two distinct rows.
    """
    path = Path(path)
    content = _content(path)
    wanted = _all_columns(content) if columns is None else list(columns)
    if not wanted or len(set(wanted)) < len(wanted):
        raise DistributionError(f"{path}: columns must be different and at least one: {wanted}")
    parts = [_numbers(path, column, _column(path, content, column)) for column in wanted]
    points = np.stack(parts, axis=1)
    if np.all(points == points[0]):
        raise DistributionError(f"{path}: fewer than two distinct rows in columns {wanted}")
    return points


def _content(path: Path) -> Any:
    """Return a file as a table of pandas or an array of NumPy."""
    if not path.is_file():
        raise DistributionError(f"{path}: no such file")
    readers = {".csv": _table, ".parquet": _table, ".npy": _array}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DistributionError(f"{path}: unknown kind of file; allowed: .csv, .parquet, .npy")
    return reader(path)


def _column(path: Path, content: Any, column: Column) -> Any:
    choose = _array_column if isinstance(content, np.ndarray) else _table_column
    return choose(path, content, column)


def _all_columns(content: Any) -> list[Any]:
    if not isinstance(content, np.ndarray):
        return [str(name) for name in content.columns]
    return list(range(content.shape[1] if content.ndim == 2 else 1))


def _where(column: Column) -> str:
    return "" if column is None else f" in column {column!r}"


def _table(path: Path) -> Any:
    """Return a table as pandas reads it."""
    try:
        import pandas as pd
    except ImportError:
        raise DistributionError(f"{path}: reading this file needs pandas") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            csv = path.suffix.lower() == ".csv"
            return pd.read_csv(path, index_col=False) if csv else pd.read_parquet(path)
    except (ValueError, OSError, ImportError, UnicodeError, Warning) as problem:
        raise DistributionError(f"{path}: cannot be read: {_first_line(problem)}") from None


def _table_column(path: Path, table: Any, column: Column) -> Any:
    """Return one column of a table."""
    names = [str(name) for name in table.columns]
    if column is None and len(names) == 1:
        column = names[0]
    if not isinstance(column, str) or column not in names:
        raise DistributionError(f"{path}: {_no_such_column(column, names)}")
    return table.iloc[:, names.index(column)].to_numpy()


def _no_such_column(column: Column, names: list[str]) -> str:
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    if column is None:
        return f"a column must be named; it has {listed}"
    near = difflib.get_close_matches(str(column), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"no column {column!r}{hint}; it has {listed}"


def _array(path: Path) -> Any:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as problem:
        raise DistributionError(f"{path}: cannot be read: {_first_line(problem)}") from None
    if not isinstance(array, np.ndarray):
        raise DistributionError(f"{path}: cannot be read: an archive, not one array")
    return array


def _array_column(path: Path, array: Any, column: Column) -> Any:
    """Return a one-dimensional array, or one column of a two-dimensional one."""
    if array.ndim == 1 and column in (None, 0):
        return array
    if array.ndim != 2:
        raise DistributionError(f"{path}: array of shape {array.shape} has no column {column!r}")
    if isinstance(column, bool) or not isinstance(column, int):
        message = f"column must be an index from 0 to {array.shape[1] - 1}, not {column!r}"
        raise DistributionError(f"{path}: {message}")
    if not 0 <= column < array.shape[1]:
        raise DistributionError(f"{path}: no column {column}; it has {array.shape[1]}")
    return array[:, column]


def _numbers(path: Path, column: Column, raw: Any) -> FloatArray:
    """Return finite floats, or name the first row that is none."""
    if raw.size == 0:
        raise DistributionError(f"{path}: no rows{_where(column)}")
    if raw.dtype.kind not in "iuf":
        raise DistributionError(f"{path}: {_not_a_number(raw)}{_where(column)}")
    values: FloatArray = np.array(raw, dtype=np.float64, order="C")
    if not np.all(np.isfinite(values)):
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        message = f"row {row + 1}{_where(column)} is {values[row]}, not a finite number"
        raise DistributionError(f"{path}: {message}")
    return values


def _not_a_number(raw: Any) -> str:
    if raw.dtype.kind not in "OUST":
        return f"values of type {raw.dtype} are not numbers"
    for row, value in enumerate(raw):
        try:
            float(value)
        except (TypeError, ValueError):
            return f"row {row + 1} is {str(value)[:40]!r}, not a number"
    return "values are text, not numbers"


def _first_line(problem: Exception) -> str:
    text = str(problem).strip()
    return text.splitlines()[0][:200] if text else type(problem).__name__
