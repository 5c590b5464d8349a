"""One damage to one file of a store, and what `verify` must then say."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import oracle

Finding = tuple[str, tuple[int, ...] | None, str]

HARMS = ("flipped byte", "truncated", "deleted")
KINDS = (
    "chunk of a variable",
    "chunk of a status",
    "chunk of a field",
    "chunk of the analysis",
    "coordinate of numbers",
    "coordinate of names",
    "metadata of an array",
    "metadata of a group",
    "root metadata",
    "backup of the root",
)


@dataclass(frozen=True)
class Damage:
    """What was done to a file.

    Attributes:
        file: relative to the store.
        findings: what `verify` must list, exactly.
        pending: how many points of each step are lost by it.
        countable: whether points can be counted at all: not while the root is damaged.
    """

    file: str
    findings: frozenset[Finding]
    pending: dict[str, int]
    countable: bool = True


def harm(store: Path, kind: str, how: str, chance: random.Random) -> Damage:
    """Damage a random file of a kind."""
    file = chance.choice(sorted(path for path in _files(store) if _kind(store, path) == kind))
    damage = _expected(store, kind, how, file)
    HOW[how](store / file, chance)
    return damage


def _files(store: Path) -> list[str]:
    found = (path.relative_to(store) for path in store.rglob("*") if path.is_file())
    return [path.as_posix() for path in found if path.parts[0] != ".drivers"]


def _kind(store: Path, file: str) -> str:
    if file == "zarr.json":
        return "root metadata"
    if file == ".zarr.json.backup":
        return "backup of the root"
    if file.endswith("zarr.json"):
        node = json.loads((store / file).read_text())["node_type"]
        return f"metadata of {'an array' if node == 'array' else 'a group'}"
    path, _, place = file.partition("/c/")
    group, _, name = path.rpartition("/")
    if name in ("activation", "norm"):
        return "coordinate of names"
    numbers = ("gamma", "cells", "particles", "seed", "snapshot", "time", "iteration")
    if name in numbers and "/" not in place:
        return "coordinate of numbers"
    if group == "analysis":
        return "chunk of the analysis"
    if name.startswith("status"):
        return "chunk of a status"
    return "chunk of a field" if "/" in group else "chunk of a variable"


def _expected(store: Path, kind: str, how: str, file: str) -> Damage:
    steps = {"train": 0, "limit": 0, "particles": 0}
    if kind in ("root metadata", "backup of the root"):
        found: Finding = ("", None, "damaged (one of its two copies)")
        return Damage(file, frozenset({found}), steps, kind != "root metadata")
    if kind.startswith("metadata"):
        return Damage(file, frozenset({(file, None, "damaged or missing")}), steps)
    path, _, text = file.partition("/c/")
    place = tuple(map(int, text.split("/")))
    if kind.startswith("coordinate"):
        return Damage(file, frozenset({(path, place, "damaged or missing")}), steps)
    if kind != "chunk of the analysis":
        steps[path.split("/")[0]] = oracle.points_of_chunk(store, path, place)
    problem = "missing" if how == "deleted" else "damaged"
    findings = {(path, place, problem)}
    if kind == "chunk of a status":
        # Without its status a shard counts as never computed, which is no damage; and then the
        # analysis has no claim to be there.
        findings = set() if how == "deleted" else findings
    return Damage(file, frozenset(findings), steps)


def _flip(file: Path, chance: random.Random) -> None:
    before = file.read_bytes()
    while True:
        content = bytearray(before)
        content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
        if file.suffix not in (".json", ".backup") or not _means_the_same(before, bytes(content)):
            file.write_bytes(content)
            return


def _means_the_same(before: bytes, after: bytes) -> bool:
    """Whether a JSON document is as it was: one kind of white space for another is no damage."""
    try:
        return bool(json.loads(before) == json.loads(after))
    except ValueError:
        return False


def _truncate(file: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content))])


def _delete(file: Path, _chance: random.Random) -> None:
    file.unlink()


HOW: dict[str, Callable[[Path, random.Random], None]] = dict(
    zip(HARMS, (_flip, _truncate, _delete), strict=True)
)
