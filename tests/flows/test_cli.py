"""The command line as a user meets it: exit status, one line for bad input, kill and resume."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.study import Study

STUDY = """
[study]
name = "small"
[problem]
horizon = 0.5
initial = { kind = "normal", mean = 0.0, std = 0.3 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["identity", "tanh"]
cells = [50]
particles = [100, 1000]
seed = { count = 3 }
"""
# Enough work that a kill at a random moment finds it unfinished.
LONG = STUDY.replace('"small"', '"long"').replace("[100, 1000]", "[1000, 3000, 30000, 100000]")
LONG = LONG.replace("count = 3", "count = 24")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_direct_run_ends_with_a_table(place: Any, study: Path) -> None:
    status, out, err = place.run("run", "study.toml", "--direct")
    assert status == 0, err
    for word in ("rate", "identity", "tanh", "expected", "core-seconds", "12 of 12 points done"):
        assert word in out
    assert (place.folder / "runs/small/w1-against-m.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = place.run("run", "study.toml", "--direct", "--json")
    summary = json.loads(out)
    assert summary["schema"] == 1
    assert summary["computed"] == 0
    assert summary["exit"] == status == 0
    assert summary["points"]["particles"] == {"total": 12, "done": 12, "pending": 0, "failed": {}}


def test_run_through_prefect_is_quiet_and_leaves_nothing(place: Any, study: Path) -> None:
    status, out, err = place.run("run", "study.toml", "--json")
    assert status == 0, err
    assert json.loads(out)["computed"] == 14
    assert "refect" not in err
    assert place.left() == set()


def test_verbs_on_a_store(place: Any, study: Path) -> None:
    store = "runs/small/data.zarr"
    Study.load(study).run(place.folder / store)
    facts = json.loads(place.call("status", store, "--json")[1])
    assert facts["points"]["limit"]["done"] == 2
    records = json.loads(place.call("analyse", store, "--json")[1])["rates"]
    assert [r["snapshot"] for r in records] == [0.0, 0.5] * 2
    assert all(r["rate_low"] <= r["rate"] <= r["rate_high"] for r in records)
    assert all(r["rate_expected"] == -0.5 and r["prefactor_expected"] > 0 for r in records)
    status, out, _ = place.call("analyse", store)
    assert status == 0
    assert "rate" in out
    point = ("point", store, "particles", "particles=100")
    found = json.loads(place.call(*point, "activation=tanh", "seed=1", "--json")[1])
    assert found["differs"] == []
    tree = xr.open_datatree(place.folder / store)
    stored = tree["particles"]["w1"].sel(activation="tanh", particles=100, seed=1).values
    assert np.array_equal(found["outputs"]["w1"], stored)
    for bad in (["seed=77"], ["sed=1"], ["activation"], []):
        assert_refused(place.call(*point, *bad))
    status, out, _ = place.call("plan", "study.toml")
    assert status == 0
    assert "core-hours" in out
    dry = json.loads(place.call("run", "study.toml", "--dry-run", "--json")[1])
    assert dry["points"]["limit"]["pending"] == 0


def test_init_writes_a_study_that_runs(place: Any) -> None:
    for source in ("quickstart", "real-data"):
        assert place.call("init", f"my-{source}", "--from", source)[0] == 0
        plan = place.call("plan", f"my-{source}.toml", "--json")[1]
        assert json.loads(plan)["study"] == f"my-{source}"
    assert_refused(place.call("init", "my-quickstart"))
    assert_refused(place.call("init", "../x"))
    assert_refused(place.call("init", "x", "--from", "quickstrat"), "quickstart")


def test_a_study_that_ships_is_known_by_its_name(place: Any) -> None:
    assert json.loads(place.call("plan", "quickstart", "--json")[1])["study"] == "quickstart"
    assert_refused(place.call("plan", "quickstrat"), "quickstrat", "quickstart")


def assert_refused(result: tuple[int, str, str], *said: str) -> None:
    status, _, err = result
    assert status == 2, err
    assert len(err.strip().splitlines()) == 1, err
    for text in said:
        assert text in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "none.toml"], "none.toml"),
        (["run", "study.toml", "-s", "axes.cells=[]"], "axes.cells"),
        (["run", "study.toml", "-s", "study.name='../../x'"], "study.name"),
        (["run", "study.toml", "--store", "../outside.zarr"], "--store"),
        (["run", "study.toml", "--store", "."], "--store"),
        (["run", "study.toml", "--store", "study.toml"], "study.toml"),
        (["run", "study.toml", "--store", "folder"], "folder"),
        (["run", "study.toml", "--store", "ftp://host/x"], "ftp"),
        (["run", "study.toml", "--store", "study.toml/x.zarr"], "not a folder"),
        (["run", "study.toml", "--cluster", "moon"], "moon"),
        (["run", "study.toml", "--cluster", "tcp://"], "tcp://"),
        (["run", "study.toml", "--cluster", "tls://127.0.0.1:99999"], "99999"),
        (["run", "study.toml", "--store", "x" * 300], "xxx"),
        (["run", "study.toml", "--workers", "0"], "--workers"),
        (["run", "study.toml", "--max-time", "soon"], "--max-time"),
        (["run"], "study"),
        (["fly"], "fly"),
        ([], "VERB"),
        (["status", "nowhere.zarr"], "nowhere.zarr"),
        (["analyse", "folder"], "folder"),
        (["point", "folder", "limit", "cells=3"], "folder"),
        (["status", "ftp://host/x"], "meanfield: ftp://host/x: not a place for a store"),
        (["run", "study.toml", "--store", "ftp://host/x"], "--store ftp://host/x"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(
    place: Any, study: Path, arguments: list[str], said: str
) -> None:
    (place.folder / "folder").mkdir()
    (place.folder / "folder" / "mine.txt").write_text("mine")
    before = listing(place.folder)
    assert_refused(place.call(*arguments), said)
    assert listing(place.folder) == before


@pytest.mark.slow
def test_stores_of_one_study_do_not_share_a_folder(place: Any, study: Path) -> None:
    for store in ("one.zarr", "two"):
        status, out, err = place.run("run", "study.toml", "--direct", "--store", store)
        assert status == 0, err
        record = json.loads((place.folder / f"{store}.run" / "run.json").read_text())
        assert record["store"] == store
        assert f"{store}.run" in out
    assert place.run("retry", "one.zarr", "--direct")[0] == 0
    assert study.read_text() == STUDY
    record = json.loads((place.folder / "two.run" / "run.json").read_text())
    assert record["store"] == "two"
    names = {path.name for path in place.folder.iterdir()}
    assert names == {"study.toml", "one.zarr", "one.zarr.run", "two", "two.run"}


def test_place_of_the_prefect_server_that_is_a_file(place: Any, study: Path) -> None:
    (place.folder / "runs").mkdir()
    (place.folder / "runs/.prefect").write_text("mine")
    before = listing(place.folder)
    assert_refused(place.run("run", "study.toml"), "runs/.prefect", "--direct")
    assert listing(place.folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_place(place: Any, study: Path) -> None:
    (place.folder / "locked").mkdir(mode=0o500)
    assert_refused(place.call("run", "study.toml", "--store", "locked/x.zarr"))


def test_shadowing_package_is_named(tmp_path: Path, study: Path) -> None:
    (tmp_path / "solvers").mkdir()
    (tmp_path / "solvers" / "__init__.py").write_text("")
    code = "import flows.cli, sys; sys.path.insert(0, '.'); sys.exit(flows.cli.main())"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", "study.toml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "shadowed" in result.stderr
    assert str(tmp_path / "solvers") in result.stderr


def done_points(folder: Path) -> int:
    try:
        tree = xr.open_datatree(folder / "runs/long/data.zarr")
        return int((tree["limit"]["status"] == 1).sum() + (tree["particles"]["status"] == 1).sum())
    except (OSError, KeyError, ValueError):
        return 0


def start_long(place: Any, seeds: int, *arguments: str) -> subprocess.Popen[str]:
    """Start a run that lasts."""
    text = LONG.replace("count = 24", f"count = {seeds}")
    (place.folder / "study.toml").write_text(text)
    driver: subprocess.Popen[str] = place.start("run", "study.toml", *arguments)
    return driver


def wait_for_some(place: Any) -> None:
    """Wait until a run has computed some points."""
    deadline = time.monotonic() + 90
    while done_points(place.folder) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.slow
def test_killed_five_times_then_completed(place: Any) -> None:
    """kill -9 of the driver's group at random moments: only what was lost is computed again."""
    moments = random.Random(5)
    for number in range(5):
        driver = start_long(place, 24, *(["--direct"] if number % 2 else []))
        time.sleep(moments.uniform(1.0, 9.0))
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        assert place.left() == set()
    committed = done_points(place.folder)
    total = 2 + 2 * 4 * 24
    status, out, err = place.run("run", "study.toml", "--json")
    assert status == 0, err
    summary = json.loads(out)
    assert summary["computed"] == total - committed
    assert summary["points"]["particles"]["done"] == total - 2
    assert place.left() == set()
    assert list(place.folder.rglob("*.partial")) == []
    assert place.run("run", "study.toml", "--direct", "--store", "fresh.zarr")[0] == 0
    resumed, fresh = (
        xr.open_datatree(place.folder / name) for name in ("runs/long/data.zarr", "fresh.zarr")
    )
    for name in ("w1", "w1_pde", "mean", "status", "status_pde", "dobrushin_ratio"):
        a, b = resumed["particles"][name].values, fresh["particles"][name].values
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("direct", [pytest.param(True, marks=pytest.mark.slow), False])
def test_nothing_outlives_a_driver_that_is_killed_alone(place: Any, direct: bool) -> None:
    driver = start_long(place, 400, *(["--direct"] if direct else []))
    wait_for_some(place)
    assert len(place.processes()) >= 4
    driver.kill()
    driver.wait()
    assert place.left() == set()


@pytest.mark.parametrize(
    ("number", "direct"),
    [
        pytest.param(signal.SIGINT, True, marks=pytest.mark.slow),
        (signal.SIGTERM, False),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.slow),
    ],
)
def test_interrupted_run_ends_cleanly(place: Any, number: int, direct: bool) -> None:
    driver = start_long(place, 200, *(["--direct"] if direct else []))
    wait_for_some(place)
    driver.send_signal(number)
    status, _, err = place.end(driver)
    assert status == 128 + number, err
    assert "goes on" in err
    assert place.left() == set()
    record = json.loads((place.folder / "runs/long/run.json").read_text())
    assert record["exit"] == 128 + number
    assert record["points"]["particles"]["pending"] > 0


@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGINT, 0.6), (signal.SIGTERM, 1.5)])
def test_interrupted_start_is_one_line(place: Any, number: int, seconds: float) -> None:
    driver = start_long(place, 200, "--direct")
    time.sleep(seconds)
    driver.send_signal(number)
    status, _, err = place.end(driver)
    assert status == 128 + number, err


@pytest.mark.slow
def test_max_time_stops_cleanly(place: Any) -> None:
    driver = start_long(place, 400, "--direct", "--max-time", "4s")
    status, _, err = place.end(driver)
    assert status == 1
    assert "goes on" in err
