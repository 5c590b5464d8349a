"""The one Zarr store of a study: created whole, grown in place, written shard by shard.

Workers and the driver write through Zarr arrays; readers use ``xarray.open_datatree``. The
consolidated metadata of the root is the commit: an array may be longer on disk than the root says
after a crash while the store grew, and then the root is right.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from pipeline.axes import Axis, Value, label
from pipeline.errors import StoreChangedError, StoreError
from pipeline.heartbeat import other_drivers
from pipeline.inner_coordinates import ATTRIBUTES as INNER
from pipeline.inner_coordinates import inner_coordinate
from pipeline.layout import (
    ArraySpec,
    all_arrays,
    chunk_grid,
    chunk_slices,
    shard_shape,
    table_axes,
)
from pipeline.local_store import ExistingStore
from pipeline.root import (
    FORMAT,
    Document,
    commit_root,
    damaged_nodes,
    is_intact,
    read_root,
    restore_nodes,
    write_root,
)
from pipeline.settings import default_of
from pipeline.steps.base import Step, Table
from pipeline.study import Study
from pipeline.validation import show

FILLS: dict[str, Any] = {"f8": np.nan, "i8": 0, "i1": 0, "flags": -1, "str": ""}
DTYPES: dict[str, Any] = {"str": str, "flags": "i1"}

# An all-NaN or all-zero chunk must be on disk too: a missing chunk means damage or "not computed".
zarr.config.set({"array.write_empty_chunks": True})


@dataclass(frozen=True)
class Store:
    """An open store of one study.

    Attributes:
        path: its folder.
        study: the study whose points are computed.
        root: the open Zarr group, with consolidated metadata.
        axes: the stored axes by name, with labels as values; their order is that of storage and
            they may have values that the study does not.
        shards: points per shard along each axis of each step.
    """

    path: Path
    study: Study
    root: zarr.Group
    axes: Mapping[str, Axis]
    shards: Mapping[str, Mapping[str, int]]

    def array(self, path: str) -> zarr.Array[Any]:
        """An array by its path below the root."""
        try:
            found = self.root[path]
        except KeyError:
            raise StoreError(f"{self.path}: the store has no '{path}'; `run` adds it") from None
        if not isinstance(found, zarr.Array):
            raise StoreError(f"{self.path}: '{path}' is no array")
        return found

    @property
    def digest(self) -> str:
        """Of the root metadata as they were when the store was opened, the grid among them."""
        return str(self.root.attrs["digest"])

    def check_unchanged(self) -> None:
        """See that the root on disk is still the one that was opened; whoever writes asks first.

        Raises:
            StoreChangedError: if another driver has let the store grow, or replaced it.
        """
        check_root(self.path, self.digest)

    def table_axes(self, table: Table) -> tuple[Axis, ...]:
        """The stored axes of a table, in the order of its dimensions."""
        return tuple(self.axes[axis.name] for axis in table_axes(self.study, table))

    def chunk_of(self, step: Step) -> tuple[int, ...]:
        """The shape of a shard of a step, in points."""
        return tuple(self.shards[step.name][a.name] for a in self.table_axes(step.tables[0]))

    @cached_property
    def settings(self) -> Mapping[str, tuple[tuple[Value, ...] | None, ...]]:
        """For each axis and stored position the study's settings there, None if it has none."""
        known = {a.name: dict(zip(_labels(a), a.values, strict=True)) for a in self.study.axes}
        return {
            name: tuple(known[name].get(labels) for labels in axis.values)
            for name, axis in self.axes.items()
        }

    @cached_property
    def _places(self) -> Mapping[str, Mapping[tuple[Value, ...], int]]:
        return {
            name: {labels: i for i, labels in enumerate(axis.values)}
            for name, axis in self.axes.items()
        }

    def positions(self, axis: str) -> list[int]:
        """Where the study's values of an axis are stored, in the study's order."""
        own = next(a for a in self.study.axes if a.name == axis)
        return [self._places[axis][labels] for labels in _labels(own)]

    def index_of(self, axes: Sequence[Axis], values: Mapping[str, Value]) -> tuple[int, ...]:
        """The stored position of a point; the inverse of :meth:`values_at`."""
        return tuple(
            self._places[axis.name][tuple(label(values[key]) for key in axis.keys)] for axis in axes
        )

    def values_at(self, axes: Sequence[Axis], index: Sequence[int]) -> dict[str, Value] | None:
        """The settings at a stored position; None where the study has no such point."""
        values: dict[str, Value] = {}
        for axis, i in zip(axes, index, strict=True):
            chosen = self.settings[axis.name][i]
            if chosen is None:
                return None
            values.update(zip(axis.keys, chosen, strict=True))
        return values

    def points(self, axes: Sequence[Axis]) -> list[tuple[int, ...]]:
        """The stored positions of the study's points of some axes."""
        return [tuple(int(i) for i in index) for index in np.argwhere(self.wanted(axes))]

    def wanted(self, axes: Sequence[Axis]) -> np.ndarray:
        """Which stored points of some axes belong to the study: a mask of their shape."""
        mask = np.ones((), dtype=bool)
        for axis in axes:
            own = np.array([chosen is not None for chosen in self.settings[axis.name]])
            mask = np.logical_and.outer(mask, own)
        return mask


