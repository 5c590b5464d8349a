"""The flow on a Prefect server of the user's: runs, task runs, the artifact, crashed drivers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.server import EphemeralServer
from tests.services.prefect import ask

STUDY = """
[study]
name = "Small_1"
[problem]
horizon = 0.5
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["tanh"]
cells = [50]
particles = [100, 1000]
seed = { count = 3 }
"""


def command(folder: Path, server: EphemeralServer, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", "study.toml", *arguments],
        cwd=folder,
        env=os.environ | {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_run_shows_on_the_users_server(tmp_path: Path, server: EphemeralServer) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    process = command(tmp_path, server, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["computed"] == 1 + 6
    assert not (tmp_path / "runs/.prefect").exists()
    (run,) = ask(server, "/flow_runs/filter")
    assert run["state"]["type"] == "COMPLETED"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        tasks = {task["name"] for task in ask(server, "/task_runs/filter")}
        if {"plan limit", "limit 1 of 1", "plan particles", "particles 1 of 1"} <= tasks:
            break
        time.sleep(0.5)
    assert {"plan limit", "limit 1 of 1", "plan particles", "particles 1 of 1"} <= tasks
    shown = {found["key"].rpartition("-")[0]: found for found in ask(server, "/artifacts/filter")}
    assert "0 failed points" in shown["failures-small-1"]["data"]
    assert float(shown["progress-particles-small-1"]["data"]) == 100.0
    artifact = shown["rates-small-1"]
    rows = json.loads(artifact["data"])
    assert [row["activation"] for row in rows] == ["tanh", "tanh"]
    assert all("[" in row["rate [95 % CI]"] for row in rows)


@pytest.mark.slow
def test_flow_run_of_a_dead_driver_is_marked(tmp_path: Path, server: EphemeralServer) -> None:
    (tmp_path / "study.toml").write_text(STUDY.replace("count = 3", "count = 3000"))
    process = command(tmp_path, server)
    deadline = time.monotonic() + 60
    while not running(server) and time.monotonic() < deadline:
        time.sleep(0.2)
    names = running(server)
    assert len(names) == 1
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = command(tmp_path, server, "--max-time", "1s")
    _, err = again.communicate(timeout=120)
    assert f"the flow run {names[0]} of a driver that died is marked as crashed" in err
    states = {run["name"]: run["state"]["type"] for run in ask(server, "/flow_runs/filter")}
    assert states[names[0]] == "CRASHED"


def running(server: EphemeralServer) -> list[str]:
    runs = ask(server, "/flow_runs/filter")
    return [run["name"] for run in runs if run["state"]["type"] == "RUNNING"]


@pytest.mark.slow
def test_server_out_of_reach_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    result = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "study.toml"],
        cwd=tmp_path,
        env=os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 2
    assert "http://127.0.0.1:9/api" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
