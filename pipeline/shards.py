"""Reading, judging and writing the shards of a step: which points are missing, and what is there.

A point counts as computed when its status says so and every number that belongs to it is there. A
chunk that cannot be read (flipped bits, cut off) counts as not computed, as a whole.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.axes import Axis
from pipeline.errors import StoreError, UnreachableError
from pipeline.layout import chunk_grid, chunk_slices, field_axes, variable_path
from pipeline.place import Listing
from pipeline.root import read_root
from pipeline.status import KEEPS_DATA, Status
from pipeline.steps.base import Step, Table, Variable
from pipeline.store import Store

Region = tuple[slice, ...]


@dataclass(frozen=True)
class Shard:
    """One chunk of every variable of a step: the unit of work, of writing and of loss.

    Attributes:
        step: the step.
        index: the chunk's position in the grid of chunks.
        only: offsets in the chunk to restrict work to; None for all that is missing.
    """

    step: str
    index: tuple[int, ...]
    only: tuple[tuple[int, ...], ...] | None = None


@dataclass
class TableBlock:
    """A table's part of a shard, in memory.

    Attributes:
        table: which table.
        axes: its stored axes.
        region: the part of the axes that it covers.
        status: statuses, with the region's shape.
        data: values by variable, with the region's shape and then the variable's own dimensions.
        missing: which wanted points have to be computed.
    """

    table: Table
    axes: tuple[Axis, ...]
    region: Region
    status: np.ndarray
    data: dict[str, np.ndarray]
    missing: np.ndarray
    changed: set[tuple[int, ...]] = field(default_factory=set)

    def index(self, offset: Sequence[int]) -> tuple[int, ...]:
        """The stored position of a point of the block."""
        return tuple(s.start + i for s, i in zip(self.region, offset, strict=True))


def shards_of(store: Store, step: Step) -> Iterator[Shard]:
    """All shards of a step, wanted or not."""
    axes = store.table_axes(step.tables[0])
    grid = chunk_grid([len(axis) for axis in axes], store.chunk_of(step))
    return (Shard(step.name, index) for index in np.ndindex(*grid))


class Reader:
    """Reads regions of a store's arrays; a chunk that cannot be read is no error here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, path: str, region: Region) -> np.ndarray | None:
        """A part of an array, or None if one of its chunks is damaged.

        Raises:
            OSError: if the whole store is out of reach.
        """
        try:
            return np.asarray(self._store.array(path)[region])
        except (ValueError, RuntimeError, KeyError):
            return None
        except UnreachableError:
            raise
        except OSError:
            read_root(self._store.place)
            return None

    def has(self, path: str, key: str) -> bool:
        """Whether an array's chunk is there, whatever is in it."""
        return self._store.place.has(f"{path}/{key}")


def check_readable(store: Store, *paths: str) -> None:
    """See that arrays can be read as a whole.

    Raises:
        StoreError: if a chunk of one is damaged.
    """
    for path in paths:
        if path in store.root and Reader(store).read(path, (slice(None),)) is None:
            raise StoreError(
                f"{store.place}: a chunk of {path} is damaged; `verify` says which, `run` mends it"
            )


class WholeReader(Reader):
    """Reads each array once, as a whole: many times faster where every shard is looked at.

    Of an array that has no chunk yet nothing is read: to look for each of 10⁵ chunks takes seconds.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._known: dict[str, np.ndarray | None] = {}
        self._listing = Listing(store.place)

    @property
    def damaged(self) -> bool:
        """Whether an array was damaged so far."""
        return any(whole is None for whole in self._known.values())

    def read(self, path: str, region: Region) -> np.ndarray | None:
        """A part of an array, not to be changed, or None if one of its chunks is damaged."""
        if path not in self._known:
            self._known[path] = self._whole(path)
        whole = self._known[path]
        return super().read(path, region) if whole is None else whole[region]

    def _whole(self, path: str) -> np.ndarray | None:
        if self._listing.has_chunks(path):
            return super().read(path, (slice(None),))
        array = self._store.array(path)
        return np.full(array.shape, array.fill_value, array.dtype)

    def has(self, path: str, key: str) -> bool:
        """Whether an array's chunk is there."""
        return self._listing.has(path, key)


def survey(store: Store, step: Step, redo: frozenset[int]) -> list[TableBlock]:
    """Every table of a step as one block, with all its shards and without its data.

    Each table is judged as a whole; where a chunk is damaged, shard by shard, since what is lost
    is the shard.

    Args:
        store: the store.
        step: one of its steps.
        redo: statuses whose points are to be computed again.
    """
    reader = WholeReader(store)
    blocks = []
    for table in step.tables_in(store.study.header.steps):
        axes = store.table_axes(table)
        region = tuple(slice(0, len(axis)) for axis in axes)
        block = _read(store, step, table, region, redo, reader)
        block = replace(block, status=block.status.copy(), data={})
        if reader.damaged:
            for shard in shards_of(store, step):
                part = shard_region(store, step, axes, shard)
                found = _read(store, step, table, part, redo, reader)
                block.status[part], block.missing[part] = found.status, found.missing
        blocks.append(block)
    return blocks


