"""The command line as a user meets it: exit status, one line for bad input, kill and resume."""

import contextlib
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
import psutil
import pytest
import xarray as xr

MARK = "MEANFIELD_TEST_FOLDER"

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


def meanfield(*arguments: str, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {MARK: str(cwd)} | kwargs.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **kwargs,
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_direct_run_ends_with_a_table(tmp_path: Path, study: Path) -> None:
    result = meanfield("run", "study.toml", "--direct", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    for word in ("rate", "identity", "tanh", "expected", "core-seconds", "12 of 12 points done"):
        assert word in result.stdout
    assert (tmp_path / "runs/small/w1-against-m.png").read_bytes().startswith(b"\x89PNG")
    again = meanfield("run", "study.toml", "--direct", "--json", cwd=tmp_path)
    summary = json.loads(again.stdout)
    assert summary["schema"] == 1
    assert summary["computed"] == 0
    assert summary["exit"] == again.returncode == 0
    assert summary["points"]["particles"] == {"total": 12, "done": 12, "pending": 0, "failed": {}}


def test_run_through_prefect_is_quiet_and_leaves_nothing(tmp_path: Path, study: Path) -> None:
    result = meanfield("run", "study.toml", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["computed"] == 14
    assert "refect" not in result.stderr
    assert "Traceback" not in result.stderr
    assert wait_gone(tmp_path) == set()


def test_verbs_on_a_store(tmp_path: Path, study: Path) -> None:
    store = "runs/small/data.zarr"
    assert meanfield("run", "study.toml", "--direct", cwd=tmp_path).returncode == 0
    status = meanfield("status", store, "--json", cwd=tmp_path)
    assert json.loads(status.stdout)["points"]["limit"]["done"] == 2
    records = json.loads(meanfield("analyse", store, "--json", cwd=tmp_path).stdout)["rates"]
    assert [r["snapshot"] for r in records] == [0.0, 0.5] * 2
    assert all(r["rate_low"] <= r["rate"] <= r["rate_high"] for r in records)
    assert all(r["rate_expected"] == -0.5 and r["prefactor_expected"] > 0 for r in records)
    rates = meanfield("analyse", store, cwd=tmp_path)
    assert rates.returncode == 0
    assert "rate" in rates.stdout
    point = meanfield(
        "point", store, "particles", "activation=tanh", "particles=100", "seed=1", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(point.stdout)
    assert found["differs"] == []
    tree = xr.open_datatree(tmp_path / store)
    stored = tree["particles"]["w1"].sel(activation="tanh", particles=100, seed=1).values
    assert np.array_equal(found["outputs"]["w1"], stored)
    for bad in (["seed=77"], ["sed=1"], ["activation"], []):
        result = meanfield("point", store, "particles", "particles=100", *bad, cwd=tmp_path)
        assert_refused(result)
    plan = meanfield("plan", "study.toml", cwd=tmp_path)
    assert plan.returncode == 0
    assert "core-hours" in plan.stdout
    dry = meanfield("run", "study.toml", "--dry-run", "--json", cwd=tmp_path)
    assert json.loads(dry.stdout)["points"]["limit"]["pending"] == 0


def test_init_writes_a_study_that_runs(tmp_path: Path) -> None:
    for source in ("quickstart", "real-data"):
        assert meanfield("init", f"my-{source}", "--from", source, cwd=tmp_path).returncode == 0
        plan = meanfield("plan", f"my-{source}.toml", "--json", cwd=tmp_path)
        assert json.loads(plan.stdout)["study"] == f"my-{source}"
    assert_refused(meanfield("init", "my-quickstart", cwd=tmp_path))
    assert_refused(meanfield("init", "../x", cwd=tmp_path))
    assert_refused(meanfield("init", "x", "--from", "quickstrat", cwd=tmp_path), "quickstart")


def assert_refused(result: subprocess.CompletedProcess[str], *said: str) -> None:
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for text in said:
        assert text in result.stderr


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
    tmp_path: Path, study: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    before = listing(tmp_path)
    assert_refused(meanfield(*arguments, cwd=tmp_path), said)
    assert listing(tmp_path) == before


def test_stores_of_one_study_do_not_share_a_folder(tmp_path: Path, study: Path) -> None:
    for store in ("one.zarr", "two"):
        result = meanfield("run", "study.toml", "--direct", "--store", store, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        record = json.loads((tmp_path / f"{store}.run" / "run.json").read_text())
        assert record["store"] == store
        assert f"{store}.run" in result.stdout
    assert meanfield("retry", "one.zarr", "--direct", cwd=tmp_path).returncode == 0
    assert study.read_text() == STUDY
    record = json.loads((tmp_path / "two.run" / "run.json").read_text())
    assert record["store"] == "two"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"study.toml", "one.zarr", "one.zarr.run", "two", "two.run"}


def test_place_of_the_prefect_server_that_is_a_file(tmp_path: Path, study: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/.prefect").write_text("mine")
    before = listing(tmp_path)
    assert_refused(meanfield("run", "study.toml", cwd=tmp_path), "runs/.prefect", "--direct")
    assert listing(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_place(tmp_path: Path, study: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(meanfield("run", "study.toml", "--store", "locked/x.zarr", cwd=tmp_path))


def test_shadowing_package_is_named(tmp_path: Path, study: Path) -> None:
    (tmp_path / "solvers").mkdir()
    (tmp_path / "solvers" / "__init__.py").write_text("")
    code = "import flows.cli, sys; sys.path.insert(0, '.'); sys.exit(flows.cli.main())"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", "study.toml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert_refused(result, "shadowed", str(tmp_path / "solvers"))


def ours(folder: Path) -> set[int]:
    """Processes that descend from a command started in a folder: all inherit its mark."""
    found = set()
    for process in psutil.process_iter(["pid"]):
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder) and process.status() != "zombie":
                found.add(process.pid)
    return found


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", "study.toml", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {MARK: str(folder)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # off in background jobs
    )  # fmt: skip


def wait_gone(folder: Path, seconds: float = 15.0) -> set[int]:
    deadline = time.monotonic() + seconds
    while (left := ours(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def done_points(folder: Path) -> int:
    try:
        tree = xr.open_datatree(folder / "runs/long/data.zarr")
        return int((tree["limit"]["status"] == 1).sum() + (tree["particles"]["status"] == 1).sum())
    except (OSError, KeyError, ValueError):
        return 0


@pytest.mark.slow
def test_killed_five_times_then_completed(tmp_path: Path) -> None:
    """kill -9 of the driver's group at random moments: only what was lost is computed again."""
    (tmp_path / "study.toml").write_text(LONG)
    moments = random.Random(5)
    for number in range(5):
        driver = start(tmp_path, *(["--direct"] if number % 2 else []))
        time.sleep(moments.uniform(1.0, 9.0))
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        assert wait_gone(tmp_path) == set()
    committed = done_points(tmp_path)
    total = 2 + 2 * 4 * 24
    result = meanfield("run", "study.toml", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["computed"] == total - committed
    assert summary["points"]["particles"]["done"] == total - 2
    assert wait_gone(tmp_path) == set()
    assert list(tmp_path.rglob("*.partial")) == []
    fresh = meanfield("run", "study.toml", "--direct", "--store", "fresh.zarr", cwd=tmp_path)
    assert fresh.returncode == 0
    ours_, theirs = (
        xr.open_datatree(tmp_path / name) for name in ("runs/long/data.zarr", "fresh.zarr")
    )
    for name in ("w1", "w1_pde", "mean", "status", "status_pde", "dobrushin_ratio"):
        a, b = ours_["particles"][name].values, theirs["particles"][name].values
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("direct", [True, False])
def test_nothing_outlives_a_driver_that_is_killed_alone(tmp_path: Path, direct: bool) -> None:
    (tmp_path / "study.toml").write_text(LONG.replace("count = 24", "count = 400"))
    driver = start(tmp_path, *(["--direct"] if direct else []))
    deadline = time.monotonic() + 90
    while done_points(tmp_path) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(ours(tmp_path)) >= 4
    driver.kill()
    driver.wait()
    assert wait_gone(tmp_path) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("direct", [True, False])
def test_interrupted_run_ends_cleanly(tmp_path: Path, number: int, direct: bool) -> None:
    (tmp_path / "study.toml").write_text(LONG.replace("count = 24", "count = 200"))
    driver = start(tmp_path, *(["--direct"] if direct else []))
    deadline = time.monotonic() + 90
    while done_points(tmp_path) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    driver.send_signal(number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 128 + number, err
    assert "Traceback" not in err + out
    assert "goes on" in err
    assert wait_gone(tmp_path) == set()
    record = json.loads((tmp_path / "runs/long/run.json").read_text())
    assert record["exit"] == 128 + number
    assert record["points"]["particles"]["pending"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.6, 1.5])
def test_interrupted_start_is_one_line(tmp_path: Path, number: int, seconds: float) -> None:
    (tmp_path / "study.toml").write_text(LONG.replace("count = 24", "count = 200"))
    driver = start(tmp_path, "--direct")
    time.sleep(seconds)
    driver.send_signal(number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 128 + number, err
    assert "Traceback" not in err + out


def test_max_time_stops_cleanly(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(LONG.replace("count = 24", "count = 400"))
    result = meanfield("run", "study.toml", "--direct", "--max-time", "4s", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "goes on" in result.stderr
