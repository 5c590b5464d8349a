"""The flow `regression` on a Prefect server: states, artifacts, overlaps, notification."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.server import EphemeralServer
from pipeline.heartbeat import heartbeat
from pipeline.place import place_of
from tests.services.prefect import ask

pytestmark = pytest.mark.slow
STUDY = """
[study]
name = "Small_1"
steps = ["limit"]
[problem]
horizon = 0.2
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["tanh"]
cells = [30]
"""
FAULT = ("-s", "problem.controls={w = -1.0, b = '1.01*(exp(t) - 1)'}")
RUN = """
import sys
from flows.regression import regression
state = regression("study.toml", return_state=True)
print(state.type.value, state.name, state.message, sep="|")
"""
BLOCK = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
Webhook(name="hook", url={url!r}, json_data={{"text": "{{{{body}}}}"}},
        allow_private_urls=True).save("nights")
"""


def start(folder: Path, server: EphemeralServer, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(folder / "home")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def meanfield(folder: Path, server: EphemeralServer, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, server, "-m", "flows.cli", *arguments)
    out, err = process.communicate(timeout=280)
    assert "Traceback" not in out + err, err
    return process.returncode, out, err


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and what is posted there."""
    posted: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", posted
    server.shutdown()
    server.server_close()
    thread.join()


def states(server: EphemeralServer) -> list[tuple[str, str]]:
    runs = ask(server, "/flow_runs/filter", sort="START_TIME_ASC")
    return [(run["state"]["type"], run["state"]["name"]) for run in runs]


def test_nights_on_the_users_server(
    tmp_path: Path, server: EphemeralServer, webhook: tuple[str, list[str]]
) -> None:
    url, posted = webhook
    (tmp_path / "study.toml").write_text(STUDY)
    saved = start(tmp_path, server, "-c", BLOCK.format(url=url))
    assert saved.wait(120) == 0, saved.communicate()
    common = ("regress", "study.toml", "--workers", "1", "--json")
    code, out, err = meanfield(tmp_path, server, *common)
    assert code == 0, err
    night = json.loads(out)["night"]
    assert meanfield(tmp_path, server, "baseline", "set", "main", night)[0] == 0
    block = ("--notify-block", "custom-webhook/nights")
    code, out, err = meanfield(tmp_path, server, *common, *FAULT, *block)
    assert code == 1, err
    verdict = json.loads(out)
    assert verdict["outcome"] == "alarms"
    assert len(posted) == 1, err
    assert "Small_1" in posted[0]
    code, _, err = meanfield(tmp_path, server, *common, "--max-time", "0.01s")
    assert (code, "Traceback" in err) == (2, False)
    assert states(server) == [
        ("COMPLETED", "Completed"), ("FAILED", "Regression"), ("FAILED", "No verdict")
    ]  # fmt: skip
    shown = ask(server, "/artifacts/filter")
    pages = [found["data"] for found in shown if found["key"] == "verdict-small-1"]
    assert any("| alarm | Small_1 limit/mean" in page for page in pages)
    assert any("no verdict" in page for page in pages)
    history = place_of(tmp_path / "runs/Small_1/history")
    with heartbeat(history, ".drivers/20261121T020000Z-00000000"):
        skipped = start(tmp_path, server, "-c", RUN)
        out, err = skipped.communicate(timeout=120)
    assert out.startswith("CANCELLED|Skipped|another night is at work"), err
    code, _, err = meanfield(tmp_path, server, *common, "--baseline", "mian")
    assert code == 2
    assert "no baseline 'mian'; did you mean 'main'" in err.splitlines()[-1]