def read_block(
    store: Store, step: Step, table: Table, shard: Shard, redo: frozenset[int]
) -> TableBlock:
    """Read a table's part of a shard.

    Args:
        store: the store.
        step: the shard's step.
        table: one of its tables.
        shard: which shard.
        redo: statuses whose points are to be computed again.
    """
    region = shard_region(store, step, store.table_axes(table), shard)
    return _read(store, step, table, region, redo, Reader(store))


def _read(
    store: Store, step: Step, table: Table, region: Region, redo: frozenset[int], reader: Reader
) -> TableBlock:
    """Read a region of a table, made of whole shards, and see what it lacks."""
    axes = store.table_axes(table)
    shape = tuple(s.stop - s.start for s in region)
    status = reader.read(f"{step.name}/{table.status}", region)
    if status is None:
        status = np.zeros(shape, dtype=np.int8)
    data = {}
    complete = np.ones(shape, dtype=bool)
    touched = bool(status.any())  # else there is nothing to read: the status is written last
    for variable in table.variables:
        if variable.per:
            complete &= _fields_complete(store, reader, step, variable, axes, region, status)
            continue
        values = reader.read(variable_path(step, variable), region) if touched else None
        if values is None:
            array = store.array(variable_path(step, variable))
            values = np.full(shape + array.shape[len(axes) :], array.fill_value, array.dtype)
            complete &= not touched
        data[variable.name] = values
        if not variable.padded:
            complete &= ~np.isnan(values).reshape(*shape, -1).any(axis=-1)
        if touched and _hides_gaps(variable, values):
            complete &= _present(store, reader, variable_path(step, variable), region)
    missing = (status == Status.PENDING) | (_keeps(status) & ~complete)
    missing |= np.isin(status, list(redo - {Status.UPSTREAM}))
    if (waits := status == Status.UPSTREAM).any():
        missing |= waits & _can_go_on(store, step, table, axes, region, redo, reader)
    missing &= store.wanted(axes, region)
    return TableBlock(table, axes, region, status, data, missing)


def _keeps(status: np.ndarray) -> np.ndarray:
    return np.isin(status, [int(s) for s in KEEPS_DATA])


def _can_go_on(
    store: Store,
    step: Step,
    table: Table,
    axes: Sequence[Axis],
    region: Region,
    redo: frozenset[int],
    reader: Reader,
) -> np.ndarray:
    """Where the points that a table's points stand on have numbers, or are computed with them.

    What failed for good keeps the points after it from being tried in vain; once it has succeeded,
    they are as good as pending.
    """
    shape = tuple(s.stop - s.start for s in region)
    parts = {axis.name: part for axis, part in zip(axes, region, strict=True)}
    before = store.study.steps_before(step, table)
    go_on = np.full(shape, bool(before) or Status.UPSTREAM in redo)
    for earlier in before:
        first = earlier.tables[0]
        own = [axis.name for axis in store.table_axes(first)]
        path = f"{earlier.name}/{first.status}"
        status = reader.read(path, tuple(parts[name] for name in own))
        if status is not None:
            fine = _keeps(status)
            if earlier is step:
                fine |= np.isin(status, [*redo, Status.PENDING, Status.UPSTREAM])
            lengths = zip(axes, shape, strict=True)
            go_on &= fine.reshape([n if axis.name in own else 1 for axis, n in lengths])
    return go_on


def missing_points(blocks: Sequence[TableBlock]) -> np.ndarray:
    """Points of the first table that lack something in any of the tables: a mask."""
    own = {axis.name for axis in blocks[0].axes}
    missing = blocks[0].missing.copy()
    for block in blocks[1:]:
        extra = tuple(i for i, axis in enumerate(block.axes) if axis.name not in own)
        missing |= block.missing.any(axis=extra)
    return missing


