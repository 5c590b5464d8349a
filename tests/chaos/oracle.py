"""What a store holds, seen without our code: plain xarray, Zarr and the files."""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

NOT_REPRODUCIBLE = {"wall_seconds"}
OF_THE_RUN = {"created", "host", "digest"}  # of the root; the digest covers the other two


def differences(store: Path, other: Path) -> list[str]:
    """In what two stores differ that must not: every variable, coordinate and attribute counts."""
    found = []
    with (
        xr.open_datatree(store, engine="zarr") as left,
        xr.open_datatree(other, engine="zarr") as right,
    ):
        if {node.path for node in left.subtree} != {node.path for node in right.subtree}:
            return ["groups"]
        for node in left.subtree:
            twin = right[node.path]
            if _plain(node.attrs) != _plain(twin.attrs):
                found.append(f"attributes of {node.path}")
            if set(node.variables) != set(twin.variables):
                found.append(f"variables of {node.path}")
                continue
            for name, variable in node.variables.items():
                if name not in NOT_REPRODUCIBLE and not _same(variable, twin.variables[name]):
                    found.append(f"{node.path}/{name}")
    return found


def _plain(attributes: Any) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in OF_THE_RUN}


def _same(one: Any, other: Any) -> bool:
    if one.dims != other.dims or one.attrs != other.attrs or one.shape != other.shape:
        return False
    a, b = one.values, other.values
    if a.dtype.kind in "OTU":
        return bool((a == b).all())
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def points(store: Path) -> dict[str, dict[str, int]]:
    """How many points of each step are done and pending, by every status that they have."""
    with xr.open_datatree(store, engine="zarr") as tree:
        particles = tree["particles/status"]
        against_pde = tree["particles/status_pde"]
        pending = {
            "train": (tree["train/status"] == 0).values,
            "limit": (tree["limit/status"] == 0).values,
            "particles": ((particles == 0) | (against_pde == 0).any("cells")).values,
        }
        return {
            step: {"done": int((~mask).sum()), "pending": int(mask.sum())}
            for step, mask in pending.items()
        }


def arrays(store: Path) -> dict[str, dict[str, Any]]:
    """The metadata of every array, by its path."""
    found = {}
    for file in sorted(store.rglob("zarr.json")):
        document = json.loads(file.read_text())
        if document["node_type"] == "array":
            found[file.parent.relative_to(store).as_posix()] = document
    return found


def chunk_places(array: dict[str, Any]) -> Iterator[tuple[int, ...]]:
    """The positions of all chunks of an array."""
    shape, lengths = array["shape"], array["chunk_grid"]["configuration"]["chunk_shape"]
    return itertools.product(
        *(range(math.ceil(n / c)) for n, c in zip(shape, lengths, strict=True))
    )


def missing_analysis(store: Path) -> set[tuple[str, tuple[int, ...] | None, str]]:
    """Chunks of the analysis that are not there."""
    return {
        (path, place, "missing")
        for path, array in arrays(store).items()
        if path.startswith("analysis/") and len(array["shape"]) > 1
        for place in chunk_places(array)
        if not (store / path / "c" / "/".join(map(str, place))).is_file()
    }


def points_of_chunk(store: Path, path: str, place: tuple[int, ...]) -> int:
    """How many points of its step have a number in a chunk."""
    known = arrays(store)
    array, status = known[path], known[f"{path.split('/')[0]}/status"]
    lengths = array["chunk_grid"]["configuration"]["chunk_shape"]
    extent = {
        name: min((i + 1) * length, size) - i * length
        for name, i, length, size in zip(
            array["dimension_names"], place, lengths, array["shape"], strict=True
        )
    }
    return int(np.prod([extent.get(name, 1) for name in status["dimension_names"]]))
