"""The axes of a study: which keys vary, over which values.

An axis is a list of values or a range; several keys zipped together make one axis. Values are
normalised here, once, so that equal values are equal in every study and store: whole numbers stay
whole (ranges round half-even), floats keep 12 significant digits.
"""

import hashlib
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from pipeline.errors import StudyError
from pipeline.settings import Numerics, Problem, Settings, Training
from pipeline.validation import allowed_values, nearest, show, validate_value

# The order of the dimensions in a store; keys that are not named here follow, in the study's order.
ORDER = ("activation", "gamma", "gamma_w", "gamma_b", "cells", "particles", "seed")
NOT_AXES = ("snapshots", "point_timeout")
AMBIGUOUS = ("cells", "particles")  # settings of [numerics] and of [training]
MAX_VALUES = 10_000_000

Value = Any
"""A setting's value at one position of an axis: a number, a string, or a table of them."""


@dataclass(frozen=True)
class Axis:
    """One dimension of the grid.

    Attributes:
        name: the dimension's name; the key itself unless several keys are zipped.
        keys: the settings that it varies.
        values: one tuple per position, with a value for each key.
    """

    name: str
    keys: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]

    @property
    def zipped(self) -> bool:
        """Whether the axis has a name of its own."""
        return self.keys != (self.name,)

    def labels(self, key: str) -> list[Value]:
        """The coordinate values of one key: numbers and strings as they are, tables as JSON."""
        column = self.keys.index(key)
        return [label(position[column]) for position in self.values]

    def settings(self, key: str) -> list[Value]:
        """The values of one key."""
        column = self.keys.index(key)
        return [position[column] for position in self.values]

    def telling_keys(self) -> tuple[str, ...]:
        """The keys, from the first on, that tell the positions apart."""
        for count in range(1, len(self.keys)):
            columns = [self.labels(key) for key in self.keys[:count]]
            if len(set(zip(*columns, strict=True))) == len(self):
                return self.keys[:count]
        return self.keys

    def __len__(self) -> int:
        return len(self.values)


def label(value: Value) -> Value:
    """A value as a coordinate: tables and lists become canonical JSON.

    A data file is known by its name and content, so that equal data are the same point from
    everywhere, and changed data are another one.
    """
    if isinstance(value, pydantic.BaseModel):
        value = map_files(value.model_dump(mode="json"), _known)
    if isinstance(value, tuple):
        value = [label(item) for item in value]
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list, tuple)) else value


