"""Tidy tables out of a store: one row per point, one column per axis and per variable.

Only what the study has now is shown: a store keeps values that were dropped from an axis.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import stdtrit

from pipeline.axes import Axis, brief, read_axes
from pipeline.errors import FigureError, StudyError

LEVEL = 0.95
_ANYWHERE = Path()
SIZES = ("particles", "training_particles", "cells", "seed")
"""Keys that an analysis goes along; on a zipped axis the first of them stands for the axis."""


def study_axes(tree: xr.DataTree) -> tuple[Axis, ...]:
    """The axes of the study that a store was made for; none where the store does not say."""
    document = study_document(tree)
    try:
        found = read_axes(document.get("axes", {}), "the store's study", _ANYWHERE)
    except StudyError:
        return ()
    return found


def study_document(tree: xr.DataTree) -> dict[str, Any]:
    """The study's tables, with every default written out."""
    try:
        found = json.loads(tree.attrs.get("study", "{}"))
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def dataset(tree: xr.DataTree, group: str) -> xr.Dataset:
    """A group of the store, cut to the study's values and with readable labels.

    Raises:
        FigureError: if the store has no such group.
    """
    found = cut(tree, group)
    for axis in study_axes(tree):
        if axis.name in found.dims:
            found = _named(found, axis)
    return found


def cut(tree: xr.DataTree, group: str) -> xr.Dataset:
    """A group of the store at the study's values, in the study's order.

    Raises:
        FigureError: if the store has no such group.
    """
    try:
        found = tree[group].to_dataset()
    except KeyError:
        raise FigureError(f"the store has no group '{group}'") from None
    for axis in study_axes(tree):
        if axis.name in found.dims and all(key in found.variables for key in axis.keys):
            stored = _positions(found, axis)
            wanted = list(zip(*(axis.labels(key) for key in axis.keys), strict=True))
            if all(position in stored for position in wanted):  # not so where a file has changed
                found = found.isel({axis.name: [stored.index(position) for position in wanted]})
    return found


def frame(
    tree: xr.DataTree,
    group: str,
    names: Sequence[str],
    optional: Sequence[str] = (),
    *,
    along: str = "",
) -> pd.DataFrame:
    """Variables of a group as a tidy table.

    Args:
        tree: the store.
        group: the path of the group.
        names: variables that must be there.
        optional: variables that may be missing, as in a store of an older version; NaN then.
        along: the size that stands for a zipped axis of several sizes; else the first of SIZES.

    Raises:
        FigureError: if a variable is missing, or holds nothing but NaN, or none is there.
    """
    found = dataset(tree, group)
    for name in names:
        if name not in found:
            raise FigureError(f"the store has no '{group}/{name}'")
        if not found[name].notnull().any():
            raise FigureError(f"'{group}/{name}' holds no numbers yet")
    known = [name for name in optional if name in found]
    if not (names or known):
        raise FigureError(f"the store has no '{group}/{optional[0]}'")
    table = found[[*names, *known]].to_dataframe().reset_index()
    for axis in study_axes(tree):
        sizes = sorted({*axis.keys} & {*SIZES}, key=lambda key: (key != along, SIZES.index(key)))
        if axis.zipped and sizes and axis.name in table:
            table = table.drop(columns=[axis.name, *(key for key in sizes[1:] if key in table)])
    return table.assign(**{name: np.nan for name in optional if name not in known})


def keys_of(table: pd.DataFrame, *others: str) -> list[str]:
    """The columns that are axes: all but those that are named."""
    return [str(name) for name in table.columns if name not in others]


