"""The command line in a folder of its own, and the processes that descend from it."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import xarray as xr

from flows import cli
from flows.server import EphemeralServer

MARK = "MEANFIELD_TEST_PLACE"


@dataclass(frozen=True)
class Place:
    """A folder to run `meanfield` in.

    Attributes:
        folder: the folder.
        prefix: what stands before every command, to run it in another namespace.
        environment: variables of the commands, besides this process's.
    """

    folder: Path
    prefix: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a verb."""
        variables = os.environ | dict(self.environment) | {MARK: str(self.folder)}
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "flows.cli", *arguments],
            cwd=self.folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a verb to its end: exit status, output, errors."""
        return self.end(self.start(*arguments))

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Run a verb that starts no processes in this one, which saves seconds."""
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        out, err = io.StringIO(), io.StringIO()
        try:
            with (
                contextlib.chdir(self.folder),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                status = cli.main(arguments)
        except SystemExit as end:
            status = int(str(end.code))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return status, out.getvalue(), err.getvalue()

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Wait for a command: exit status, output, errors; none of them a traceback."""
        out, err = process.communicate(timeout=240)
        assert "Traceback" not in out + err, err
        return process.returncode, out, err

    def processes(self) -> set[int]:
        """What descends from the commands started here, and lives."""
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                marked = process.environ().get(MARK) == str(self.folder)
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
        return found

    def left(self, seconds: float = 20.0) -> set[int]:
        """What still lives after some seconds."""
        deadline = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def wait_for_points(self, store: str, number: int, seconds: float = 120.0) -> None:
        """Wait until a store has so many points of the particles."""
        deadline = time.monotonic() + seconds
        while points(self.folder / store) < number:
            assert time.monotonic() < deadline, "no points in time"
            time.sleep(0.1)


def points(store: Path) -> int:
    """How many points of the particles are done."""
    try:
        return int((xr.open_datatree(store)["particles/status"] == 1).sum())
    except (OSError, KeyError, ValueError):
        return 0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder to run `meanfield` in."""
    return Place(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EphemeralServer]:
    """A Prefect server of its own for a module of tests."""
    home = tmp_path_factory.mktemp("prefect")
    with EphemeralServer.start(home, home / "server.log") as server:
        server.wait()
        yield server