def brief(value: Value, width: int = 32) -> str:
    """A coordinate value for people: a table without its punctuation, cut to a width."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        table = json.loads(value)
        if isinstance(table, dict):
            kind = table.pop("kind", None)
            parts = [f"{k} = {v}" for k, v in sorted(table.items(), reverse=True) if v is not None]
            value = f"{kind}({', '.join(parts)})" if kind else ", ".join(parts)
    text = str(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _known(file: str) -> str:
    path = Path(file)
    return f"{path.name} (sha256 {digest(path)[:12]})"


def map_files(value: Any, change: Callable[[str], str]) -> Any:
    """Apply a function to every ``file`` entry of a table, however deep."""
    if isinstance(value, dict):
        return {k: change(v) if k == "file" else map_files(v, change) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_files(item, change) for item in value]
    return value


def digest(path: Path) -> str:
    """The SHA-256 of a file; "missing" if it cannot be read, which is told where it is used."""
    try:
        stat = path.stat()
        return _digest(str(path), stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError):
        return "missing"


@lru_cache(maxsize=4096)
def _digest(path: str, _modified: int, _size: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def section_of(key: str) -> tuple[str, type[Settings], str] | None:
    """The section and settings class that a key of an axis belongs to, and its name there.

    ``cells`` and ``particles`` are those of [numerics]; those of [training] are called
    ``training_cells`` and ``training_particles``.
    """
    for section, model in (("problem", Problem), ("numerics", Numerics), ("training", Training)):
        if key in model.model_fields and key not in NOT_AXES:
            return section, model, key
    own = key.removeprefix("training_")
    return ("training", Training, own) if own != key and own in AMBIGUOUS else None


def axis_keys() -> list[str]:
    """Every key that may be an axis."""
    keys = [k for model in (Problem, Numerics, Training) for k in model.model_fields]
    keys += [f"training_{key}" for key in AMBIGUOUS]
    return list(dict.fromkeys(k for k in keys if k not in NOT_AXES))


def training_key(field: str) -> str:
    """The key under which a setting of [training] is an axis."""
    return f"training_{field}" if field in AMBIGUOUS else field


def read_axes(table: object, where: str, folder: Path) -> tuple[Axis, ...]:
    """Read the section [axes]; relative paths of data files begin at a folder.

    Raises:
        StudyError: for an unknown key, an empty axis, duplicates or values out of range.
    """
    if not isinstance(table, Mapping):
        raise StudyError(f"{where}: [axes] must be a table, not {show(table)}")
    axes = [_plain(key, spec, where) for key, spec in table.items() if key != "zip"]
    axes += [_zipped(spec, where) for spec in _zip_tables(table.get("zip", []), where)]
    _refuse_repeats(axes, where)
    return tuple(_with_paths(axis, folder) for axis in sorted(axes, key=_rank))


def _with_paths(axis: Axis, folder: Path) -> Axis:
    """The axis with absolute paths of data files."""
    values = tuple(tuple(_with_path(v, folder) for v in position) for position in axis.values)
    return Axis(axis.name, axis.keys, values)


def _with_path(value: Value, folder: Path) -> Value:
    if not isinstance(value, Settings):
        return value
    table = value.model_dump(mode="json", exclude_none=True)
    return type(value).model_validate(map_files(table, lambda file: str(folder / file)))


def _rank(axis: Axis) -> int:
    return min(ORDER.index(key) if key in ORDER else len(ORDER) for key in axis.keys)


def _refuse_repeats(axes: Sequence[Axis], where: str) -> None:
    seen: set[str] = set()
    for name in [key for axis in axes for key in axis.keys] + [a.name for a in axes if a.zipped]:
        if name in seen:
            raise StudyError(f"{where}: axes: '{name}' is given more than once")
        seen.add(name)


def _plain(key: str, spec: object, where: str) -> Axis:
    values = _values(key, spec, where, f"axes.{key}")
    return Axis(key, (key,), tuple((value,) for value in values))


def _zip_tables(spec: object, where: str) -> list[Mapping[str, object]]:
    if not isinstance(spec, list) or not all(isinstance(table, Mapping) for table in spec):
        raise StudyError(f"{where}: axes.zip must be written as [[axes.zip]] tables")
    return spec


def _zipped(table: Mapping[str, object], where: str) -> Axis:
    name = table.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        raise StudyError(
            f"{where}: axes.zip: name = {show(name)}; allowed: a word that names the dimension"
        )
    if name in axis_keys() or name in ("snapshot", "time", "iteration", "x"):
        raise StudyError(f"{where}: axes.zip: the name '{name}' is taken; choose another")
    columns = {
        key: _values(key, spec, where, f"axes.zip({name}).{key}", unique=False)
        for key, spec in table.items()
        if key != "name"
    }
    lengths = {key: len(column) for key, column in columns.items()}
    if not columns or len(set(lengths.values())) != 1:
        raise StudyError(
            f"{where}: axes.zip '{name}': the keys must have equally many values, not {lengths}"
        )
    positions = tuple(zip(*columns.values(), strict=True))
    _refuse_duplicates(positions, f"{where}: axes.zip '{name}'")
    return Axis(name, tuple(columns), positions)


def _values(key: str, spec: object, where: str, path: str, unique: bool = True) -> list[Value]:
    found = section_of(key)
    if found is None:
        raise StudyError(f"{where}: unknown axis '{path}'; {nearest(key, axis_keys())}")
    _, model, field = found
    raw = _expand(key, spec, f"{where}: {path}")
    if not raw:
        raise StudyError(f"{where}: {path} has no values; allowed: {allowed_values(model, field)}")
    values = [axis_value(model, field, value, where, path) for value in raw]
    if unique:
        _refuse_duplicates(values, f"{where}: {path}")
    return values


def _refuse_duplicates(values: Sequence[Value], where: str) -> None:
    seen: set[Value] = set()
    for value in values:
        name = label(value)
        if name in seen:
            raise StudyError(f"{where}: the value {show(name)} occurs more than once")
        seen.add(name)


def _expand(key: str, spec: object, where: str) -> list[object]:
    """The raw values of an axis given as a list or as a range."""
    if isinstance(spec, list):
        return spec
    if isinstance(spec, Mapping) and set(spec) == {"count"}:
        return _count(key, spec["count"], where)
    if isinstance(spec, Mapping) and set(spec) == {"from", "to", "per_decade"}:
        return list(_decades(key, spec, where))
    allowed = "a list, { from, to, per_decade }" + (" or { count }" if key == "seed" else "")
    raise StudyError(f"{where} = {show(spec)}: no axis; allowed: {allowed}")


def _count(key: str, count: object, where: str) -> list[object]:
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if key != "seed":
        raise StudyError(f"{where}: {{ count }} is for the axis seed only")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_VALUES:
        raise StudyError(
            f"{where}.count = {show(count)}; allowed: a whole number from 1 to {MAX_VALUES}"
        )
    return list(range(count))


def _decades(key: str, spec: Mapping[str, object], where: str) -> list[float | int]:
    bounds = []
    for end in ("from", "to", "per_decade"):
        number = spec[end]
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise StudyError(f"{where}.{end} = {show(number)}; allowed: a positive number")
        if not (math.isfinite(number) and number > 0):
            raise StudyError(f"{where}.{end} = {show(number)}; allowed: a positive number")
        bounds.append(float(number))
    low, high, per_decade = bounds
    if high < low:
        raise StudyError(f"{where}: to = {high:g} is below from = {low:g}")
    steps = math.floor(per_decade * (math.log10(high) - math.log10(low)) + 1e-9)
    if steps >= MAX_VALUES:
        raise StudyError(f"{where}: more than {MAX_VALUES} values")
    exact = 10.0 ** (math.log10(low) + np.arange(steps + 1) / per_decade)
    values = [float(f"{value:.12g}") for value in exact]
    return [round(value) for value in values] if _is_whole(key) else values


def _is_whole(key: str) -> bool:
    """Whether a key takes whole numbers."""
    _, model, field = section_of(key) or ("", Settings, "")
    return _mentions_int(model.model_fields[field].annotation)


def _mentions_int(annotation: Any) -> bool:
    return annotation is int or any(map(_mentions_int, typing.get_args(annotation)))


def axis_value(model: type[Settings], field: str, value: object, where: str, path: str) -> Value:
    """One value of an axis, validated as the setting that it replaces.

    Raises:
        StudyError: if it is none.
    """
    if value is None:
        allowed = model.model_fields[field].description
        raise StudyError(f"{where}: {path}: empty value; allowed: {allowed}")
    checked = validate_value(model, field, value, where, path)
    return float(f"{checked:.12g}") if isinstance(checked, float) else checked


def positions(axes: Sequence[Axis]) -> Iterator[dict[str, Value]]:
    """Every point of some axes: the values of all their keys."""
    for combination in product(*(axis.values for axis in axes)):
        yield {
            key: value
            for axis, values in zip(axes, combination, strict=True)
            for key, value in zip(axis.keys, values, strict=True)
        }
