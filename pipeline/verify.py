"""Looking at every chunk of a store: what is damaged or missing although it should be there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from pipeline.errors import UnreachableError
from pipeline.inner_coordinates import ATTRIBUTES as INNER
from pipeline.layout import chunk_grid, chunk_slices
from pipeline.place import Listing, Place
from pipeline.root import damaged_nodes, is_intact, read_root, root_is_readable
from pipeline.shards import Reader, field_place
from pipeline.status import KEEPS_DATA
from pipeline.steps.base import Step, Table, Variable
from pipeline.store import Store, damaged_coordinates, open_stored


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


def verify(place: Place) -> list[Damage]:
    """Everything in a store that is damaged, or missing where a status says that it is there.

    Points that are pending are no damage; `run` computes them, and mends whatever this finds. Where
    the root metadata itself is damaged nothing below it can be looked at before.

    Raises:
        StoreError: if there is no store of ours, or both copies of its root are damaged.
    """
    found = list(_metadata(place))
    if root_is_readable(place):
        store = open_stored(place)
        look = _Look(store)
        found += [*_coordinates(store), *look.chunks(), *look.analysis()]
    return found


def _metadata(place: Place) -> Iterator[Damage]:
    if not is_intact(place):
        yield Damage("", None, "damaged (one of its two copies)")
    for name in damaged_nodes(place, read_root(place)):
        yield Damage(f"{name}/zarr.json", None, "damaged or missing")


def _coordinates(store: Store) -> Iterator[Damage]:
    for name, damage in damaged_coordinates(store.place, store.root).items():
        for chunk in damage.chunks:
            yield Damage(name, (chunk,), "damaged or missing")


class _Look:
    """What a look at every chunk of a store finds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listing = Listing(store.place)

    def _has(self, path: str, array: zarr.Array[Any], index: Sequence[int]) -> bool:
        """Whether a chunk is there, whatever is in it."""
        return self._listing.has(path, array.metadata.encode_chunk_key(tuple(index)))

    def chunks(self) -> Iterator[Damage]:
        """What is wrong with the chunks of all steps."""
        store = self._store
        for step in store.study.steps:
            for table in step.tables_in(store.study.header.steps):
                status = store.array(f"{step.name}/{table.status}")
                for index in np.ndindex(*chunk_grid(status.shape, status.chunks)):
                    yield from self._shard(step, table, index)

    def analysis(self) -> Iterator[Damage]:
        """Unreadable chunks of the analysis; missing ones too where all points are known."""
        store = self._store
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
                if not self._has(path, array, index):
                    if complete:
                        yield Damage(path, index, "missing")
                elif _read_chunk(array, index) is None:
                    yield Damage(path, index, "damaged")

    def _shard(self, step: Step, table: Table, index: tuple[int, ...]) -> Iterator[Damage]:
        """What is wrong with one shard of one table."""
        store = self._store
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
            yield from self._judge(variable, name, whole, done)
        if any(variable.per for variable in table.variables):
            yield from self._fields(step, table, index, done)

    def _fields(
        self, step: Step, table: Table, index: tuple[int, ...], done: np.ndarray
    ) -> Iterator[Damage]:
        store = self._store
        axes = store.table_axes(table)
        chunks = store.array(f"{step.name}/{table.status}").chunks
        for offset in np.argwhere(done).tolist():
            point = [i * c + o for i, c, o in zip(index, chunks, offset, strict=True)]
            for variable in table.variables:
                if variable.per:
                    name, place = field_place(step, variable, axes, point)
                    whole = (*place, *(0 for _ in variable.dims))
                    one = np.ones((1,) * len(place), dtype=bool)
                    yield from self._judge(variable, name, whole, one)

    def _judge(
        self, variable: Variable, name: str, index: Sequence[int], done: np.ndarray
    ) -> Iterator[Damage]:
        """What is wrong with one chunk of a variable at points that are done."""
        array = self._store.array(name)
        if not self._has(name, array, index):
            yield Damage(name, tuple(index), "missing")
            return
        values = _read_chunk(array, index)
        if values is None:
            yield Damage(name, tuple(index), "damaged")
        elif not variable.padded and np.isnan(values[done]).any():
            yield Damage(name, tuple(index), "incomplete")


def _all_known(store: Store, step: Step, table: Table) -> bool:
    """Whether no point of the study is pending in a table."""
    status = Reader(store).read(f"{step.name}/{table.status}", (slice(None),))
    return status is not None and bool(status[store.wanted(store.table_axes(table))].all())


def _read_chunk(array: zarr.Array[Any], index: Sequence[int]) -> np.ndarray | None:
    try:
        return np.asarray(array[chunk_slices(index, array.chunks, array.shape)])
    except UnreachableError:
        raise
    except (ValueError, OSError, RuntimeError):
        return None
