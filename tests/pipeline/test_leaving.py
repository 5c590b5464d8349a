"""A worker that is told to end, as by Kubernetes or Docker: a real process, without a nanny."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask.distributed import Client, LocalCluster

from pipeline.leaving import Leaving

LIMIT = 60.0
WORKER = ["-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard"]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def client() -> Iterator[Client]:
    """A scheduler without workers."""
    with (
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(Leaving())
        yield client


@pytest.fixture
def worker(client: Client, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, as it is started in a container."""
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *WORKER, client.scheduler.address, "--local-directory", str(tmp_path)],
            stdout=log,
            stderr=log,
        )
    try:
        client.wait_for_workers(1, timeout=LIMIT)
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_finishes_what_it_works_on(
    client: Client, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    def work() -> bool:
        from pipeline.compute import leaving

        (tmp_path / str(os.getpid())).touch()
        until((tmp_path / "end").exists)
        return leaving.is_set()

    def statuses() -> set[str]:
        return {found["status"] for found in client.scheduler_info(-1)["workers"].values()}

    task, waiting = (client.submit(work, pure=False) for _ in range(2))
    until((tmp_path / str(worker.pid)).exists)
    worker.send_signal(signal.SIGTERM)
    until(lambda: statuses() == {"closing_gracefully"})
    (tmp_path / "end").touch()
    assert task.result(timeout=LIMIT) is True
    assert worker.wait(LIMIT) == 0
    assert waiting.status == "pending"  # for another worker


def test_it_ends_at_once_where_it_does_nothing(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(LIMIT) == 0
