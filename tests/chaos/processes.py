"""Commands in a folder, and the processes that descend from them: all inherit a mark."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MARK = "MEANFIELD_CHAOS_FOLDER"


@dataclass(frozen=True)
class Place:
    """A folder to run commands in."""

    folder: Path

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a Python module in the folder, in a process group of its own."""
        # Files, not pipes: nobody reads them while the process lives.
        with (
            (self.folder / "stdout.txt").open("w") as out,
            (self.folder / "stderr.txt").open("a") as err,
        ):
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
                env=os.environ | {MARK: str(self.folder)},
            )

    def meanfield(self, *arguments: str) -> tuple[int, Any]:
        """Run a verb with --json to its end: its exit status and its object."""
        process = self.start("flows.cli", *arguments, "--json")
        code = process.wait(300)
        text = (self.folder / "stdout.txt").read_text()
        return code, json.loads(text) if text else {}

    def processes(self) -> list[psutil.Process]:
        """What descends from commands started here, and lives."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                marked = process.environ().get(MARK) == str(self.folder)
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def left(self, seconds: float = 20.0) -> int:
        """How many of them still live after some seconds; ends those."""
        deadline = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in found:
            kill(process)
        return len(found)

    @contextlib.contextmanager
    def cluster(self, workers: int) -> Iterator[str]:
        """A Dask scheduler and workers with nannies, as a user starts them; its address."""
        file = self.folder / "scheduler.json"
        loopback = ("--host", "127.0.0.1", "--no-dashboard")
        started = [
            self.start(
                "distributed.cli.dask_scheduler", *loopback,
                "--port", "0", "--scheduler-file", str(file),
            )
        ]  # fmt: skip
        try:
            address = _address(file)
            started += [
                self.start("distributed.cli.dask_worker", address, *loopback, "--nthreads", "1")
                for _ in range(workers)
            ]
            yield address
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGTERM)
            for process in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)


def _address(file: Path) -> str:
    """The address in a scheduler's file, once it is written whole."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.05)
    raise TimeoutError("the scheduler did not start")


def kill(process: psutil.Process) -> None:
    """End a process as a machine that loses its power would: with no chance to say anything."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def says(process: psutil.Process, word: str) -> bool:
    """Whether a word stands in the command line of a process."""
    with contextlib.suppress(psutil.Error):
        return any(word in part for part in process.cmdline())
    return False


def parent_says(process: psutil.Process, word: str) -> bool:
    """Whether a word stands in the command line of the parent of a process."""
    with contextlib.suppress(psutil.Error):
        parent = process.parent()
        return parent is not None and says(parent, word)
    return False


def workers(place: Place) -> list[psutil.Process]:
    """The Dask workers: forked from the fork server, or spawned by a nanny."""
    return [
        process
        for process in place.processes()
        if parent_says(process, "forkserver")
        or (parent_says(process, "dask_worker") and says(process, "spawn_main"))
    ]


def nannies(place: Place) -> list[psutil.Process]:
    """The processes of `dask worker`, each of which keeps one worker alive."""
    return [process for process in place.processes() if says(process, "dask_worker")]
