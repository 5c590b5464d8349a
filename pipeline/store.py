"""The one Zarr store of a study: created whole, grown in place, written shard by shard.

Workers and the driver write through Zarr arrays; readers use ``xarray.open_datatree``. The
consolidated metadata of the root is the commit: an array may be longer on disk than the root says
after a crash while the store grew, and then the root is right.
"""

import hashlib
import json
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from pipeline.axes import Axis, Value, label
from pipeline.errors import StoreChangedError, StoreError, UnreachableError
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
from pipeline.place import Listing, Place
from pipeline.root import (
    BACKUP,
    FORMAT,
    NAME,
    Document,
    damaged_nodes,
    encoded,
    is_intact,
    read_root,
    restore_nodes,
    root_document,
    understood,
    write_root,
)
from pipeline.settings import default_of
from pipeline.steps.base import Step, Table
from pipeline.study import Study
from pipeline.trust import check_own_steps
from pipeline.validation import show

FILLS: dict[str, Any] = {"f8": np.nan, "i8": 0, "i1": 0, "flags": -1, "str": ""}
DTYPES: dict[str, Any] = {"str": str, "flags": "i1"}

# An all-NaN or all-zero chunk must be on disk too: a missing chunk means damage or "not computed".
# Chunks that are decoded in batches take half the time where a survey reads hundreds of small ones.
zarr.config.set({"array.write_empty_chunks": True, "codec_pipeline.batch_size": 32})


@dataclass(frozen=True)
class Store:
    """An open store of one study.

    Attributes:
        place: where it is.
        study: the study whose points are computed.
        root: the open Zarr group, with consolidated metadata.
        axes: the stored axes by name, with labels as values; their order is that of storage and
            they may have values that the study does not.
        shards: points per shard along each axis of each step.
    """

    place: Place
    study: Study
    root: zarr.Group
    axes: Mapping[str, Axis]
    shards: Mapping[str, Mapping[str, int]]

    def array(self, path: str) -> zarr.Array[Any]:
        """An array by its path below the root."""
        if path not in self._arrays:  # Zarr takes a third of a millisecond
            try:
                found = self.root[path]
            except KeyError:
                problem = f"the store has no '{path}'; `run` adds it"
                raise StoreError(f"{self.place}: {problem}") from None
            if not isinstance(found, zarr.Array):
                raise StoreError(f"{self.place}: '{path}' is no array")
            self._arrays[path] = found
        return self._arrays[path]

    @cached_property
    def _arrays(self) -> dict[str, zarr.Array[Any]]:
        return {}

    @property
    def digest(self) -> str:
        """Of the root metadata as they were when the store was opened, the grid among them."""
        return str(self.root.attrs["digest"])

    def check_unchanged(self) -> None:
        """See that the root on disk is still the one that was opened; whoever writes asks first.

        Bytes that are equal to those that were looked at before need no second look, which takes
        as long as reading a megabyte of JSON where an axis has 10⁵ values.

        Raises:
            StoreChangedError: if another driver has let the store grow, or replaced it.
        """
        if self.place.read(NAME) != self._root_text:
            check_root(self.place, self.digest)

    @cached_property
    def _root_text(self) -> bytes:
        """The root as this version writes it, once it is known to be the one that was opened."""
        return encoded(check_root(self.place, self.digest))

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

    def wanted(self, axes: Sequence[Axis], region: Sequence[slice] = ()) -> np.ndarray:
        """Which stored points of some axes, or of a region of them, belong to the study: a mask."""
        mask = np.ones((), dtype=bool)
        for axis, part in zip(axes, region or [slice(None)] * len(axes), strict=True):
            mask = np.logical_and.outer(mask, self._own[axis.name][part])
        return mask

    @cached_property
    def _own(self) -> Mapping[str, np.ndarray]:
        """For each axis which of its stored positions belong to the study."""
        return {
            name: np.array([chosen is not None for chosen in settings])
            for name, settings in self.settings.items()
        }


def create(place: Place, study: Study) -> None:
    """Make a study's store if there is none.

    Raises:
        StoreError: if it cannot be written.
    """
    if place.exists():
        return
    try:
        place.create(_new_values(study), NAME)
    except OSError as error:
        raise StoreError(f"{place}: cannot make the store: {_why(error, place)}") from None


def open_and_grow(place: Place, study: Study) -> Store:
    """The store of a study for writing: mended where damaged, grown where the study has new values.

    Raises:
        StoreError: if it belongs to another study, cannot be written, or another driver is at work
            on the grid as it is.
    """
    store = _existing(place, study, mend=True)
    missing = _missing_values(store)
    if missing or _absent_arrays(store):
        _grow(store, missing)
        store = _existing(place, study, mend=True)
    return store


