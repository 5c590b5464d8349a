"""Two stores at the coordinates that both have.

Points are common where all their coordinates are. An axis that only one of the stores has is taken
at the value that the other store has for that setting, if it is among the axis' values.
"""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from pipeline.analysis_tables import ANALYSIS
from pipeline.axes import axis_value, brief, label, section_of
from pipeline.errors import StoreError
from pipeline.place import Place
from pipeline.root import read_root

WIDTH = 40
"""Of a label of a zipped axis, its digest apart."""


@dataclass(frozen=True)
class Aligned:
    """One variable of both stores.

    Attributes:
        path: its path.
        one: its values in the left store, at the common coordinates.
        other: those in the right store, in the same order.
        reason: why it has none, because of its dimensions; then both are empty.
    """

    path: str
    one: xr.DataArray
    other: xr.DataArray
    reason: str = ""


@dataclass(frozen=True)
class Side:
    """One of the two stores.

    Attributes:
        place: where it is.
        tree: its content.
        axes: the stored values of each key, by axis.
        tables: those of its study.
    """

    place: Place
    tree: xr.DataTree
    axes: Mapping[str, Mapping[str, list[Any]]]
    tables: Mapping[str, Mapping[str, Any]]

    def values(self, key: str) -> set[Any] | None:
        """The stored values of a key; None where it is no axis."""
        return next((set(keys[key]) for keys in self.axes.values() if key in keys), None)

    def setting(self, key: str) -> Any:
        """The one value of a key that is no axis, as an axis would store it; None without one."""
        section, model, field = section_of(key) or ("", None, "")
        value = self.tables.get(section, {}).get(field)
        return None if value is None or model is None else label(_checked(model, field, value))


def _checked(model: Any, field: str, value: Any) -> Any:
    return axis_value(model, field, value, "store", f"study.{field}")


@contextlib.contextmanager
def two_stores(left: Place, right: Place) -> Iterator[tuple[Side, Side]]:
    """Open two stores.

    Raises:
        StoreError: if one is no store of ours, or cannot be read.
    """
    roots = [read_root(place)["attributes"] for place in (left, right)]
    try:
        with (
            left.open_tree() as a,
            right.open_tree() as b,
        ):
            one, other = (
                Side(place, tree, root["axes"], json.loads(root["study"]))
                for place, tree, root in zip((left, right), (a, b), roots, strict=True)
            )
            yield one, other
    except StoreError:
        raise
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{left}, {right}: cannot be compared: {reason}") from None


def aligned(left: Side, right: Side, free: Collection[str] = ()) -> Iterator[Aligned]:
    """Every variable that both stores have, at the coordinates that both have.

    Numbers of the analysis count where both were fitted to the same M, seeds and cells.

    Args:
        left: a store.
        right: another.
        free: dimensions of which each keeps its own coordinates where both share none, or a single
            one of several.
    """
    paths = {node.path for node in right.tree.subtree}
    coordinates = {key for side in (left, right) for keys in side.axes.values() for key in keys}
    for node in left.tree.subtree:
        if node.path not in paths:
            continue
        for name, array in node.data_vars.items():
            other = right.tree[node.path].data_vars.get(name)
            if other is None or name in coordinates:
                continue
            if node.path == "/analysis" and not _same_samples(str(name), left, right):
                continue  # rates of other samples are other rates
            path = f"{node.path.strip('/')}/{name}"
            try:
                yield Aligned(path, *_common(array, left, other, right, free))
            except _UnlikeError as unlike:
                yield Aligned(path, xr.DataArray([]), xr.DataArray([]), str(unlike))


class _UnlikeError(Exception):
    """A variable has no common points because of its dimensions; says why."""


def _same_samples(name: str, left: Side, right: Side) -> bool:
    """Whether a number of the analysis was fitted to the same values in both stores."""
    along = (t.along for t in ANALYSIS if name in {variable.name for variable in t.variables})
    return all(left.values(key) == right.values(key) for keys in along for key in keys)


def _common(
    one: xr.DataArray,
    left: Side,
    other: xr.DataArray,
    right: Side,
    free: Collection[str],
) -> tuple[xr.DataArray, xr.DataArray]:
    """Two arrays at the coordinates that both have.

    Raises:
        _UnlikeError: if their dimensions do not let them be compared.
    """
    one, other = labelled(one, left.axes), labelled(other, right.axes)
    one, other = _at(one, left, other, right), _at(other, right, one, left)
    for name in one.dims:
        known = [name in array.indexes for array in (one, other)]
        if any(known) and not all(known):
            which = (left, right)[known.index(True)]
            raise _UnlikeError(f"the dimension {name} has a coordinate in {which.place} only")
        if not any(known) and one.sizes[name] != other.sizes[name]:
            sizes = f"{one.sizes[name]} entries and {other.sizes[name]}"
            raise _UnlikeError(f"the dimension {name} has no coordinate, and {sizes}")
    own = [name for name in free if name in one.dims and _few_shared(one, other, name)]
    one, other = xr.align(one, other, join="inner", exclude=own)
    return one, other.transpose(*one.dims)


def _few_shared(one: xr.DataArray, other: xr.DataArray, name: str) -> bool:
    """Whether too few coordinates are those of both: none, or a single one of several."""
    shared = int(one.indexes[name].isin(other.indexes[name]).sum())
    return shared < min(2, one.sizes[name], other.sizes[name])


def labelled(array: xr.DataArray, axes: Mapping[str, Mapping[str, list[Any]]]) -> xr.DataArray:
    """The array alone, with zipped axes labelled by the values of their keys.

    Args:
        array: a variable.
        axes: the stored values of each key, by axis.
    """
    array = array.reset_coords(drop=True)
    for name, keys in axes.items():
        if name in array.dims and list(keys) != [name]:
            labels = [zip_label(values) for values in zip(*keys.values(), strict=True)]
            array = array.assign_coords({name: labels})
    return array


def zip_label(values: Sequence[Any]) -> str:
    """A position of a zipped axis for people: its values, and a digest of what is cut off.

    Two positions have one label only if they have the same values.
    """
    whole = ", ".join(map(str, values))
    text = ", ".join(brief(value) for value in values)
    if text == whole and len(text) <= WIDTH and all(isinstance(v, str) for v in values):
        return text
    digest = hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:6]
    return f"{text if len(text) <= WIDTH else text[: WIDTH - 1] + '…'} [{digest}]"


def _at(array: xr.DataArray, side: Side, other: xr.DataArray, rest: Side) -> xr.DataArray:
    """The array without the axes that the other has not: at the settings of the other's study.

    Raises:
        _UnlikeError: if it has no such values.
    """
    for name in [name for name in array.dims if name not in other.dims]:
        keys = side.axes.get(str(name), {})
        wanted = tuple(rest.setting(key) for key in keys)
        positions = list(zip(*keys.values(), strict=True))
        if wanted not in positions:
            pairs = zip(keys, wanted, strict=True)
            given = ", ".join(
                f"{key} = {brief(value)}" for key, value in pairs if value is not None
            )
            also = f", and {rest.place} has {given}" if given else ""
            raise _UnlikeError(f"the dimension {name} is only in {side.place}{also}")
        array = array.isel({name: positions.index(wanted)}, drop=True)
    return array
