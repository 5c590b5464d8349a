"""Flipped bytes, missing and truncated files of every kind: verify tells, run mends."""

import copy
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from pipeline.errors import StoreError
from pipeline.folder import Folder
from pipeline.heartbeat import FOLDER, heartbeat, other_drivers
from pipeline.root import root_document, write_root
from pipeline.run import run_stages
from pipeline.session import Summary, open_session, run_folder
from pipeline.study import Study
from pipeline.verify import verify

pytestmark = pytest.mark.usefixtures("no_figures")


def run(document: dict[str, Any], store: str, redo: frozenset[int] = frozenset()) -> Summary:
    study = Study(**copy.deepcopy(document))
    places = run_folder(study, store)
    with open_session(study, places, redo=redo, stream=io.StringIO()) as session:
        return run_stages(session)


def damages(store: str) -> list[str]:
    return [str(damage) for damage in verify(Folder(Path(store)))]


def contents(store: str) -> dict[str, bytes]:
    tree = xr.open_datatree(store, engine="zarr")
    return {
        f"{node.path}/{name}": variable.values.tobytes()
        for node in tree.subtree
        for name, variable in node.variables.items()
        if name not in ("wall_seconds", "activation")
    } | {"activation": str(tree["particles"]["activation"].values).encode()}


KINDS = {
    "chunk": ("particles/w1/c/0/0/0/0", "particles/w1 chunk 0/0/0/0"),
    "field": ("limit/cells_50/density/c/1/0/0", "limit/cells_50/density chunk 1/0/0"),
    "pde": ("particles/w1_pde/c/0/1/0/0/0", "particles/w1_pde chunk 0/1/0/0/0"),
    "coordinate": ("particles/particles/c/0", "particles/particles"),
    "text": ("limit/activation/c/0", "limit/activation"),
    "metadata": ("particles/w1/zarr.json", "particles/w1/zarr.json"),
    "group": ("limit/zarr.json", "limit/zarr.json"),
    "root": ("zarr.json", "root metadata"),
    "backup": (".zarr.json.backup", "root metadata"),
}


@pytest.fixture(scope="module")
def two_seeds(tables: dict[str, Any]) -> dict[str, Any]:
    """A study that is smaller still."""
    return copy.deepcopy(tables) | {"axes": tables["axes"] | {"seed": {"count": 2}}}


@pytest.fixture(scope="module")
def finished(two_seeds: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store, not to be changed."""
    store = tmp_path_factory.mktemp("finished") / "store.zarr"
    run(two_seeds, str(store))
    return store


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["flip", "delete", "cut"])
def test_damage_is_told_and_mended(
    two_seeds: dict[str, Any], finished: Path, kind: str, damage: str
) -> None:
    shutil.copytree(finished, "store.zarr")
    before = contents("store.zarr")
    assert damages("store.zarr") == []
    victim, said = KINDS[kind]
    file = Path("store.zarr") / victim
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    assert any(said in text for text in damages("store.zarr"))
    mended = run(two_seeds, "store.zarr")
    assert mended.exit == 0
    assert (mended.computed > 0) == (kind in ("chunk", "field", "pde"))
    assert damages("store.zarr") == []
    assert contents("store.zarr") == before


@pytest.mark.slow
def test_every_chunk_of_a_training_is_missed_and_mended(tiny: dict[str, Any]) -> None:
    """Also of variables that may hold NaN, and of integers: a missing chunk reads as filled."""
    tiny["study"]["steps"] = ["train", "limit"]
    tiny["problem"] |= {"target": {"kind": "normal", "mean": 1.0, "std": 0.3}, "gamma": 0.1}
    del tiny["problem"]["controls"]
    tiny["axes"] = {"activation": ["tanh"], "cells": [50], "max_iterations": [40, 50]}
    tiny["training"] = {"discretization": "lagrangian", "optimizer": "lbfgs", "intervals": 10}
    run(tiny, "store.zarr")
    chunks = [
        file
        for group in ("train", "limit")
        for file in Path("store.zarr", group).rglob("*")
        if file.is_file() and re.search(r"/c(/0){2,}$", str(file)) and "status" not in file.parts
    ]
    assert {"w", "cost_history", "w1_to_target", "stop_reason", "density"} <= {
        part for file in chunks for part in file.parts
    }
    for file in chunks:
        content = file.read_bytes()
        file.unlink()
        assert len(damages("store.zarr")) == 1, file
        assert run(tiny, "store.zarr").computed == 1, file
        assert damages("store.zarr") == []
        assert "wall_seconds" in file.parts or file.read_bytes() == content


def test_both_roots_gone_is_said(tiny: dict[str, Any]) -> None:
    run(tiny, "store.zarr")
    for name in ("zarr.json", ".zarr.json.backup"):
        file = Path("store.zarr") / name
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(StoreError, match="damaged, and so is its backup"):
        run(tiny, "store.zarr")


def test_variable_that_an_older_version_did_not_write_is_added(tiny: dict[str, Any]) -> None:
    run(tiny, "store.zarr")
    before = contents("store.zarr")
    path = Path("store.zarr")
    document = json.loads((path / "zarr.json").read_text())
    nodes = document["consolidated_metadata"]["metadata"]
    arrays = [n for n, m in nodes.items() if m["node_type"] == "array" and n != "limit/mean"]
    place = Folder(path)
    write_root(place, root_document(place.read, document["attributes"], arrays))
    shutil.rmtree(path / "limit/mean")
    with pytest.raises(StoreError, match="no 'limit/mean'"):
        verify(Folder(path))
    assert run(tiny, "store.zarr").computed == 4
    assert contents("store.zarr") == before


def test_retry_computes_failures_again(tiny: dict[str, Any]) -> None:
    tiny["numerics"]["point_timeout"] = 1e-9
    assert run(tiny, "store.zarr").exit == 1
    tiny["numerics"]["point_timeout"] = 600.0
    assert run(tiny, "store.zarr").computed == 0
    again = run(tiny, "store.zarr", redo=frozenset({6, 7, 8, 9}))
    assert again.computed == 4 + 24
    assert again.exit == 0


def test_growth_is_refused_while_another_driver_works(tiny: dict[str, Any]) -> None:
    run(tiny, "store.zarr")
    sign = Path("store.zarr") / FOLDER / "elsewhere-1.json"
    sign.parent.mkdir(exist_ok=True)
    import time

    content = {"host": "elsewhere", "pid": 1, "started": 0.0, "time": time.time()}
    sign.write_text(json.dumps(content))
    assert run(tiny, "store.zarr").exit == 0  # an equal grid is welcome
    grown = copy.deepcopy(tiny)
    grown["axes"]["cells"] = [50, 100, 200]
    refusal = r"cells = .*200.* another run .*elsewhere \(pid 1, seen \d s ago\)"
    with pytest.raises(StoreError, match=refusal):
        run(grown, "store.zarr")
    assert contents("store.zarr")
    sign.write_text(json.dumps(content | {"time": time.time() - 61}))
    assert run(grown, "store.zarr").exit == 0
    assert not sign.exists()


def test_heartbeat_of_a_dead_process_does_not_count(tmp_path: Path) -> None:
    with heartbeat(Folder(tmp_path)):
        (sign,) = (tmp_path / FOLDER).glob("*.json")
        content = json.loads(sign.read_text())
        other = sign.with_name("dead.json")
        other.write_text(json.dumps(content | {"pid": content["pid"] + 1, "started": 1.0}))
        assert other_drivers(Folder(tmp_path)) == []
    assert list((tmp_path / FOLDER).iterdir()) == []
