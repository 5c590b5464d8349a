"""The results of earlier steps, as later steps find them in the store."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.axes import Value
from pipeline.case import Case, Problem
from pipeline.errors import StoreError
from pipeline.layout import variable_path
from pipeline.shards import read_field
from pipeline.status import KEEPS_DATA, Status, UpstreamError
from pipeline.steps.base import Step, Table, Variable
from pipeline.store import Store
from solvers.control_files import piecewise_linear

Index = tuple[int, ...]


class Results:
    """What the steps limit and train left at each point; read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fields: dict[Index, tuple[np.ndarray, np.ndarray]] = {}
        self._latest: tuple[str, Mapping[str, Value], Case] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._problems: dict[tuple[int, Index], tuple[Problem, Problem]] = {}

    def case(self, step: str, values: Mapping[str, Value]) -> Case:
        """A point of a step as the solvers want it, with trained controls where there are some.

        Raises:
            UpstreamError: if the controls were not trained there.
            StoreError: if they cannot be read.
        """
        if self._latest is None or self._latest[:2] != (step, values):  # asked for twice a point
            self._latest = step, dict(values), self._case(step, values)
        return self._latest[2]

    def _case(self, step: str, values: Mapping[str, Value]) -> Case:
        case = self._store.study.case(values)
        if step == "train" or not self._store.study.trains:
            return case
        index = self._index("train", values)
        key = (id(case.problem), index)  # one object a problem: references are kept by it
        if key not in self._problems:
            time = np.linspace(0.0, case.problem.horizon, case.training.intervals + 1)
            controls = piecewise_linear(time, *self._read("train", ("w", "b"), index))
            self._problems[key] = (case.problem, replace(case.problem, controls=controls))
        return replace(case, problem=self._problems[key][1])

    def limit_field(self, values: Mapping[str, Value]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (cells,) and density (snapshots, cells) of the limit at a point.

        Raises:
            UpstreamError: if that point has none.
            StoreError: if it cannot be read.
        """
        index = self._index("limit", values)
        if index not in self._fields:
            position, density = self._read("limit", ("position", "density"), index)
            self._fields[index] = position, density
        return self._fields[index]

    def shape_of(
        self, table: Table, variable: Variable, values: Mapping[str, Value]
    ) -> tuple[int, ...]:
        """The shape of a variable at a point of a table."""
        step = self._store.study.step(table.steps[0])
        path = variable_path(step, variable, values.get(variable.per, 0))
        if path not in self._shapes:  # Zarr takes ten microseconds
            array = self._store.array(path)
            self._shapes[path] = tuple(array.shape[array.ndim - len(variable.dims) :])
        return self._shapes[path]

    def _index(self, name: str, values: Mapping[str, Value]) -> Index:
        if name not in self._store.study.header.steps:
            raise UpstreamError(f"the study has no step {name}")
        axes = self._store.table_axes(self._store.study.step(name).tables[0])
        if missing := [key for axis in axes for key in axis.keys if key not in values]:
            raise UpstreamError(f"the step {name} depends on {missing[0]}, which is not given")
        return self._store.index_of(axes, values)

    def _read(self, name: str, variables: tuple[str, ...], index: Index) -> list[np.ndarray]:
        step = self._store.study.step(name)
        try:
            status = Status(int(np.asarray(self._store.array(f"{name}/status")[index])))
            if status not in KEEPS_DATA:
                raise UpstreamError(f"the step {name} has no result here: {status.meaning}")
            return [self._variable(step, variable, index) for variable in variables]
        except ValueError as error:
            reason = f"a chunk of the step {name} is damaged ({error})"
            raise StoreError(f"{self._store.place}: {reason}; `run` mends it") from None

    def _variable(self, step: Step, name: str, index: Index) -> np.ndarray:
        variable = next(v for v in step.tables[0].variables if v.name == name)
        if variable.per:
            return read_field(self._store, step, name, index)
        array: Any = self._store.array(variable_path(step, variable))
        return np.asarray(array[index])


class At:
    """The results of earlier steps at one point."""

    def __init__(self, results: Results, values: Mapping[str, Value]) -> None:
        self._results = results
        self._values = values

    def limit_field(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and density of the limit there."""
        return self._results.limit_field(self._values)
