"""Numbers of the analysis on their way into the store."""

import math
from collections.abc import Iterable

import numpy as np

from pipeline.analysis.along import Row, positions
from pipeline.analysis_tables import AnalysisTable
from pipeline.layout import analysis_axes
from pipeline.store import FILLS, Store


class Found:
    """The variables of one table of /analysis, filled row by row and written at once.

    Args:
        store: an open store.
        table: whose variables they are.
    """

    def __init__(self, store: Store, table: AnalysisTable) -> None:
        self.table = table
        self._store = store
        self._axes = [store.axes[axis.name] for axis in analysis_axes(store.study, table)]
        self._own = {axis.name: positions(store, axis) for axis in self._axes}
        self._values = {
            variable.name: np.full(
                store.array(f"analysis/{variable.name}").shape,
                FILLS["flags"] if variable.flags else math.nan,
            )
            for variable in table.variables
        }

    def put(self, row: Row, name: str, value: object, *place: int) -> None:
        """Note a variable of a row.

        Args:
            row: the row; it may lack one axis of the table, and then the value has a dimension
                for it, ascending.
            name: the variable.
            value: a number or an array.
            place: the position on the first of the variable's own dimensions; the value has the
                others.
        """
        index = [row.places.get(axis.name, self._own[axis.name]) for axis in self._axes]
        self._values[name][(*index, *place)] = value

    def put_interval(self, row: Row, name: str, values: Iterable[object], *place: int) -> None:
        """Note a fitted number and the ends of its interval."""
        for ending, value in zip(("", "_low", "_high"), values, strict=True):
            self.put(row, f"{name}{ending}", value, *place)

    def write(self) -> None:
        """Write every variable to the store."""
        for name, values in self._values.items():
            self._store.array(f"analysis/{name}")[...] = values
