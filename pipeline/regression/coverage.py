"""What a night and its baseline do not have in common, and rules that are about nothing, in words.

Numbers are compared where both sides have them. What only one of them has is easily overlooked, so
it is said.
"""

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pipeline.axes import brief
from pipeline.place import Place
from pipeline.regression_settings import Rule
from pipeline.root import read_root
from pipeline.settings import default_of
from pipeline.validation import show

NAMED = 5
COSTS = ("run/memory",)
"""Paths of numbers that no store has."""


def unlike(study: str, old: Place, new: Place) -> list[str]:
    """In which settings two stores differ, and which points only the baseline has.

    Args:
        study: the study's name.
        old: the baseline's store.
        new: the night's.

    Raises:
        StoreError: if one cannot be read.
    """
    before, after = (read_root(place)["attributes"] for place in (old, new))
    settings = _settings(before["identity"], after["identity"])
    said = [f"{study}: not computed as in the baseline: {'; '.join(settings)}"] if settings else []
    gone = [lost for name in before["axes"] if (lost := _lost(name, before["axes"], after["axes"]))]
    return said + [f"{study}: only the baseline has {lost}" for lost in gone]


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The settings that differ; those that are axes on one side are compared as such."""
    keys = (before["dimensions"], after["dimensions"])
    axes = {key for dimensions in keys for names in dimensions.values() for key in names}
    found = []
    for key in sorted({*before, *after} - {"dimensions"}):
        old, new = (side.get(key, default_of(key)) for side in (before, after))
        if old != new and key.partition(".")[2] not in axes:
            found.append(f"{key} was {show(old)}, is {show(new)}")
    return found


def _lost(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The values of an axis that only the baseline has; "" if there are none."""
    if name not in after:
        return f"the axis {name}"
    there = _positions(after[name])
    gone = [position for position in _positions(before[name]) if position not in there]
    if len(before[name]) > 1:
        return f"{len(gone)} of the positions of {name}" if gone else ""
    values = ", ".join(brief(json.loads(position)[0]) for position in gone[:NAMED])
    more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
    return f"{name} = {values}{more}" if gone else ""


def _positions(keys: Mapping[str, Sequence[Any]]) -> list[str]:
    return [json.dumps(values) for values in zip(*keys.values(), strict=True)]


def unused(study: str, place: Place, rules: Sequence[Rule]) -> list[str]:
    """The rules of a study that fit none of its variables.

    Args:
        study: its name.
        place: its results.
        rules: its own.

    Raises:
        StoreError: if the results cannot be read.
    """
    nodes = read_root(place)["consolidated_metadata"]["metadata"]
    paths = [*COSTS, *(name for name, node in nodes.items() if node["node_type"] == "array")]
    return [
        f"{study}: regression.rules: no variable fits '{rule.variables}'; they are named "
        "group/name, as particles/w1"
        for rule in rules
        if not any(fnmatchcase(path, rule.variables) for path in paths)
    ]
