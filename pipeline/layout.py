"""Where everything lies in a store: groups, arrays, their dimensions, shapes and chunks.

The layout is a function of the study alone, so that a driver and its workers, a later run and a
reader agree on it without talking to each other.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.analysis_tables import ANALYSIS, AnalysisTable
from pipeline.axes import Axis, Value
from pipeline.costs import costs, dearest_block, total
from pipeline.inner_coordinates import ATTRIBUTES, BUDGETS, NORMS, TYPES
from pipeline.status import Status
from pipeline.steps.base import Step, Table, Variable
from pipeline.study import Study

SHARDS_WANTED = 32
MAX_POINTS_PER_SHARD = 4096
SECONDS_PER_SHARD = 4.0
MAX_SECONDS_PER_SHARD = 10.0
SHARDS_OF_LONG_STUDIES = 2000
MAX_BYTES_PER_CHUNK = 1 << 24


@dataclass(frozen=True)
class ArraySpec:
    """One array of the store.

    Attributes:
        path: its path below the root.
        dims: names of its dimensions.
        shape: their lengths.
        chunks: the chunk's lengths.
        dtype: "f8", "i8", "i1", "flags" (small whole numbers that stand for words) or "str".
        attributes: CF-like attributes.
    """

    path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    attributes: dict[str, Any]


def table_axes(study: Study, table: Table) -> tuple[Axis, ...]:
    """The axes of a table, in the order of its dimensions."""
    own, *others = (study.step(name) for name in table.steps)
    return study.step_axes(own, *others)


def shard_shape(study: Study, step: Step) -> dict[str, int]:
    """Points per shard along each axis of a step.

    As many points as make about 32 shards of the whole study, at most 4096 of them, 16 MB of a
    variable, and four nominal seconds for the dearest shard (up to ten where 2000 shards are left
    all the same, enough for hundreds of workers), filled from the last axis to the first; one where
    the step has fields, which are large. A store keeps the shape that it was made with.

    Each shard takes some milliseconds and a file of each variable, whatever is in it: with points
    that cost nothing 4096 of them make that some microseconds a point.
    """
    axes = study.step_axes(step)
    lengths = [len(axis) for axis in axes]
    shape = [1 for _ in axes]
    if any(variable.per for table in step.tables for variable in table.variables):
        return {axis.name: 1 for axis in axes}
    found = costs(study, step)
    most = min(
        MAX_POINTS_PER_SHARD,
        math.prod(lengths) / SHARDS_WANTED,
        MAX_BYTES_PER_CHUNK / (8 * _widest(study, step)),
    )
    longest = max(SECONDS_PER_SHARD, total(found, axes) / SHARDS_OF_LONG_STUDIES)
    longest = min(longest, MAX_SECONDS_PER_SHARD)
    for i in reversed(range(len(axes))):
        while shape[i] < lengths[i]:
            wider = [*shape[:i], min(2 * shape[i], lengths[i]), *shape[i + 1 :]]
            if math.prod(wider) > most or dearest_block(found, wider) > longest:
                break
            shape = wider
    return {axis.name: length for axis, length in zip(axes, shape, strict=True)}


def _widest(study: Study, step: Step) -> int:
    """The most numbers that a variable of a step has at one point."""
    lengths = inner_lengths(study)
    variables = [v for table in step.tables for v in table.variables if not v.per]
    return max((math.prod(lengths[name] for name in v.dims) for v in variables), default=1)


def corner_points(study: Study, axes: Sequence[Axis]) -> Iterator[dict[str, Value]]:
    """Points that bound the cost of a grid: for each axis its values at the others' extremes."""
    extremes = [_extreme(axis) for axis in axes]
    for number, axis in enumerate(axes):
        for i in range(len(axis)) if len(axis) <= 64 else (0, len(axis) - 1):
            index = [*extremes[:number], i, *extremes[number + 1 :]]
            yield study.values_at(axes, index)


def _extreme(axis: Axis) -> int:
    """The position of the largest number on an axis."""
    numeric = [v for v in axis.values if all(isinstance(x, (int, float)) for x in v)]
    return axis.values.index(max(numeric)) if numeric else 0


def field_group(step: str, key: str, value: int) -> str:
    """The group of the fields at one value of the key that their length depends on."""
    return f"{step}/{key}_{value}"


def variable_path(step: Step, variable: Variable, value: int = 0) -> str:
    """The path of a variable; that of a field depends on the value of its key."""
    if variable.per:
        return f"{field_group(step.name, variable.per, value)}/{variable.name}"
    return f"{step.name}/{variable.name}"