def places_of(
    first: TableBlock, block: TableBlock, offset: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """The points of a block that share a point of the first block."""
    if block is first:
        return [offset]
    own = {axis.name: i for axis, i in zip(first.axes, offset, strict=True)}
    ranges = [
        [own[axis.name]] if axis.name in own else range(length)
        for axis, length in zip(block.axes, block.status.shape, strict=True)
    ]
    return list(itertools.product(*ranges))


def shard_region(store: Store, step: Step, axes: Sequence[Axis], shard: Shard) -> Region:
    """The part of some axes that a shard covers; all of the axes that its step does not have."""
    own = store.table_axes(step.tables[0])
    slices = chunk_slices(shard.index, store.chunk_of(step), [len(axis) for axis in own])
    by_name = {axis.name: part for axis, part in zip(own, slices, strict=True)}
    return tuple(by_name.get(axis.name, slice(0, len(axis))) for axis in axes)


def put(
    block: TableBlock, offset: tuple[int, ...], outputs: Mapping[str, Any], status: Status
) -> None:
    """Set one point of a block; without outputs its numbers become NaN, and its flags -1."""
    for name, values in block.data.items():
        values[offset] = outputs.get(name, np.nan if values.dtype.kind == "f" else -1)
    block.status[offset] = int(status)
    block.changed.add(offset)


def write_fields(
    store: Store, step: Step, block: TableBlock, offset: tuple[int, ...], outputs: Mapping[str, Any]
) -> None:
    """Write the fields of one point, before anything says that they are there.

    Raises:
        StoreChangedError: if the store is no longer the one that was opened.
    """
    fields = [v for v in block.table.variables if v.per and v.name in outputs]
    if fields:
        store.check_unchanged()
        index = block.index(offset)
        for variable in fields:
            path, place = field_place(step, variable, block.axes, index)
            store.array(path)[place] = outputs[variable.name]


def write_block(store: Store, step: Step, block: TableBlock) -> None:
    """Write the chunks of a block that changed: the data first, the status last.

    Raises:
        StoreChangedError: if the store is no longer the one that was opened.
    """
    store.check_unchanged()
    own = {axis.name for axis in store.table_axes(step.tables[0])}
    others = [i for i, axis in enumerate(block.axes) if axis.name not in own]
    for place in sorted({tuple(offset[i] for i in others) for offset in block.changed}):
        local = [slice(None)] * len(block.axes)
        region = list(block.region)
        for i, position in zip(others, place, strict=True):
            local[i] = slice(position, position + 1)
            region[i] = slice(position, position + 1)
        for variable in block.table.variables:
            if not variable.per:
                array = store.array(variable_path(step, variable))
                array[tuple(region)] = block.data[variable.name][tuple(local)]
        store.array(f"{step.name}/{block.table.status}")[tuple(region)] = block.status[tuple(local)]


def read_field(store: Store, step: Step, name: str, index: tuple[int, ...]) -> np.ndarray:
    """A field of a step's first table at a stored point.

    Raises:
        ValueError: if its chunk is damaged.
    """
    table = step.tables[0]
    variable = next(v for v in table.variables if v.name == name)
    path, place = field_place(step, variable, store.table_axes(table), index)
    return np.asarray(store.array(path)[place])


def field_place(
    step: Step, variable: Variable, axes: Sequence[Axis], index: Sequence[int]
) -> tuple[str, tuple[int, ...]]:
    """The array of a field and the position in it of a point of its table."""
    owner = next(axis for axis in axes if variable.per in axis.keys)
    value = owner.labels(variable.per)[index[axes.index(owner)]]
    kept = field_axes(axes, variable)
    place = tuple(i for axis, i in zip(axes, index, strict=True) if axis in kept)
    return variable_path(step, variable, value), place


def _hides_gaps(variable: Variable, values: np.ndarray) -> bool:
    """Whether a chunk that is missing reads as values that may be right."""
    return variable.padded or values.dtype.kind != "f"


def _present(store: Store, reader: Reader, path: str, region: Region) -> np.ndarray:
    """Which points of a region, made of whole chunks, have their chunk."""
    array = store.array(path)
    found = np.ones([part.stop - part.start for part in region], dtype=bool)
    own, inner = array.chunks[: len(region)], array.ndim - len(region)
    grid = [range(p.start // n, -(-p.stop // n)) for p, n in zip(region, own, strict=True)]
    for place in itertools.product(*grid):
        key = array.metadata.encode_chunk_key((*place, *([0] * inner)))
        if not reader.has(path, key):
            parts = zip(place, own, region, strict=True)
            found[tuple(slice(i * n - p.start, (i + 1) * n - p.start) for i, n, p in parts)] = False
    return found


def _fields_complete(
    store: Store,
    reader: Reader,
    step: Step,
    variable: Variable,
    axes: Sequence[Axis],
    region: Region,
    status: np.ndarray,
) -> np.ndarray:
    complete = np.ones(status.shape, dtype=bool)
    for offset in map(tuple, np.argwhere(_keeps(status)).tolist()):
        index = tuple(s.start + i for s, i in zip(region, offset, strict=True))
        path, place = field_place(step, variable, axes, index)
        point = tuple(slice(i, i + 1) for i in place)
        values = reader.read(path, point)
        complete[offset] = values is not None and (
            bool(_present(store, reader, path, point).all())
            if _hides_gaps(variable, values)
            else not np.isnan(values).any()
        )
    return complete