def open_store(place: Place, study: Study) -> Store:
    """An existing store, for a study whose values it has already.

    Raises:
        StoreError: if it is none, belongs to another study, or lacks values of this one.
    """
    store = _existing(place, study)
    if missing := _missing_values(store):
        name, values = next(iter(missing.items()))
        raise StoreError(
            f"{place}: the store has no {name} = {show(values[0])}; run the study first"
        )
    return store


def open_stored(place: Place) -> Store:
    """An existing store with the study that it was made for, to be read.

    Older versions of this package, whose numbers were others, may have made it.

    Raises:
        StoreError: if it is none, or what the study was made of (input files, code) has changed.
    """
    study = stored_study(place)
    with understood(place):
        _check_identity(place, read_root(place), study, but=("numerics_version",))
        return _opened(place, study, open_root(place))


def _existing(place: Place, study: Study, *, mend: bool = False) -> Store:
    with understood(place):
        _check_identity(place, read_root(place), study)
        return _opened(place, study, open_root(place, mend=mend))


def open_root(place: Place, *, mend: bool = False) -> zarr.Group:
    """The root group of a store of ours.

    Args:
        place: the store.
        mend: whether to restore damaged metadata and coordinates.

    Raises:
        StoreError: if there is no store of a known format, or it cannot be mended.
    """
    document = read_root(place)
    try:
        if mend:
            if not is_intact(place):
                write_root(place, document)
            restore_nodes(place, document, damaged_nodes(place, document))
        objects = place.zarr_store(read_only=not place.writable)
        root = zarr.open_group(objects, mode="r+" if place.writable else "r", use_consolidated=True)
    except UnreachableError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place}: the store is damaged; `run` mends it ({error})") from None
    if mend:
        _mend_coordinates(place, root)
    return root


def check_root(place: Place, digest: str) -> Document:
    """See that a store's root metadata are those that a run began with, and return them.

    Raises:
        StoreChangedError: if another driver has let the store grow, or replaced it.
    """
    document = read_root(place)
    if document["attributes"]["digest"] != digest:
        raise StoreChangedError(
            f"{place}: the store has changed under this run (another run has let it grow); what is "
            "finished is kept: run again to go on"
        )
    return document


def stored_study(place: Place) -> Study:
    """The study that a store was made for, as the store itself knows it.

    Raises:
        StoreError: if it has steps whose code is not this user's.
    """
    with understood(place):
        document = json.loads(read_root(place)["attributes"]["study"])
        check_own_steps(document, str(place))
        return Study(**document, where=str(place))


def check_usable(place: Place, study: Study) -> None:
    """See that a study's store could be made or opened for writing, without writing anything.

    Raises:
        StoreError: if not.
    """
    if place.exists():
        with understood(place):
            _check_identity(place, read_root(place), study)
        check_writable(place)
    else:
        place.check_makeable()


def check_writable(place: Place) -> None:
    """See that an existing store may be written.

    Raises:
        StoreError: if not.
    """
    if not place.writable:
        raise StoreError(
            f"{place}: the store is not writable; it takes write permission on its folder, or "
            "credentials for its bucket"
        )


def _new_values(study: Study) -> dict[str, bytes]:
    """A whole new store, as values by key: metadata and coordinates."""
    shards = {step.name: shard_shape(study, step) for step in study.steps}
    axes = {axis.name: Axis(axis.name, axis.keys, tuple(_labels(axis))) for axis in study.axes}
    memory: dict[str, Any] = {}
    root = zarr.create_group(MemoryStore(memory))
    arrays = all_arrays(study, axes, shards)
    for spec in arrays:
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
    values = {key: value.to_bytes() for key, value in memory.items()}
    document = root_document(values.get, attributes, [spec.path for spec in arrays])
    return {**values, NAME: encoded(document), BACKUP: encoded(document)}


def _why(error: OSError, place: Place) -> str:
    """What an error says, without the place that the message names already."""
    return (error.strerror or str(error)).removeprefix(f"{place}: ")