def field_axes(axes: Sequence[Axis], variable: Variable) -> tuple[Axis, ...]:
    """The axes of a field: those of its table without its key, which is in the group's name."""
    return tuple(axis for axis in axes if axis.name != variable.per)


def distinct(axes: Sequence[Axis], key: str) -> list[int]:
    """The distinct values of a key of a grid, such as the numbers of cells."""
    values = [v for axis in axes if key in axis.keys for v in axis.labels(key)]
    return list(dict.fromkeys(values))


def analysis_axes(study: Study, table: AnalysisTable) -> tuple[Axis, ...]:
    """The axes of a table of the analysis."""
    axes = study.step_axes(*(study.step(name) for name in table.steps))
    return tuple(axis for axis in axes if not table.without.intersection(axis.keys))


def chunk_slices(
    index: Sequence[int], chunks: Sequence[int], shape: Sequence[int]
) -> tuple[slice, ...]:
    """The region of one chunk, cut at the ends of the array."""
    return tuple(
        slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(index, chunks, shape, strict=True)
    )


def chunk_grid(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """The number of chunks along each axis."""
    return tuple(int(np.ceil(n / c)) for n, c in zip(shape, chunks, strict=True))


def all_arrays(
    study: Study, stored: dict[str, Axis], shards: dict[str, dict[str, int]]
) -> list[ArraySpec]:
    """Every array of a study's store.

    Args:
        study: the study.
        stored: the axes as they are in the store, by name; their values are labels, and may be
            more than the study's.
        shards: points per shard along each axis of each step.
    """
    found: dict[str, ArraySpec] = {}
    for step in study.steps:
        for table in step.tables_in(study.header.steps):
            axes = [stored[axis.name] for axis in table_axes(study, table)]
            chunk = shards[step.name]
            for spec in _table_arrays(study, step, table, axes, chunk):
                found.setdefault(spec.path, spec)
    for spec in _analysis_arrays(study, stored):
        found.setdefault(spec.path, spec)
    return list(found.values())


COORDINATE_CHUNK = 1024
ANALYSIS_CHUNK = 8
STATUS_VALUES = tuple(int(status) for status in Status)
STATUS_ATTRIBUTES: dict[str, Any] = {
    "long_name": "what became of the point; 0 means not computed",
    "flag_values": list(STATUS_VALUES),
    "flag_meanings": " ".join(status.meaning for status in Status),
}


def _table_arrays(
    study: Study, step: Step, table: Table, axes: Sequence[Axis], chunk: dict[str, int]
) -> Iterator[ArraySpec]:
    yield from _coordinates(step.name, axes)
    own = tuple(chunk.get(axis.name, 1) for axis in axes)
    lengths = inner_lengths(study)
    plain = [variable for variable in table.variables if not variable.per]
    yield from _inner_coordinates(study, step.name, plain, lengths)
    yield _data(step.name, table.status, axes, own, (), (), "i1", STATUS_ATTRIBUTES)
    for variable in table.variables:
        if variable.per:
            yield from _field_arrays(study, step, variable, axes)
            continue
        extra = tuple(lengths[name] for name in variable.dims)
        yield _variable(step.name, variable, axes, own, extra)


def inner_lengths(study: Study) -> dict[str, int]:
    """The lengths of the dimensions that are no axes; that of x depends on the point."""
    dimension = study.dimension
    return {
        "snapshot": len(study.snapshots),
        "component": dimension,
        "other_component": dimension,
        "norm": len(NORMS),
        "budget": len(BUDGETS),
        "time": study.training.intervals + 1,
        "iteration": study.training.max_iterations + 1,
    }


def field_lengths(key: str, value: int) -> dict[str, int]:
    """The lengths of the dimensions of a field that depend on a value of its key."""
    if key == "cells":
        return {"x": value}
    return {{"intervals": "time", "max_iterations": "iteration"}[key]: value + 1}


def _field_arrays(
    study: Study, step: Step, variable: Variable, axes: Sequence[Axis]
) -> Iterator[ArraySpec]:
    rest = field_axes(axes, variable)
    for value in distinct(axes, variable.per):
        group = field_group(step.name, variable.per, value)
        yield from _coordinates(group, rest)
        lengths = inner_lengths(study) | field_lengths(variable.per, value)
        yield from _inner_coordinates(study, group, [variable], lengths)
        extra = tuple(lengths[name] for name in variable.dims)
        yield _variable(group, variable, rest, tuple(1 for _ in rest), extra)


def fixed_domain(study: Study) -> tuple[float, float] | None:
    """The spatial domain if all points share it, so that x is a coordinate."""
    domain = study.problem.domain
    return None if domain == "auto" or study.axis("domain") else domain


def _analysis_arrays(study: Study, stored: dict[str, Axis]) -> Iterator[ArraySpec]:
    for table in analysis_tables(study):
        axes = [stored[axis.name] for axis in analysis_axes(study, table)]
        yield from _coordinates("analysis", axes)
        yield from _inner_coordinates(study, "analysis", table.variables, inner_lengths(study))
        own = tuple(ANALYSIS_CHUNK if i < 3 else 1 for i in range(len(axes)))
        lengths = inner_lengths(study)
        for variable in table.variables:
            extra = tuple(lengths[name] for name in variable.dims)
            yield _variable("analysis", variable, axes, own, extra)


def analysis_tables(study: Study) -> list[AnalysisTable]:
    """The tables of /analysis that a study has."""
    space = "line" if study.dimension == 1 else "space"
    return [table for table in ANALYSIS if space in table.spaces and _has(study, table)]


def _has(study: Study, table: AnalysisTable) -> bool:
    """Whether a study has the steps of a table, and the axes that its fits go along."""
    if not set(table.steps) <= set(study.header.steps):
        return False
    if any(len(set(table.apart).intersection(axis.keys)) > 1 for axis in study.axes):
        return False
    kept = {key for axis in analysis_axes(study, table) for key in axis.keys}
    return kept >= table.keeps and not (table.optional and study.axis(table.along[0]) is None)


def _coordinates(group: str, axes: Sequence[Axis]) -> Iterator[ArraySpec]:
    for axis in axes:
        for key in axis.keys:
            labels = axis.labels(key)
            attributes: dict[str, Any] = {"long_name": LONG_NAMES.get(key, key)}
            yield ArraySpec(
                f"{group}/{key}",
                (axis.name,),
                (len(axis),),
                (COORDINATE_CHUNK,),
                label_dtype(labels),
                attributes,
            )


def label_dtype(labels: Sequence[Value]) -> str:
    """The type of a coordinate: strings, whole numbers or floats."""
    if any(isinstance(value, str) for value in labels):
        return "str"
    return "i8" if all(isinstance(value, int) for value in labels) else "f8"


LONG_NAMES = {
    "activation": "activation function",
    "cells": "number of cells of the PDE grid",
    "particles": "number of particles M",
    "seed": "seed of the initial sample",
    "gamma": "weight of the control cost",
    "time_step": "time step",
}


def _inner_coordinates(
    study: Study, group: str, variables: Iterable[Variable], lengths: dict[str, int]
) -> Iterator[ArraySpec]:
    """The coordinates of the dimensions of some variables that are no axes.

    Where an axis moves the nodes of x or of time from point to point, these have none.
    """
    moving = {"x": not fixed_domain(study), "time": study.axis("horizon") is not None}
    for name in dict.fromkeys(name for variable in variables for name in variable.dims):
        if name in ATTRIBUTES and not moving.get(name, False):
            length = lengths[name]
            dtype = TYPES.get(name, "f8")
            attributes = dict(ATTRIBUTES[name])
            yield ArraySpec(f"{group}/{name}", (name,), (length,), (length,), dtype, attributes)


def _variable(
    group: str,
    variable: Variable,
    axes: Sequence[Axis],
    chunk: tuple[int, ...],
    extra: tuple[int, ...],
) -> ArraySpec:
    attributes: dict[str, Any] = {"long_name": variable.long_name, "units": variable.units}
    if variable.flags:
        attributes = {
            "long_name": variable.long_name,
            "flag_values": list(range(len(variable.flags))),
            "flag_meanings": " ".join(variable.flags),
        }
    dtype = "flags" if variable.flags else "f8"
    return _data(group, variable.name, axes, chunk, variable.dims, extra, dtype, attributes)


def _data(
    group: str,
    name: str,
    axes: Sequence[Axis],
    chunk: tuple[int, ...],
    dims: tuple[str, ...],
    extra: tuple[int, ...],
    dtype: str,
    attributes: dict[str, Any],
) -> ArraySpec:
    if zipped := [key for axis in axes if axis.zipped for key in axis.keys]:
        attributes = {**attributes, "coordinates": " ".join(zipped)}  # as CF has it
    return ArraySpec(
        f"{group}/{name}",
        (*(axis.name for axis in axes), *dims),
        (*(len(axis) for axis in axes), *extra),
        (*chunk, *extra),
        dtype,
        attributes,
    )
