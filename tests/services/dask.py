"""A Dask scheduler and workers as a user starts them, on hosts of one's choice."""

import contextlib
import json
import subprocess
import time
from pathlib import Path

from tests.services.place import Place

QUIET = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


def start_scheduler(
    place: Place, *options: str, host: str = "127.0.0.1"
) -> tuple[subprocess.Popen[str], str]:
    """Start a scheduler; the process, and the address once it listens.

    Raises:
        TimeoutError: if it does not start.
    """
    file = place.folder / "scheduler.json"
    file.unlink(missing_ok=True)
    process = place.start(
        "scheduler", "distributed.cli.dask_scheduler", "--host", host, "--port", "0",
        *QUIET, "--scheduler-file", str(file), *options,
    )  # fmt: skip
    return process, _address(file)


def start_worker(
    place: Place, scheduler: str, *options: str, name: str, host: str = "127.0.0.1"
) -> subprocess.Popen[str]:
    """Start a worker with its nanny."""
    return place.start(
        name, "distributed.cli.dask_worker", scheduler, "--host", host, "--name", name,
        "--nthreads", "1", *QUIET, *options,
    )  # fmt: skip


def _address(file: Path) -> str:
    """The address in a scheduler's file, once it is written whole."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.1)
    raise TimeoutError("the scheduler did not start")
