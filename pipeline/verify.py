"""Looking at every chunk of a store: what is damaged or missing although it should be there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.inner_coordinates import ATTRIBUTES as INNER
from pipeline.layout import chunk_grid, chunk_slices
from pipeline.root import damaged_nodes, is_intact, read_root, root_is_readable
from pipeline.shards import Reader, field_place
from pipeline.status import KEEPS_DATA
from pipeline.steps.base import Step, Table, Variable
from pipeline.store import Store, damaged_coordinates, open_store, stored_study


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong.

    Attributes:
        path: the array (or the root: "").
        chunk: the chunk's position, where it is a chunk.
        problem: damaged, missing, or incomplete (a number is missing at a point that is done).
    """

    path: str
    chunk: tuple[int, ...] | None
    problem: str

    def __str__(self) -> str:
        place = "" if self.chunk is None else " chunk " + "/".join(map(str, self.chunk))
        return f"{self.path or 'root metadata'}{place}: {self.problem}"


def verify(path: Path) -> list[Damage]:
    """Everything in a store that is damaged, or missing where a status says that it is there.

    Points that are pending are no damage; `run` computes them, and mends whatever this finds. Where
    the root metadata itself is damaged nothing below it can be looked at before.

    Raises:
        StoreError: if there is no store of ours, or both copies of its root are damaged.
    """
    found = list(_metadata(path))
    if root_is_readable(path):
        store = open_store(path, stored_study(path))
        found += [*_coordinates(store), *_chunks(store), *_analysis(store)]
    return found


def _metadata(path: Path) -> Iterator[Damage]:
    if not is_intact(path):
        yield Damage("", None, "damaged (one of its two copies)")
    for name in damaged_nodes(path, read_root(path)):
        yield Damage(f"{name}/zarr.json", None, "damaged or missing")


def _coordinates(store: Store) -> Iterator[Damage]:
    for name, damage in damaged_coordinates(store.path, store.root).items():
        for chunk in damage.chunks:
            yield Damage(name, (chunk,), "damaged or missing")


def _chunks(store: Store) -> Iterator[Damage]:
    for step in store.study.steps:
        for table in step.tables_in(store.study.header.steps):
            status = store.array(f"{step.name}/{table.status}")
            for index in np.ndindex(*chunk_grid(status.shape, status.chunks)):
                yield from _shard(store, step, table, index)


def _analysis(store: Store) -> Iterator[Damage]:
    """Unreadable chunks of the analysis; missing ones too where every point is accounted for."""
    complete = all(
        _all_known(store, step, table)
        for step in store.study.steps
        for table in step.tables_in(store.study.header.steps)
    )
    names = {key for axis in store.axes.values() for key in axis.keys} | INNER.keys()
    for path, array in store.root.members(max_depth=None):
        group, _, name = path.rpartition("/")
        if group != "analysis" or name in names or not isinstance(array, zarr.Array):
            continue
        for index in np.ndindex(*chunk_grid(array.shape, array.chunks)):
            if not _chunk_file(store, path, array, index).is_file():
                if complete:
                    yield Damage(path, index, "missing")
            elif _read_chunk(array, index) is None:
                yield Damage(path, index, "damaged")


def _all_known(store: Store, step: Step, table: Table) -> bool:
    """Whether no point of the study is pending in a table."""
    status = Reader(store).read(f"{step.name}/{table.status}", (slice(None),))
    return status is not None and bool(status[store.wanted(store.table_axes(table))].all())


def _chunk_file(store: Store, name: str, array: zarr.Array[Any], index: Sequence[int]) -> Path:
    return store.path / name / array.metadata.encode_chunk_key(tuple(index))


def _shard(store: Store, step: Step, table: Table, index: tuple[int, ...]) -> Iterator[Damage]:
    """What is wrong with one shard of one table."""
    path = f"{step.name}/{table.status}"
    status = _read_chunk(store.array(path), index)
    if status is None:
        yield Damage(path, index, "damaged")
        return
    if not status.any():
        return
    done = np.isin(status, [int(s) for s in KEEPS_DATA])
    for variable in table.variables:
        if variable.per:
            continue
        name = f"{step.name}/{variable.name}"
        whole = (*index, *(0 for _ in variable.dims))
        yield from _judge(store, variable, name, whole, done)
    if any(variable.per for variable in table.variables):
        yield from _fields(store, step, table, index, done)


def _fields(
    store: Store, step: Step, table: Table, index: tuple[int, ...], done: np.ndarray
) -> Iterator[Damage]:
    axes = store.table_axes(table)
    chunks = store.array(f"{step.name}/{table.status}").chunks
    for offset in np.argwhere(done).tolist():
        point = [i * c + o for i, c, o in zip(index, chunks, offset, strict=True)]
        for variable in table.variables:
            if variable.per:
                name, place = field_place(step, variable, axes, point)
                whole = (*place, *(0 for _ in variable.dims))
                one = np.ones((1,) * len(place), dtype=bool)
                yield from _judge(store, variable, name, whole, one)


def _judge(
    store: Store, variable: Variable, name: str, index: Sequence[int], done: np.ndarray
) -> Iterator[Damage]:
    """What is wrong with one chunk of a variable at points that are done."""
    array = store.array(name)
    if not _chunk_file(store, name, array, index).is_file():
        yield Damage(name, tuple(index), "missing")
        return
    values = _read_chunk(array, index)
    if values is None:
        yield Damage(name, tuple(index), "damaged")
    elif not variable.padded and np.isnan(values[done]).any():
        yield Damage(name, tuple(index), "incomplete")


def _read_chunk(array: zarr.Array[Any], index: Sequence[int]) -> np.ndarray | None:
    try:
        return np.asarray(array[chunk_slices(index, array.chunks, array.shape)])
    except (ValueError, OSError, RuntimeError):
        return None
