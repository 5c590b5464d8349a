"""Reading the numbers of a step along the axes that a fit goes along, row by row."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.analysis_tables import AnalysisTable
from pipeline.axes import Axis, Value
from pipeline.status import KEEPS_DATA
from pipeline.steps.base import Table
from pipeline.store import Store

NUMBERS = ("particles", "training_particles", "cells")


@dataclass(frozen=True)
class Row:
    """One row of fits: a point of the axes that the fits do not go along.

    Attributes:
        places: its stored position on each of these axes.
        settings: its values.
    """

    places: Mapping[str, int]
    settings: Mapping[str, Value]


@dataclass(frozen=True)
class Samples:
    """Numbers of a step, arranged for fits.

    Attributes:
        axes: the axes of the rows that they depend on.
        values: over those axes, then one dimension for each key of the table's along (ascending;
            of length 1 where they do not depend on it), then the variable's own dimensions.
    """

    axes: tuple[Axis, ...]
    values: np.ndarray

    def at(self, row: Row) -> np.ndarray:
        """The numbers of one row."""
        found: np.ndarray = self.values[tuple(row.places[axis.name] for axis in self.axes)]
        return found


def read_along(store: Store, path: str, table: AnalysisTable) -> Samples:
    """A variable of a step (step/name) for the fits of a table."""
    step, _, name = path.partition("/")
    tables = store.study.step(step).tables
    owner = next(t for t in tables if any(v.name == name for v in t.variables))
    return _arranged(store, np.asarray(store.array(path)[...]), owner, table)


def missing_along(store: Store, table: AnalysisTable) -> Samples:
    """The statuses of those points that a table's fits need and that have no numbers; else −1."""
    step = store.study.step(table.steps[0])
    owner = next(t for t in step.tables if t.status == table.status)
    statuses = np.asarray(store.array(f"{step.name}/{table.status}")[...])
    return _arranged(store, np.where(np.isin(statuses, KEEPS_DATA), -1, statuses), owner, table)


def complete(samples: Samples, missing: Samples, partial: bool) -> Samples:
    """The samples, NaN in the rows that lack points unless what is there is enough (partial).

    Args:
        samples: of a variable.
        missing: of the table of its step that has the variable.
        partial: whether rows that lack points are kept.
    """
    if partial:
        return samples
    along = tuple(range(len(missing.axes), missing.values.ndim))
    lacking = (missing.values >= 0).any(axis=along)
    spread = lacking.reshape(*lacking.shape, *[1] * (samples.values.ndim - lacking.ndim))
    return Samples(samples.axes, np.where(spread, math.nan, samples.values))


def rows(store: Store, table: AnalysisTable) -> Iterator[Row]:
    """The rows of a table's fits that the study has."""
    axes = [store.axes[axis.name] for axis in row_axes(store, table)]
    for index in store.points(axes):
        places = {axis.name: i for axis, i in zip(axes, index, strict=True)}
        yield Row(places, store.values_at(axes, index) or {})


def row_axes(store: Store, table: AnalysisTable) -> tuple[Axis, ...]:
    """The axes of a table's rows: those that its fits do not go along."""
    axes = store.study.step_axes(*(store.study.step(name) for name in table.steps))
    return tuple(store.axes[a.name] for a in axes if not set(table.along).intersection(a.keys))


def along_axes(store: Store, table: AnalysisTable) -> list[tuple[Axis, ...]]:
    """For each key of a table's along the axes that vary with it; an axis stands at its first."""
    axes = store.study.step_axes(*(store.study.step(name) for name in table.steps))
    found: list[tuple[Axis, ...]] = []
    for key in table.along:
        taken = [axis.name for group in found for axis in group]
        found.append(
            tuple(store.axes[a.name] for a in axes if key in a.keys and a.name not in taken)
        )
    return found


def sizes(store: Store, key: str) -> np.ndarray:
    """The study's values of a number on an axis, such as M, ascending."""
    axis = next(a for a in store.axes.values() if key in a.keys)
    return np.array(axis.labels(key))[positions(store, axis)]


def positions(store: Store, axis: Axis) -> list[int]:
    """The study's positions on an axis, by ascending number where it has numbers."""
    found = store.positions(axis.name)
    key = next((key for key in NUMBERS if key in axis.keys), None)
    if key is None:
        return found
    labels = axis.labels(key)
    return sorted(found, key=lambda position: labels[position])


def _arranged(store: Store, values: np.ndarray, owner: Table, table: AnalysisTable) -> Samples:
    axes = store.table_axes(owner)
    groups = along_axes(store, table)
    along = [axis.name for group in groups for axis in group]
    for number, axis in enumerate(axes):
        if axis.name in along:
            values = values.take(positions(store, axis), axis=number)
    names = [axis.name for axis in axes]
    kept = [i for i, name in enumerate(names) if name not in along]
    moved = [[names.index(a.name) for a in group if a.name in names] for group in groups]
    lengths = [math.prod(values.shape[i] for i in group) for group in moved]
    order = [*kept, *(i for group in moved for i in group), *range(len(axes), values.ndim)]
    shape = [*(values.shape[i] for i in kept), *lengths, *values.shape[len(axes) :]]
    return Samples(tuple(axes[i] for i in kept), values.transpose(order).reshape(shape))
