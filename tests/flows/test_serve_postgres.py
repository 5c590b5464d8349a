"""A schedule on a real Prefect server with PostgreSQL, and a server that dies under a run."""

import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.services.guard import Daemons, service
from tests.services.place import Place
from tests.services.ports import free_ports
from tests.services.postgres import Postgres

pytestmark = pytest.mark.cluster

STUDY = """
[study]
name = "nightly"
[problem]
horizon = 1.0
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["identity", "tanh"]
cells = [50]
particles = [1000, 3000, 30000, 100000]
seed = { count = 24 }
"""
POINTS = 2 + 2 * 4 * 24
AWAY = 60.0


class PrefectServer:
    """A server of Prefect as an operator starts it."""

    def __init__(self, daemons: Daemons, database: str) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}/api"
        self.pid = 0
        self._daemons = daemons
        self._port = port
        self._settings = {
            "PREFECT_HOME": str(daemons.folder / "home"),
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        variables = [f"{key}={value}" for key, value in self._settings.items()]
        self.pid = self._daemons.start(
            "prefect", "env", *variables, sys.executable, "-m", "prefect", "server", "start",
            "--host", "127.0.0.1", "--port", str(self._port),
        )  # fmt: skip
        self._daemons.wait_until(self._answers, "answering", 240)

    def kill(self) -> None:
        """End it as a crash would."""
        self._daemons.end("prefect", signal.SIGKILL)

    def ask(self, path: str, **body: Any) -> Any:
        """Ask its API."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False


@pytest.fixture
def server(running_postgres: Postgres) -> Iterator[PrefectServer]:
    with service("prefect") as daemons:
        server = PrefectServer(daemons, running_postgres.prefect_url)
        server.start()
        yield server


@pytest.fixture
def place(server: PrefectServer) -> Iterator[Place]:
    """A folder with the study; what is started in it ends with the test."""
    with service("serve") as daemons:
        (daemons.folder / "study.toml").write_text(STUDY)
        yield Place(
            daemons.folder,
            {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(daemons.folder / "home")},
        )


def until(what: Callable[[], Any], seconds: float = 300.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
    return found


def states(server: PrefectServer) -> list[str]:
    return [run["state"]["type"] for run in server.ask("/flow_runs/filter")]


def done(place: Place) -> int:
    _, facts, _ = place.meanfield("status", "runs/nightly/data.zarr")
    return int(facts["points"]["particles"]["done"])


def test_schedule_fires_and_the_run_survives_the_server(
    server: PrefectServer, place: Place
) -> None:
    serving = place.start(
        "serve", "flows.cli", "serve", "study.toml", "--cron", "* * * * *", "--workers", "1"
    )
    try:
        until(lambda: "RUNNING" in states(server))
        until(lambda: any(place.folder.glob("runs/nightly/data.zarr/particles/status/c/**/[0-9]")))
        server.kill()
        before = done(place)
        assert before < POINTS - 2  # else the server died too late to be missed
        time.sleep(AWAY)
        server.start()
        until(lambda: "COMPLETED" in states(server))
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait(60)
    assert done(place) == POINTS - 2
    record = json.loads((place.folder / "runs/nightly/run.json").read_text())
    assert record["computed"] == POINTS  # by the one run that the server was away from
    completed = next(
        run for run in server.ask("/flow_runs/filter") if run["state"]["type"] == "COMPLETED"
    )
    assert completed["auto_scheduled"]
    ours = {"id": {"any_": [completed["id"]]}}
    tasks = server.ask("/task_runs/filter", flow_runs=ours)
    names = {task["name"] for task in tasks}
    assert {"plan limit", "limit 1 of 1", "plan particles"} <= names
    assert any(name.startswith("particles 1 of ") for name in names)
    assert len(tasks) <= 200
    kinds = {
        artifact["key"].rpartition("-")[0]
        for artifact in server.ask("/artifacts/filter", flow_runs=ours)
    }
    assert {"rates-nightly", "failures-nightly", "report-nightly"} <= kinds
    assert "progress-particles-nightly" in kinds


def test_run_ends_by_the_store_when_the_server_is_gone_for_good(
    server: PrefectServer, place: Place
) -> None:
    run = place.start("run", "flows.cli", "run", "study.toml", "--workers", "1", "--json")
    until(lambda: any(place.folder.glob("runs/nightly/data.zarr/particles/status/c/**/[0-9]")))
    server.kill()
    assert run.wait(400) == 0
    assert place.facts("run")["computed"] == POINTS
    errors = place.errors("run")
    assert "the Prefect server has gone" in errors
    assert "Traceback" not in errors