def create(path: Path, study: Study) -> None:
    """Make a study's store if there is none.

    Raises:
        StoreError: if it cannot be written.
    """
    if not path.exists():
        _create(path, study)


def open_and_grow(path: Path, study: Study) -> Store:
    """The store of a study for writing: mended where damaged, grown where the study has new values.

    Raises:
        StoreError: if it belongs to another study, cannot be written, or another driver is at work
            on the grid as it is.
    """
    _check_identity(path, read_root(path), study)
    store = _opened(path, study, open_root(path, mend=True))
    missing = _missing_values(store)
    if missing or _absent_arrays(store):
        _grow(store, missing)
        store = _opened(path, study, open_root(path, mend=True))
    return store


def open_store(path: Path, study: Study) -> Store:
    """An existing store, for a study whose values it has already.

    Raises:
        StoreError: if it is none, belongs to another study, or lacks values of this one.
    """
    _check_identity(path, read_root(path), study)
    store = _opened(path, study, open_root(path))
    if missing := _missing_values(store):
        name, values = next(iter(missing.items()))
        raise StoreError(
            f"{path}: the store has no {name} = {show(values[0])}; run the study first"
        )
    return store


def open_root(path: Path, *, mend: bool = False) -> zarr.Group:
    """The root group of a store of ours.

    Args:
        path: the store.
        mend: whether to restore damaged metadata and coordinates.

    Raises:
        StoreError: if there is no store of a known format, or it cannot be mended.
    """
    document = read_root(path)
    try:
        if mend:
            if not is_intact(path):
                write_root(path, document)
            restore_nodes(path, document, damaged_nodes(path, document))
        writable = os.access(path, os.W_OK)
        folder = ExistingStore(path)
        root = zarr.open_group(folder, mode="r+" if writable else "r", use_consolidated=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: the store is damaged; `run` mends it ({error})") from None
    if mend:
        _mend_coordinates(path, root)
    return root


def check_root(path: Path, digest: str) -> None:
    """See that a store's root metadata are those that a run began with.

    Raises:
        StoreChangedError: if another driver has let the store grow, or replaced it.
    """
    if read_root(path)["attributes"]["digest"] != digest:
        raise StoreChangedError(
            f"{path}: the store has changed under this run (another run has let it grow); what is "
            "finished is kept: run again to go on"
        )


def stored_study(path: Path) -> Study:
    """The study that a store was made for, as the store itself knows it."""
    document = json.loads(read_root(path)["attributes"]["study"])
    return Study(**document, where=str(path))


def check_usable(path: Path, study: Study) -> None:
    """See that a study's store could be made or opened for writing, without writing anything.

    Raises:
        StoreError: if not.
    """
    if path.exists():
        _check_identity(path, read_root(path), study)
        check_writable(path)
        return
    parent = next((p for p in path.parents if p.exists()), Path("/"))
    if not parent.is_dir():
        raise StoreError(f"{path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK):
        raise StoreError(f"{path}: the folder {parent} is not writable")


def check_writable(path: Path) -> None:
    """See that an existing store may be written.

    Raises:
        StoreError: if not.
    """
    if not os.access(path, os.W_OK):
        raise StoreError(f"{path}: the store is not writable")


def partial_files(path: Path) -> set[Path]:
    """What writers that were killed left behind: half-written chunks and half-made stores."""
    found = set(path.rglob("*.partial")) if path.is_dir() else set()
    if path.parent.is_dir():
        found |= set(path.parent.glob(f"{path.name}.*.partial"))
    return found


def remove_partial(leftovers: set[Path]) -> None:
    """Remove leftovers of killed writers."""
    for file in leftovers:
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def _create(path: Path, study: Study) -> None:
    """Make a whole store beside its place and move it there: it exists complete or not at all."""
    shards = {step.name: shard_shape(study, step) for step in study.steps}
    axes = {axis.name: Axis(axis.name, axis.keys, tuple(_labels(axis))) for axis in study.axes}
    scratch = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        root = zarr.create_group(scratch)
        for spec in all_arrays(study, axes, shards):
            _make_array(root, spec)
        _write_coordinates(root, study, axes, shards)
        attributes = {
            "format": FORMAT,
            "title": study.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "identity": study.identity,
            "identity_hash": study.identity_hash,
            "shards": shards,
            **_growing_attributes(study, axes),
        }
        commit_root(scratch, attributes, [s.path for s in all_arrays(study, axes, shards)])
        _move_into_place(scratch, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot make the store: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move_into_place(scratch: Path, path: Path) -> None:
    try:
        scratch.rename(path)
    except OSError:
        if not (path / "zarr.json").is_file():  # another driver was faster: use its store
            raise


def _growing_attributes(study: Study, axes: Mapping[str, Axis]) -> dict[str, Any]:
    return {
        "study": json.dumps(study.document()),
        "axes": {a.name: {key: a.labels(key) for key in a.keys} for a in axes.values()},
        "grid": _grid_hash(axes),
    }


def _make_array(root: zarr.Group, spec: ArraySpec) -> None:
    root.create_array(
        spec.path,
        shape=spec.shape,
        chunks=spec.chunks,
        dtype=DTYPES.get(spec.dtype, spec.dtype),
        fill_value=FILLS[spec.dtype],
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        dimension_names=spec.dims,
        attributes=dict(spec.attributes),
        overwrite=True,
    )


def _write_coordinates(
    root: zarr.Group, study: Study, axes: Mapping[str, Axis], shards: Mapping[str, Any]
) -> None:
    columns: dict[str, Any] = {key: axis.labels(key) for axis in axes.values() for key in axis.keys}
    document = study.document()
    for spec in all_arrays(study, dict(axes), dict(shards)):
        name = spec.path.rpartition("/")[2]
        if name in INNER:
            _array(root, spec.path)[:] = inner_coordinate(document, name, spec.shape[0])
        elif name in columns and len(spec.dims) == 1:
            dtype = object if spec.dtype == "str" else spec.dtype
            _array(root, spec.path)[:] = np.array(columns[name], dtype=dtype)


def _array(root: zarr.Group, path: str) -> Any:
    return root[path]


def _opened(path: Path, study: Study, root: zarr.Group) -> Store:
    attributes: dict[str, Any] = root.attrs.asdict()
    axes = {
        axis.name: Axis(
            axis.name,
            axis.keys,
            tuple(zip(*(attributes["axes"][axis.name][key] for key in axis.keys), strict=True)),
        )
        for axis in study.axes
    }
    return Store(path, study, root, axes, attributes["shards"])


@dataclass(frozen=True)
class DamagedCoordinate:
    """A coordinate that is not what the root says: its chunks that are wrong, and its values."""

    chunks: list[int]
    values: np.ndarray


def damaged_coordinates(path: Path, root: zarr.Group) -> dict[str, DamagedCoordinate]:
    """Coordinates with chunks that are missing, unreadable, or not what the root says."""
    attributes: dict[str, Any] = root.attrs.asdict()
    labels = {key: v for axis in attributes["axes"].values() for key, v in axis.items()}
    document = json.loads(attributes["study"])
    damaged = {}
    for place, array in _coordinate_arrays(root):
        name = place.rpartition("/")[2]
        if name in INNER:
            expected = inner_coordinate(document, name, array.shape[0])
        else:
            expected = np.array(labels[name], dtype=object if array.dtype.kind == "T" else None)
        count = chunk_grid(array.shape, array.chunks)[0]
        bad = [i for i in range(count) if not _holds(path / place, array, i, expected)]
        if bad:
            damaged[place] = DamagedCoordinate(bad, expected)
    return damaged


def _holds(folder: Path, array: zarr.Array[Any], chunk: int, expected: np.ndarray) -> bool:
    """Whether a chunk of a coordinate is there, with the values that it should have."""
    (part,) = chunk_slices((chunk,), array.chunks, array.shape)
    try:
        found = np.asarray(array[part])
    except (ValueError, OSError, RuntimeError):
        return False
    wanted = expected[part]
    there = (folder / array.metadata.encode_chunk_key((chunk,))).is_file()
    return there and found.shape == wanted.shape and bool((found == wanted).all())


def _coordinate_arrays(root: zarr.Group) -> list[tuple[str, zarr.Array[Any]]]:
    """All one-dimensional arrays that are named like a dimension."""
    attributes: dict[str, Any] = root.attrs.asdict()
    names = {key for axis in attributes["axes"].values() for key in axis} | INNER.keys()
    return [
        (path, node)
        for path, node in root.members(max_depth=None)
        if isinstance(node, zarr.Array) and path.rpartition("/")[2] in names
    ]


def _mend_coordinates(path: Path, root: zarr.Group) -> None:
    try:
        for name, damage in damaged_coordinates(path, root).items():
            _array(root, name)[:] = damage.values
    except OSError as error:
        raise StoreError(f"{path}: cannot mend a coordinate: {error.strerror or error}") from None


def _labels(axis: Axis) -> list[tuple[Value, ...]]:
    return list(zip(*(axis.labels(key) for key in axis.keys), strict=True))


def _missing_values(store: Store) -> dict[str, list[tuple[Value, ...]]]:
    missing = {}
    for axis in store.study.axes:
        stored = set(store.axes[axis.name].values)
        new = [labels for labels in _labels(axis) if labels not in stored]
        if new:
            missing[axis.name] = new
    return missing


def _absent_arrays(store: Store) -> list[str]:
    """Arrays that this version writes and the one that made the store did not."""
    arrays = all_arrays(store.study, dict(store.axes), _shards(store))
    return [spec.path for spec in arrays if spec.path not in store.root]


def _grow(store: Store, missing: Mapping[str, list[tuple[Value, ...]]]) -> None:
    """Append values to axes in place.

    Arrays first, then coordinates, then the root: until the root is rewritten every reader sees
    the old grid, and a crash in between costs nothing.

    Raises:
        StoreError: if another driver is at work, or the disk refuses.
    """
    if others := other_drivers(store.path):
        name, values = next(iter(missing.items()), ("variables", ["new ones"]))
        raise StoreError(
            f"{store.path}: cannot grow by {name} = {show(values[0])} while another run works on "
            f"the store: {', '.join(others)}; wait for it, or run without the new values"
        )
    axes = {
        name: Axis(name, axis.keys, axis.values + tuple(missing.get(name, [])))
        for name, axis in store.axes.items()
    }
    try:
        plain = zarr.open_group(store.path, mode="r+", use_consolidated=False)
        for spec in all_arrays(store.study, axes, _shards(store)):
            if spec.path in plain:
                _array(plain, spec.path).resize(spec.shape)
            else:
                _make_array(plain, spec)
        _write_coordinates(plain, store.study, axes, store.shards)
        attributes = {**store.root.attrs.asdict(), **_growing_attributes(store.study, axes)}
        arrays = [spec.path for spec in all_arrays(store.study, axes, _shards(store))]
        commit_root(store.path, attributes, arrays)
    except OSError as error:
        raise StoreError(f"{store.path}: cannot grow: {error.strerror or error}") from None


def _shards(store: Store) -> dict[str, dict[str, int]]:
    return {step: dict(shape) for step, shape in store.shards.items()}


def _grid_hash(axes: Mapping[str, Axis]) -> str:
    text = json.dumps({name: list(axis.values) for name, axis in axes.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_identity(path: Path, root: Document, study: Study) -> None:
    stored: dict[str, Any] = root["attributes"]["identity"]
    ours = json.loads(json.dumps(study.identity))
    for key in sorted(set(stored) | set(ours)):
        if stored.get(key, default_of(key)) != ours.get(key, default_of(key)):
            raise StoreError(
                f"{path}: {_difference(study, key, stored.get(key), ours.get(key))}; give another "
                "--store or another name"
            )


def _difference(study: Study, key: str, stored: Any, ours: Any) -> str:
    """How a key of two identities differs; for input files these hold a digest of the content."""
    text, other = json.dumps(stored), json.dumps(ours)
    if _FILE.sub("", text) == _FILE.sub("", other):
        section, _, name = key.partition(".")
        files = ", ".join(_FILE.findall(json.dumps(study.document()[section].get(name))))
        what = f"the content of {files}" if files else "the code of an own step"
        return f"{what} ({key}) has changed since the store was made"
    return (
        f"the store belongs to another study: {key} is {show(stored)} there and {show(ours)} here"
    )


_FILE = re.compile(r'"file": "([^"]*)"')
