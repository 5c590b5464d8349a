"""One point, recomputed in the foreground: the command that each failure names."""

import contextlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from pipeline.axes import Axis, Value, axis_value, brief, label, section_of
from pipeline.compute import Deadline, guarded, outputs_of, work_at
from pipeline.errors import StudyError
from pipeline.layout import variable_path
from pipeline.shards import read_field
from pipeline.status import KEEPS_DATA, Status
from pipeline.steps.base import Step, Table
from pipeline.store import Store
from pipeline.upstream import Results
from pipeline.validation import nearest

MOST_LISTED = 12


@dataclass(frozen=True)
class PointResult:
    """What came of a point.

    Attributes:
        values: the settings that vary.
        status: done, or why not.
        reason: why not, in a line.
        trace: the traceback of a failure.
        outputs: the numbers by variable.
        differs: variables whose bits differ from the store's, where it has them.
    """

    values: Mapping[str, Value]
    status: Status
    reason: str
    trace: str
    outputs: Mapping[str, Any]
    differs: list[str]


def recompute(store: Store, step_name: str, assignments: Sequence[str]) -> PointResult:
    """Compute a point of a study without writing anything.

    Args:
        store: the store of the study.
        step_name: the step.
        assignments: ``key=value`` for every axis of the step, the value as TOML, as JSON or as the
            store labels it; axes of one value may be left out.
            With the keys of a further table (``cells`` for the step particles) that table's
            variables are computed too.

    Raises:
        StudyError: if the study has no such step or point.
    """
    names = [step.name for step in store.study.steps]
    if step_name not in names:
        raise StudyError(f"point: unknown step '{step_name}'; {nearest(step_name, names)}")
    step = store.study.step(step_name)
    given = dict(_split(assignment) for assignment in assignments)
    tables = step.tables_in(store.study.header.steps)
    axes = store.table_axes(tables[0])
    values = _values(store, axes, given, required=True)
    extra = [axis for table in tables[1:] for axis in store.table_axes(table) if axis not in axes]
    known = {key for axis in (*axes, *extra) for key in axis.keys}
    for key in given:
        if key not in known:
            raise StudyError(f"point: unknown key '{key}'; {nearest(key, sorted(known))}")
    results = Results(store)
    poll = Deadline(store.study.numerics.point_timeout)
    work, failure = guarded(step.name, values, lambda: work_at(results, step, values, poll))
    outputs: dict[str, Any] = {}
    differs: list[str] = []
    for table in tables:
        at = _values(store, store.table_axes(table), given, required=table is tables[0])
        if failure is not None or len(at) < len(values):
            continue
        found, failure = guarded(step.name, at, partial(outputs_of, results, table, at, work, poll))
        found = found or {}
        outputs |= found
        differs += _differing(store, step, table, at, found)
        values |= at
    if failure is not None:
        return PointResult(values, failure.status, failure.reason, failure.trace, outputs, differs)
    status = outputs.pop("status", Status.DONE)
    return PointResult(values, status, "", "", outputs, differs)


def _split(assignment: str) -> tuple[str, str]:
    key, equals, text = assignment.partition("=")
    if not equals:
        raise StudyError(f"point: '{assignment}' is no key=value")
    return key, text


def _values(
    store: Store, axes: Sequence[Axis], given: Mapping[str, str], *, required: bool
) -> dict[str, Value]:
    """The settings at the point; empty where axes that are not required are not given."""
    index = []
    for axis in axes:
        places = [i for i in store.positions(axis.name) if _matches(axis, i, given)]
        if len(places) == 1:
            index.append(places[0])
        elif not required:
            return {}
        else:
            raise StudyError(_which(store, axis, given, len(places)))
    return store.values_at(axes, index) or {}


def _matches(axis: Axis, position: int, given: Mapping[str, str]) -> bool:
    return all(
        stored in _meant(key, given[key])
        for key, stored in zip(axis.keys, axis.values[position], strict=True)
        if key in given
    )


@lru_cache(maxsize=256)
def _meant(key: str, text: str) -> frozenset[Value]:
    """The labels that a value may mean: as it stands, or as TOML or JSON."""
    found: set[Value] = {text}
    _, model, field = section_of(key) or ("", None, "")
    for value in _parsed(text):
        if isinstance(value, (dict, list)):
            found.add(json.dumps(value, sort_keys=True))
        with contextlib.suppress(StudyError):
            if model is not None:
                found.add(label(axis_value(model, field, value, "point", f"point.{key}")))
    return frozenset(found)


def _parsed(text: str) -> Iterator[Any]:
    with contextlib.suppress(ValueError, RecursionError):
        table = tomllib.loads(f"value = {text}")
        if len(table) == 1:
            yield table["value"]
    with contextlib.suppress(ValueError, RecursionError):
        yield json.loads(text)


def _which(store: Store, axis: Axis, given: Mapping[str, str], matches: int) -> str:
    places = store.positions(axis.name)
    labels = {key: [brief(axis.labels(key)[i], 60) for i in places] for key in axis.keys}
    asked = [f"{key} = {given[key]}" for key in axis.keys if key in given]
    if not asked:
        problem = f"{', '.join(axis.keys)} is missing"
    else:
        several = "several points" if matches else "no point"
        problem = f"{', '.join(asked)} is {several} of the study"
    allowed = [(f"{key} " if axis.zipped else "") + _some(labels[key]) for key in axis.keys]
    return f"point: {problem}; allowed: {'; '.join(allowed)}"


def _some(labels: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(labels))
    more = f", … ({len(distinct)} in all)" if len(distinct) > MOST_LISTED else ""
    return ", ".join(distinct[:MOST_LISTED]) + more


def _differing(
    store: Store, step: Step, table: Table, at: Mapping[str, Value], found: Mapping[str, Any]
) -> list[str]:
    """Variables that the store has with other bits."""
    index = store.index_of(store.table_axes(table), at)
    if store.array(f"{step.name}/{table.status}")[index] not in KEEPS_DATA:
        return []
    differs = []
    for variable in table.variables:
        if variable.name not in found:
            continue
        if variable.per:
            stored = read_field(store, step, variable.name, index)
        else:
            stored = np.asarray(store.array(variable_path(step, variable))[index])
        if not np.array_equal(stored, np.asarray(found[variable.name]), equal_nan=True):
            differs.append(variable.name)
    return differs
