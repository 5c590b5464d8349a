"""On a real Slurm: encrypted, submitted as a job, and left alone by its driver."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xarray as xr

from tests.services.guard import service
from tests.services.place import Place
from tests.services.slurm import Slurm

pytestmark = pytest.mark.cluster

STUDY = """
[study]
name = "jobs"
steps = ["particles"]
[problem]
horizon = 1.0
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = "exp(t) - 1" }
activation = "tanh"
[axes]
particles = [1000, 100000]
seed = { count = 64 }
[cluster]
interface = "lo"
memory = "500MB"
walltime = "00:10:00"
max = 2
"""
SLURM = ("--cluster", "slurm", "--direct")


@pytest.fixture
def place(running_slurm: Slurm) -> Iterator[Place]:
    """A folder with the study, where Slurm is at hand."""
    with service("jobs") as daemons:
        (daemons.folder / "study.toml").write_text(STUDY)
        yield Place(daemons.folder, environment=running_slurm.environment)
        running_slurm.drain()


def points(place: Place) -> int:
    """How many points are done."""
    try:
        store = xr.open_datatree(place.folder / "runs/jobs/data.zarr")
        return int((store["particles/status"] == 1).sum())
    except (OSError, KeyError, ValueError):
        return 0


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


def test_jobs_get_certificates_and_take_none_along(place: Place) -> None:
    few = ("-s", "axes.seed={count=4}")
    code, facts, errors = place.meanfield("run", "study.toml", *SLURM, "--tls", "auto", *few)
    assert (code, facts["computed"]) == (0, 8), errors
    logs = place.folder / "runs/jobs/logs/slurm"
    assert "tls://127.0.0.1" in "".join(log.read_text() for log in logs.glob("*.log"))
    assert [file.name for file in logs.iterdir() if file.suffix != ".log"] == []


def test_a_job_cancelled_before_its_worker_came_is_replaced(
    place: Place, running_slurm: Slurm
) -> None:
    running_slurm.command("scontrol", "update", "partitionname=main", "state=down")
    few = ("-s", "axes.seed={count=4}")
    run = place.start("run", "flows.cli", "run", "study.toml", *SLURM, *few)
    wait_until(lambda: running_slurm.jobs("PENDING"))
    running_slurm.drain()
    running_slurm.command("scontrol", "update", "partitionname=main", "state=up")
    assert run.wait(120) == 0, place.errors("run")
    assert points(place) == 8


def test_workers_write_what_they_compute_when_the_driver_is_killed(
    place: Place, running_slurm: Slurm
) -> None:
    run = place.start("run", "flows.cli", "run", "study.toml", *SLURM)
    wait_until(lambda: points(place) >= 8)
    before = points(place)
    run.kill()
    # One that was just starting looks for its scheduler for a minute.
    wait_until(lambda: not running_slurm.jobs(), 180)
    assert (kept := points(place)) > before
    code, facts, errors = place.meanfield("run", "study.toml", "--direct")
    assert (code, facts["computed"]) == (0, 128 - kept), errors


def test_a_submitted_driver_ends_cleanly_before_its_walltime(
    place: Place, running_slurm: Slurm
) -> None:
    code, facts, errors = place.meanfield("submit", "study.toml", *SLURM)
    assert code == 0, errors
    wait_until(lambda: points(place) >= 8)
    running_slurm.command("scancel", "--batch", "--signal=TERM", facts["job"])
    wait_until(lambda: not running_slurm.jobs(), 60)
    assert "ExitCode=143:0" in running_slurm.command("scontrol", "show", "job", facts["job"])
    log = Path(facts["logs"], f"driver-{facts['job']}.log")
    assert "the same command goes on" in (place.folder / log).read_text()