def _growing_attributes(study: Study, axes: Mapping[str, Axis]) -> dict[str, Any]:
    return {
        "study": study.text,
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


def _opened(place: Place, study: Study, root: zarr.Group) -> Store:
    attributes: dict[str, Any] = root.attrs.asdict()
    axes = {
        axis.name: Axis(
            axis.name,
            axis.keys,
            tuple(zip(*(attributes["axes"][axis.name][key] for key in axis.keys), strict=True)),
        )
        for axis in study.axes
    }
    store = Store(place, study, root, axes, attributes["shards"])
    if any(points < 1 for step in study.steps for points in store.chunk_of(step)):
        raise ValueError
    hash(tuple(axis.values for axis in axes.values()))  # labels are plain values
    return store


@dataclass(frozen=True)
class DamagedCoordinate:
    """A coordinate that is not what the root says: its chunks that are wrong, and its values."""

    chunks: list[int]
    values: np.ndarray


def damaged_coordinates(place: Place, root: zarr.Group) -> dict[str, DamagedCoordinate]:
    """Coordinates with chunks that are missing, unreadable, or not what the root says."""
    attributes: dict[str, Any] = root.attrs.asdict()
    labels = {key: v for axis in attributes["axes"].values() for key, v in axis.items()}
    document = json.loads(attributes["study"])
    listing = Listing(place)
    damaged = {}
    for path, array in _coordinate_arrays(root):
        name = path.rpartition("/")[2]
        if name in INNER:
            expected = inner_coordinate(document, name, array.shape[0])
        else:
            expected = np.array(labels[name], dtype=object if array.dtype.kind == "T" else None)
        count = chunk_grid(array.shape, array.chunks)[0]
        bad = [i for i in range(count) if not _holds(listing, path, array, i, expected)]
        if bad:
            damaged[path] = DamagedCoordinate(bad, expected)
    return damaged


def _holds(
    listing: Listing, path: str, array: zarr.Array[Any], chunk: int, expected: np.ndarray
) -> bool:
    """Whether a chunk of a coordinate is there, with the values that it should have."""
    (part,) = chunk_slices((chunk,), array.chunks, array.shape)
    try:
        found = np.asarray(array[part])
    except UnreachableError:
        raise
    except (ValueError, OSError, RuntimeError):
        return False
    wanted = expected[part]
    there = listing.has(path, array.metadata.encode_chunk_key((chunk,)))
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


def _mend_coordinates(place: Place, root: zarr.Group) -> None:
    try:
        for name, damage in damaged_coordinates(place, root).items():
            _array(root, name)[:] = damage.values
    except OSError as error:
        raise StoreError(f"{place}: cannot mend a coordinate: {_why(error, place)}") from None


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
    if others := other_drivers(store.place):
        name, values = next(iter(missing.items()), ("variables", ["new ones"]))
        raise StoreError(
            f"{store.place}: cannot grow by {name} = {show(values[0])} while another run works on "
            f"the store: {', '.join(others)}; wait for it, or run without the new values"
        )
    axes = {
        name: Axis(name, axis.keys, axis.values + tuple(missing.get(name, [])))
        for name, axis in store.axes.items()
    }
    try:
        objects = store.place.zarr_store(read_only=False)
        plain = zarr.open_group(objects, mode="r+", use_consolidated=False)
        for spec in all_arrays(store.study, axes, _shards(store)):
            if spec.path in plain:
                _array(plain, spec.path).resize(spec.shape)
            else:
                _make_array(plain, spec)
        _write_coordinates(plain, store.study, axes, store.shards)
        attributes = {**store.root.attrs.asdict(), **_growing_attributes(store.study, axes)}
        arrays = [spec.path for spec in all_arrays(store.study, axes, _shards(store))]
        write_root(store.place, root_document(store.place.read, attributes, arrays))
    except OSError as error:
        raise StoreError(f"{store.place}: cannot grow: {_why(error, store.place)}") from None


def _shards(store: Store) -> dict[str, dict[str, int]]:
    return {step: dict(shape) for step, shape in store.shards.items()}


def _grid_hash(axes: Mapping[str, Axis]) -> str:
    text = json.dumps({name: list(axis.values) for name, axis in axes.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_identity(place: Place, root: Document, study: Study, but: tuple[str, ...] = ()) -> None:
    stored: dict[str, Any] = root["attributes"]["identity"]
    ours = json.loads(json.dumps(study.identity))
    for key in sorted((set(stored) | set(ours)) - set(but)):
        if stored.get(key, default_of(key)) != ours.get(key, default_of(key)):
            raise StoreError(
                f"{place}: {_difference(study, key, stored.get(key), ours.get(key))}; give another "
                "--store or another name"
            )


def _difference(study: Study, key: str, stored: Any, ours: Any) -> str:
    """How a key of two identities differs; for input files these hold a digest of the content."""
    text, other = json.dumps(stored), json.dumps(ours)
    if key == "numerics_version":
        return (
            f"another version of meanfield made the store, whose numbers are others ({key} {text} "
            f"there and {other} here); it can be read, and computed on with that version"
        )
    if _FILE.sub("", text) == _FILE.sub("", other):
        section, _, name = key.partition(".")
        files = ", ".join(_FILE.findall(json.dumps(study.document()[section].get(name))))
        what = f"the content of {files}" if files else "the code of an own step"
        return f"{what} ({key}) has changed since the store was made"
    return (
        f"the store belongs to another study: {key} is {show(stored)} there and {show(ours)} here"
    )


_FILE = re.compile(r'"file": "([^"]*)"')
