"""Which fits lack points, and which points those are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline.analysis.along import along_axes, missing_along, positions, rows
from pipeline.analysis_tables import AnalysisTable
from pipeline.axes import Axis, Value
from pipeline.layout import analysis_tables
from pipeline.status import Status
from pipeline.store import Store


@dataclass(frozen=True)
class Gap:
    """A row whose fits lack points.

    Attributes:
        fits: what the fits are called that the row's points serve.
        row: the settings of the row.
        points: the settings along the fit and the status of each missing point.
    """

    fits: tuple[str, ...]
    row: Mapping[str, Value]
    points: tuple[tuple[dict[str, Value], Status], ...]


def gaps(store: Store) -> list[Gap]:
    """The rows of the analysis that lack points, each with all fits that go along them."""
    found: dict[tuple[object, ...], list[AnalysisTable]] = {}
    for table in analysis_tables(store.study):
        found.setdefault((table.steps, table.status, table.along), []).append(table)
    return [gap for tables in found.values() for gap in _gaps(store, tables)]


def _gaps(store: Store, tables: Sequence[AnalysisTable]) -> Iterator[Gap]:
    missing = missing_along(store, tables[0])
    labels = [_labels(store, axes) for axes in along_axes(store, tables[0])]
    for row in rows(store, tables[0]):
        lacking = missing.at(row)
        if points := tuple(_points(lacking, labels)):
            yield Gap(tuple(table.name for table in tables), row.settings, points)


def _labels(store: Store, axes: Sequence[Axis]) -> list[dict[str, Value]]:
    """The settings at each place of a dimension that several axes may share."""
    columns = [
        [{key: axis.labels(key)[i] for key in axis.keys} for i in positions(store, axis)]
        for axis in axes
    ]
    return [
        {key: value for part in parts for key, value in part.items()} for parts in product(*columns)
    ]


def _points(
    lacking: np.ndarray, labels: Sequence[Sequence[dict[str, Value]]]
) -> Iterator[tuple[dict[str, Value], Status]]:
    for place in np.argwhere(lacking >= 0).tolist():
        where = {
            key: value
            for i, column in zip(place, labels, strict=True)
            for key, value in column[i].items()
        }
        yield where, Status(int(lacking[tuple(place)]))
