"""Deployments of studies: what a server shows of them, and what becomes of their runs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.cli import _parser
from flows.serve import serve
from flows.server import EphemeralServer
from pipeline.heartbeat import heartbeat
from pipeline.place import place_of
from solvers.errors import MeanfieldError
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

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


def meanfield(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env=clean | {"PREFECT_HOME": str(folder / "home")} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def until(what: Callable[[], Any], seconds: float = 300.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)
    return found


@contextlib.contextmanager
def serving(folder: Path, server: EphemeralServer) -> Iterator[subprocess.Popen[str]]:
    """The process that serves a study in a folder."""
    (folder / "study.toml").write_text(STUDY)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "flows.cli", "serve", "study.toml", "--cron", "0 2 * * *"),
            *("--timezone", "Europe/Paris", "--workers", "1", "--max-time", "10m"),
        ],
        cwd=folder,
        env=os.environ | {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(folder / "home")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("serving sweep/Small_1 at '0 2 * * *'")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, server: EphemeralServer
) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A folder with a study, and the process that serves it."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, server) as process:
        yield folder, process


def deployment(server: EphemeralServer) -> Any:
    return until(lambda: ask(server, "/deployments/filter"))[0]


def start(server: EphemeralServer, **parameters: Any) -> str:
    """Start a run of the deployment."""
    path = f"/deployments/{deployment(server)['id']}/create_flow_run"
    made = ask(server, path, parameters=parameters, state={"type": "SCHEDULED"})
    return str(made["id"])


def end(server: EphemeralServer, identity: str) -> Any:
    """What became of a run."""

    def ended() -> Any:
        (found,) = ask(server, "/flow_runs/filter", flow_runs={"id": {"any_": [identity]}})
        return found if found["state"]["type"] in FINAL else None

    return until(ended)


def run(server: EphemeralServer, **parameters: Any) -> Any:
    """Start a run of the deployment; what became of it."""
    return end(server, start(server, **parameters))


def test_deployment_as_the_server_shows_it(
    served: tuple[Path, subprocess.Popen[str]], server: EphemeralServer
) -> None:
    folder, _ = served
    found = deployment(server)
    assert found["name"] == "Small_1"
    assert found["entrypoint"] == "flows.sweep.sweep"
    assert found["tags"] == ["meanfield", "Small_1"]
    assert found["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
    assert found["schedules"][0]["schedule"]["timezone"] == "Europe/Paris"
    assert found["parameters"]["study"] == str(folder / "study.toml")
    assert found["parameters"]["store"] == str(folder / "runs/Small_1/data.zarr")
    schema = found["parameter_openapi_schema"]["properties"]
    assert set(found["parameters"]) == set(schema) - {"driver"}
    assert all(parameter["description"] for parameter in schema.values())
    assert schema["retry"]["enum"] == ["none", "failed", "all"]
    assert found["enforce_parameter_schema"]


def test_run_of_a_deployment(
    served: tuple[Path, subprocess.Popen[str]], server: EphemeralServer
) -> None:
    folder, _ = served
    found = run(server)
    assert (found["state"]["type"], found["state"]["name"]) == ("COMPLETED", "Completed")
    assert json.loads((folder / "runs/Small_1/run.json").read_text())["computed"] == 1 + 6
    names = {"plan limit", "limit 1 of 1", "particles 1 of 1"}
    until(lambda: names <= {task["name"] for task in ask(server, "/task_runs/filter")}, 30)
    assert len(ask(server, "/task_runs/filter")) <= 20
    shown = {artifact["key"]: artifact for artifact in ask(server, "/artifacts/filter")}
    kinds = {key.rpartition("-")[0]: artifact for key, artifact in shown.items()}
    assert set(kinds) == {
        "rates-small-1", "failures-small-1", "report-small-1",
        "progress-limit-small-1", "progress-particles-small-1",
    }  # fmt: skip
    assert len({key.rpartition("-")[2] for key in shown}) == 1  # by the store
    assert float(kinds["progress-particles-small-1"]["data"]) == 100.0
    page = folder / "runs/Small_1/report/index.html"
    assert page.as_uri() in kinds["report-small-1"]["data"]
    assert page.is_file()
    assert "0 failed points" in kinds["failures-small-1"]["data"]


def test_one_run_per_store(
    served: tuple[Path, subprocess.Popen[str]], server: EphemeralServer
) -> None:
    folder, _ = served
    store = folder / "busy.zarr"
    store.mkdir()
    with heartbeat(place_of(store)):
        found = run(server, store=str(store))
    assert (found["state"]["type"], found["state"]["name"]) == ("CANCELLED", "Skipped")
    assert f"pid {os.getpid()}" in found["state"]["message"]
    assert not (store / "zarr.json").exists()


def test_parameters_are_checked_by_the_server(
    served: tuple[Path, subprocess.Popen[str]], server: EphemeralServer
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        run(server, retry="sometimes")
    assert b"retry" in refused.value.read() or refused.value.code == 409


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "serve needs a Prefect server that stays"),
        (["quickstrat"], "did you mean 'quickstart'"),
        (["study.toml", "study.toml"], "'Small_1' stands for another study"),
        (["--store", "s.zarr", "study.toml", "quickstart"], "one study with --store"),
        (["-s", "axes.cell=[1]"], "cells"),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    with pytest.raises(MeanfieldError, match=message):
        serve(_parser().parse_args(["serve", *arguments]))


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    result = meanfield(tmp_path, "serve", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "no Prefect server answers there" in result.stderr


@pytest.mark.slow
def test_a_schedule_that_is_none_is_refused(tmp_path: Path, server: EphemeralServer) -> None:
    result = meanfield(tmp_path, "serve", "--cron", "at night", PREFECT_API_URL=server.url)
    assert result.returncode == 2
    assert "--cron 'at night'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_run_in_flight_stops_cleanly_with_its_server(
    tmp_path: Path, server: EphemeralServer
) -> None:
    """As at every restart of a service or a container."""
    with serving(tmp_path, server) as process:
        long = ["axes.seed={ count = 500 }", "axes.particles=[100000]"]
        identity = start(server, overrides=long)
        store = tmp_path / "runs/Small_1/data.zarr"
        until(lambda: any(store.glob("particles/status/c/**/*")))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert end(server, identity)["state"]["type"] == "CANCELLED"
        record = json.loads((tmp_path / "runs/Small_1/run.json").read_text())
        assert record["exit"] == 128 + signal.SIGTERM
        assert record["points"]["particles"]["pending"] > 0
