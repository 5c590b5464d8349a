"""The one Zarr store of a study: created whole, grown in place, written shard by shard.

Workers and the driver write through Zarr arrays; readers use ``xarray.open_datatree``. The
consolidated metadata of the root is the commit: an array may be longer on disk than the root says
after a crash while the store grew, and then the root is right.
"""

import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import ZarrUserWarning

from pipeline.axes import Axis, Value, label
from pipeline.errors import StoreError
from pipeline.layout import ArraySpec, all_arrays, fixed_domain, shard_shape, table_axes
from pipeline.steps.base import Step, Table
from pipeline.study import Study
from pipeline.validation import show

FORMAT = 1
FILLS: dict[str, Any] = {"f8": np.nan, "i8": 0, "i1": 0, "str": ""}

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
        found = self.root[path]
        if not isinstance(found, zarr.Array):
            raise StoreError(f"{self.path}: '{path}' is no array")
        return found

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

    def wanted(self, axes: Sequence[Axis]) -> np.ndarray:
        """Which stored points of some axes belong to the study: a mask of their shape."""
        mask = np.ones((), dtype=bool)
        for axis in axes:
            own = np.array([chosen is not None for chosen in self.settings[axis.name]])
            mask = np.logical_and.outer(mask, own)
        return mask

    @property
    def grid(self) -> str:
        """A digest of the stored axes, which changes when the store grows."""
        return _grid_hash(self.axes)


def create_or_open(path: Path, study: Study) -> Store:
    """The store of a study: made if there is none, grown if the study has new values.

    Raises:
        StoreError: if the path holds something else, cannot be written, or is of another study.
    """
    if not path.exists():
        _create(path, study)
    root = open_root(path, writable=True)
    _check_identity(path, root, study)
    store = _opened(path, study, root)
    missing = _missing_values(store)
    if missing:
        _grow(store, missing)
        store = _opened(path, study, open_root(path, writable=True))
    return store


def open_store(path: Path, study: Study) -> Store:
    """An existing store, for a study whose values it has already.

    Raises:
        StoreError: if it is none, belongs to another study, or lacks values of this one.
    """
    root = open_root(path, writable=os.access(path, os.W_OK))
    _check_identity(path, root, study)
    store = _opened(path, study, root)
    if missing := _missing_values(store):
        name, values = next(iter(missing.items()))
        raise StoreError(
            f"{path}: the store has no {name} = {show(values[0])}; run the study first"
        )
    return store


def open_root(path: Path, writable: bool) -> zarr.Group:
    """The root group of a store of ours.

    Raises:
        StoreError: if there is no store of a known format.
    """
    if not path.exists():
        raise StoreError(f"{path}: no store there")
    if not path.is_dir() or not (path / "zarr.json").is_file():
        raise StoreError(f"{path}: not a store of meanfield; give another path")
    mode: Literal["r", "r+"] = "r+" if writable else "r"
    try:
        root = zarr.open_group(path, mode=mode)
        if root.metadata.consolidated_metadata is None and writable:
            _consolidate(path)  # a driver died while it grew the store, at the very last write
            root = zarr.open_group(path, mode=mode)
        attributes = root.attrs.asdict()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: the store's root metadata cannot be read: {error}") from None
    if "format" not in attributes or "identity" not in attributes:
        raise StoreError(f"{path}: a Zarr hierarchy, but not a store of meanfield")
    if attributes["format"] != FORMAT:
        raise StoreError(
            f"{path}: the store has format {attributes['format']}; this version reads {FORMAT}"
        )
    return root


def stored_study(path: Path) -> Study:
    """The study that a store was made for, as the store itself knows it."""
    root = open_root(path, writable=False)
    try:
        document = json.loads(root.attrs["study"])  # type: ignore[arg-type]
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path}: the store does not hold its study: {error}") from None
    return Study(**document, where=str(path))