def joined(
    table: pd.DataFrame, found: pd.DataFrame, keys: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """A table with columns of another one, which may lack some of the keys."""
    shared = [key for key in keys if key in found]
    if not shared:
        return table.assign(**dict.fromkeys(names, np.nan))
    columns = found[[*shared, *names]].drop_duplicates(subset=shared)
    return table.merge(columns, on=shared, how="left")


def mean_interval(table: pd.DataFrame, value: str, keys: Sequence[str]) -> pd.DataFrame:
    """Mean of a column over the rows that share the keys, with its 95 % interval (Student's t).

    Returns:
        the keys, ``mean``, ``low`` and ``high`` (NaN for a single row), and ``count``.
    """
    groups = table.dropna(subset=[value]).groupby(list(keys), sort=False)[value]
    found = groups.agg(["mean", "std", "count"]).reset_index()
    freedom = (found["count"] - 1).clip(lower=1).to_numpy()
    half = stdtrit(freedom, (1 + LEVEL) / 2) * found["std"] / np.sqrt(found["count"])
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half)
    return found[[*keys, "mean", "low", "high", "count"]]


def curves(
    table: pd.DataFrame, keys: Sequence[str], values: Sequence[str], digits: int = 6
) -> pd.DataFrame:
    """One row per curve, its numbers as lists of few digits: what a chart flattens again."""
    rounded = table.assign(
        **{v: significant(table[v].to_numpy(dtype=float), digits) for v in values}
    )
    if not keys:
        return pd.DataFrame([{v: rounded[v].tolist() for v in values}])
    groups = rounded.groupby(list(keys), sort=False, dropna=False)
    return groups[list(values)].agg(list).reset_index()


def significant(numbers: np.ndarray, digits: int) -> np.ndarray:
    """Numbers rounded to some significant digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.where(numbers == 0, 0.0, np.floor(np.log10(np.abs(numbers))))
    scale = 10.0 ** (digits - 1 - np.where(np.isfinite(exponent), exponent, 0.0))
    return np.asarray(np.round(numbers * scale) / scale)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain objects; JSON has no NaN, so null stands for it."""
    return [
        {str(key): _plain(value) for key, value in row.items()}
        for row in table.to_dict(orient="records")
    ]


def several(table: pd.DataFrame, keys: Iterable[str]) -> list[str]:
    """The keys that have more than one value."""
    return [key for key in keys if table[key].nunique() > 1]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _positions(found: xr.Dataset, axis: Axis) -> list[tuple[Any, ...]]:
    """The stored labels of an axis."""
    return list(zip(*(found[key].to_numpy().tolist() for key in axis.keys), strict=True))


def _named(found: xr.Dataset, axis: Axis) -> xr.Dataset:
    """A dataset with names for people on an axis whose values are no plain ones."""
    if any(key not in found.variables for key in axis.keys):
        return found
    if not axis.zipped and not _is_table(_positions(found, axis)):
        return found
    columns = {key: found[key].to_numpy().tolist() for key in axis.telling_keys()}
    sizes = [key for key in axis.keys if key in SIZES]
    found = found.set_coords(sizes).drop_vars([key for key in axis.keys if key not in sizes])
    return found.assign_coords({axis.name: names(columns)})


def _is_table(stored: Sequence[tuple[Any, ...]]) -> bool:
    return any(isinstance(v, str) and v.startswith(("{", "[")) for row in stored for v in row)


def axis_names(axis: Axis) -> list[Any]:
    """What the values of an axis are called in tables and figures: numbers as they are."""
    plain = [axis.labels(key) for key in axis.keys]
    if not axis.zipped and not _is_table(list(zip(*plain, strict=True))):
        return plain[0]
    return names({key: axis.labels(key) for key in axis.telling_keys()})


def names(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """Readable names of positions that some keys tell apart."""
    short = {key: [brief(value, 48) for value in column] for key, column in columns.items()}
    if len(short) == 1:
        return distinct(next(iter(short.values())))
    return distinct(
        [
            ", ".join(f"{key} = {part}" for key, part in zip(short, parts, strict=True))
            for parts in zip(*short.values(), strict=True)
        ]
    )


def distinct(found: list[str], shown: int | None = None) -> list[str]:
    """The names, numbered where two are alike in as many characters as are shown."""
    if len({name[:shown] for name in found}) == len(found):
        return found
    return [f"{number}: {name}" for number, name in enumerate(found, 1)]
