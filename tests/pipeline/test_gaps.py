"""Fits of rows that lack points: refused, named, and made where that is asked for."""

import io
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from rich.console import Console

from pipeline.analysis.analyse import analyse
from pipeline.analysis.gaps import gaps
from pipeline.analysis.text import print_analysis
from pipeline.folder import Folder
from pipeline.status import Status
from pipeline.store import Store, open_store
from pipeline.study import Study

COUNT = 4  # seeds


@pytest.fixture(scope="module")
def whole(tables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store of the small study, to be copied."""
    path = tmp_path_factory.mktemp("whole") / "data.zarr"
    Study(**tables).run(path)
    return path


@pytest.fixture
def store(tables: dict[str, Any], whole: Path) -> Store:
    copy = Path("copy.zarr").resolve()
    shutil.copytree(whole, copy)
    return open_store(Folder(copy), Study(**tables))


def fail(store: Store, path: str, place: tuple[int, ...], status: Status) -> Store:
    """Let a point have failed: its status says so, and its numbers are gone."""
    root = zarr.open_group(store.place.address, mode="r+", use_consolidated=False)
    array: Any = root[path]
    array[place] = int(status)
    if path == "particles/status":
        numbers: Any = root["particles/w1"]
        numbers[place] = math.nan
    return open_store(store.place, store.study)


def read(store: Store, name: str) -> np.ndarray:
    return np.asarray(store.array(f"analysis/{name}")[...])


def test_a_complete_store_has_no_gaps(store: Store) -> None:
    assert gaps(store) == []
    assert np.isfinite(read(store, "rate")).all()
    assert (read(store, "points_missing") == 0).all()


@pytest.mark.parametrize("status", [Status.PENDING, Status.TIMEOUT])
def test_a_row_that_lacks_a_point_has_no_fit_and_is_named(store: Store, status: Status) -> None:
    whole = read(store, "rate")
    store = fail(store, "particles/status", (1, 2, 3), status)
    analyse(store)
    assert np.isnan(read(store, "rate")[1]).all()
    assert np.isnan(read(store, "rate_local")[1]).all()
    np.testing.assert_array_equal(read(store, "rate")[0], whole[0])
    assert read(store, "points_missing").tolist() == [0, 1]
    [gap] = [gap for gap in gaps(store) if "rate" in gap.fits]
    assert gap.row["activation"] == "tanh"
    assert gap.points == (({"particles": 1000, "seed": 3}, status),)


def test_partial_fits_what_is_there(store: Store) -> None:
    whole = read(store, "rate")
    store = fail(store, "particles/status", (1, 2, 3), Status.ERROR)
    analyse(store, partial=True)
    partial = read(store, "rate")
    assert np.isfinite(partial).all()
    np.testing.assert_array_equal(partial[0], whole[0])
    assert (partial[1] != whole[1]).all()
    assert read(store, "points_missing").tolist() == [0, 1]


def test_a_pde_solution_that_is_missing_touches_the_joint_fit_and_one_floor(store: Store) -> None:
    assert np.isfinite(read(store, "floor")).all()
    place = (0, 1, 0, 2)  # identity, 100 cells, 100 particles, seed 2
    store = fail(store, "particles/status_pde", place, Status.UPSTREAM)
    analyse(store)
    assert np.isfinite(read(store, "rate")).all()
    assert np.isnan(read(store, "floor")[0, 1]).all()
    assert np.isfinite(read(store, "floor")[0, 0]).all()
    assert np.isnan(read(store, "sampling_rate")[0]).all()
    touched = {gap.fits for gap in gaps(store)}
    assert touched == {("joint fit",), ("floor",)}


def test_a_missing_resolution_leaves_no_order(store: Store) -> None:
    store = fail(store, "limit/status", (0, 1), Status.MASS_LOST)
    analyse(store)
    assert np.isnan(read(store, "l1_order")[0]).all()
    assert np.isfinite(read(store, "l1_order")[1, -1])


def test_the_terminal_says_which_fits_lack_what(store: Store) -> None:
    store = fail(store, "particles/status", (1, 2, 3), Status.TIMEOUT)
    analyse(store)
    console = Console(file=io.StringIO(), width=300)
    print_analysis(console, store)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "rate, local rate at activation = tanh: 1 points missing" in text
    assert "particles = 1000, seed = 3: timeout" in text
    assert "--partial" in text


ZIPS: dict[str, dict[str, Any]] = {
    "sizes and cells": {
        "zip": [{"name": "both", "particles": [100, 300, 1000], "cells": [50, 60, 70]}],
        "activation": ["tanh"],
        "seed": {"count": 3},
    },
    "sizes and seeds": {
        "zip": [{"name": "both", "particles": [100, 300, 1000], "seed": [0, 1, 2]}],
        "activation": ["tanh"],
        "cells": [50, 60],
    },
}


@pytest.mark.parametrize("axes", ZIPS.values(), ids=ZIPS)
def test_keys_that_vary_together_have_the_fits_that_make_sense(
    tiny: dict[str, Any], axes: dict[str, Any]
) -> None:
    tiny["axes"] = axes
    study = Study(**tiny)
    analysis = study.run()["analysis"]
    assert np.isfinite(analysis["rate"]).all()
    assert "sampling_rate" not in analysis or "seed" in axes["zip"][0]
    console = Console(file=io.StringIO(), width=300)
    print_analysis(console, open_store(Folder(Path("runs/tiny/data.zarr")), study))