def check_usable(path: Path, study: Study) -> None:
    """See that a study's store could be made or opened for writing, without writing anything.

    Raises:
        StoreError: if not.
    """
    if path.exists():
        _check_identity(path, open_root(path, writable=False), study)
        if not os.access(path, os.W_OK):
            raise StoreError(f"{path}: the store is not writable")
        return
    parent = next((p for p in path.parents if p.exists()), Path("/"))
    if not parent.is_dir():
        raise StoreError(f"{path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK):
        raise StoreError(f"{path}: the folder {parent} is not writable")


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
        root.attrs.update(
            {
                "format": FORMAT,
                "title": study.name,
                "identity": study.identity,
                "identity_hash": study.identity_hash,
                "shards": shards,
                **_growing_attributes(study, axes),
            }
        )
        _consolidate(scratch)
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
        "axes": {axis.name: list(axis.keys) for axis in axes.values()},
        "grid": _grid_hash(axes),
    }


def _make_array(root: zarr.Group, spec: ArraySpec) -> None:
    root.create_array(
        spec.path,
        shape=spec.shape,
        chunks=spec.chunks,
        dtype=str if spec.dtype == "str" else spec.dtype,
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
    columns["snapshot"] = list(study.snapshots)
    for spec in all_arrays(study, dict(axes), dict(shards)):
        name = spec.path.rpartition("/")[2]
        if name == "x":
            low, high = fixed_domain(study) or (np.nan, np.nan)
            faces = np.linspace(low, high, spec.shape[0] + 1)
            _array(root, spec.path)[:] = (faces[1:] + faces[:-1]) / 2
        elif name in columns and len(spec.dims) == 1:
            dtype = object if spec.dtype == "str" else spec.dtype
            _array(root, spec.path)[:] = np.array(columns[name], dtype=dtype)


def _array(root: zarr.Group, path: str) -> Any:
    return root[path]


def _consolidate(path: Path) -> None:
    with warnings.catch_warnings():
        # Zarr v3 has no specification of consolidated metadata yet; every reader copes.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(path)


def _opened(path: Path, study: Study, root: zarr.Group) -> Store:
    attributes: dict[str, Any] = root.attrs.asdict()
    names: dict[str, list[str]] = attributes["axes"]
    axes = {}
    for axis in study.axes:
        group = next(s.name for s in study.steps if axis in study.step_axes(s))
        columns = [_read_labels(path, root, f"{group}/{key}") for key in names[axis.name]]
        axes[axis.name] = Axis(axis.name, axis.keys, tuple(zip(*columns, strict=True)))
    return Store(path, study, root, axes, attributes["shards"])


def _read_labels(path: Path, root: zarr.Group, name: str) -> list[Value]:
    try:
        return [_python(value) for value in _array(root, name)[:]]
    except (ValueError, OSError, KeyError) as error:
        raise StoreError(f"{path}: the coordinate {name} is damaged: {error}") from None


def _python(value: Any) -> Value:
    return value.item() if isinstance(value, np.generic) else str(value)


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


def _grow(store: Store, missing: Mapping[str, list[tuple[Value, ...]]]) -> None:
    """Append values to axes in place.

    Arrays first, then coordinates, then the root: until the root is rewritten every reader sees
    the old grid, and a crash in between costs nothing.
    """
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
        plain.attrs.update(_growing_attributes(store.study, axes))
        _consolidate(store.path)
    except OSError as error:
        raise StoreError(f"{store.path}: cannot grow: {error.strerror or error}") from None


def _shards(store: Store) -> dict[str, dict[str, int]]:
    return {step: dict(shape) for step, shape in store.shards.items()}


def _grid_hash(axes: Mapping[str, Axis]) -> str:
    text = json.dumps({name: list(axis.values) for name, axis in axes.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_identity(path: Path, root: zarr.Group, study: Study) -> None:
    stored: dict[str, Any] = root.attrs["identity"]  # type: ignore[assignment]
    ours = json.loads(json.dumps(study.identity))
    for key in sorted(set(stored) | set(ours)):
        if stored.get(key) != ours.get(key):
            raise StoreError(
                f"{path}: the store belongs to another study: {key} is {show(stored.get(key))} "
                f"there and {show(ours.get(key))} here; give another --store or another name"
            )
