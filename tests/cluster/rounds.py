"""One store that is filled by runs on a real cluster, and what can be done to them meanwhile."""

import random
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from tests.services import guard
from tests.services.dask import QUIET, start_scheduler
from tests.services.place import Place
from tests.services.s3 import S3
from tests.services.slurm import NODES, Job, Slurm

STUDY = """
[study]
name = "faults"
[problem]
horizon = 1.0
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["identity", "tanh", "sigmoid"]
cells = [50]
particles = [40000, 44000, 48000]
seed = { count = 56 }
[cluster]
queue = "main"
interface = "lo"
memory = "1GB"
walltime = "00:30:00"
min = 2
max = 2
"""
DISK_SIZE = "64m"
COMMITTED = re.compile(r"/(status\w*|wall_seconds)/c/")
Committed = Mapping[str, Any]


@dataclass(frozen=True)
class Services:
    """What the rounds of one program share."""

    slurm: Slurm
    s3: S3
    bucket: str
    chance: random.Random


class Round:
    """A store on S3, and the runs on Slurm that fill it, one after the other.

    Args:
        services: where.
        place: in which folder.
    """

    def __init__(self, services: Services, place: Place) -> None:
        self.services = services
        environment = services.slurm.environment | services.s3.environment
        self.place = replace(place, environment=environment)
        self.store = f"s3://{services.bucket}/{place.folder.name}"
        self._runs = 0
        self._driver: subprocess.Popen[str] | None = None
        (place.folder / "study.toml").write_text(STUDY)

    @property
    def cluster(self) -> str:
        """Where the workers are."""
        return "slurm"

    @property
    def log(self) -> str:
        """The name of the logs of the latest run."""
        return f"run{self._runs}"

    def start(self) -> None:
        """Start a run."""
        self._runs += 1
        self._driver = self.place.start(
            self.log, "flows.cli", "run", "study.toml", "--direct", "--json",
            "--cluster", self.cluster, "--store", self.store,
        )  # fmt: skip

    @property
    def code(self) -> int | None:
        """The exit status of the latest run, if it has ended."""
        return self._driver.poll() if self._driver else None

    @property
    def running(self) -> bool:
        """Whether a run is at work."""
        return self._driver is not None and self._driver.poll() is None

    @property
    def driver(self) -> psutil.Process:
        """The process of the latest run."""
        if self._driver is None:
            raise RuntimeError("no run was started")
        return psutil.Process(self._driver.pid)

    def committed(self) -> Committed:
        """The shards that are stored, and what would tell that one is written again."""
        found = self.services.s3.objects(self.services.bucket, f"{self.place.folder.name}/")
        return {key: mark for key, mark in found.items() if COMMITTED.search(key)}

    def fetch(self) -> Path:
        """A copy of the store in the folder."""
        target = self.place.folder / "copy.zarr"
        self.services.s3.download(self.services.bucket, f"{self.place.folder.name}/", target)
        return target

    def jobs(self) -> list[Job]:
        """The workers' jobs that run."""
        return self.services.slurm.jobs("RUNNING")

    def workers(self) -> list[psutil.Process]:
        """The processes that compute."""
        return [p for p in self._of_dask("spawn_main") if self._in_job(p)]

    def nannies(self) -> list[psutil.Process]:
        """The processes that watch them."""
        return [p for p in self._of_dask("dask_worker", "dask worker") if self._in_job(p)]

    def _of_dask(self, *words: str) -> list[psutil.Process]:
        found = []
        for process in guard.members(self.place.folder):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if any(word in line for word in words) and "python" in line.split(" ")[0]:
                found.append(process)
        return found

    def _in_job(self, process: psutil.Process) -> bool:
        try:
            return "SLURM_JOB_ID" in process.environ()
        except psutil.Error:
            return False

    def mend(self) -> None:
        """Do what a person would do before the next run."""

    def close(self) -> None:
        """End what the round has started besides its runs."""


class SeparateRound(Round):
    """Runs with a scheduler that a person has started, and workers that wait in jobs for it."""

    def __init__(self, services: Services, place: Place) -> None:
        super().__init__(services, place)
        self.scheduler: subprocess.Popen[str] | None = None
        self._address = ""
        self.mend()

    @property
    def cluster(self) -> str:
        return self._address

    def mend(self) -> None:
        """Start the scheduler and the workers, unless they work."""
        if self.scheduler and self.scheduler.poll() is None:
            return
        self.scheduler, self._address = start_scheduler(self.place)
        for number in range(len(NODES)):
            worker = (
                sys.executable, "-m", "distributed.cli.dask_worker", self._address,
                "--host", "127.0.0.1", "--nthreads", "1", *QUIET, "--death-timeout", "30",
            )  # fmt: skip
            self.place.do(
                "sbatch", "--no-requeue", f"--output=worker{number}-%j.log",
                f"--wrap=exec {' '.join(worker)}",
            )  # fmt: skip

    def close(self) -> None:
        if self.scheduler:
            self.scheduler.terminate()
            self.scheduler.wait(30)
        self.services.slurm.drain()


class DiskRound(Round):
    """Runs on Slurm that fill a store on a small disk."""

    def __init__(self, services: Services, place: Place) -> None:
        super().__init__(services, place)
        self.disk = place.folder / "disk"
        self.disk.mkdir()
        self.store = str(self.disk / "data.zarr")
        self.place.do("mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(self.disk))

    def committed(self) -> Committed:
        found = {}
        for file in Path(self.store).rglob("*"):
            name = f"/{file.relative_to(self.store).as_posix()}"
            if COMMITTED.search(name) and not name.endswith(".partial") and file.is_file():
                found[name] = (file.stat().st_ino, file.stat().st_mtime_ns)
        return found

    def fetch(self) -> Path:
        return Path(self.store)

    def fill(self) -> None:
        """Leave no room on the disk."""
        try:
            with (self.disk / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(4096))
                    filler.flush()
        except OSError:
            pass

    def mend(self) -> None:
        (self.disk / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        self.place.do("umount", "--lazy", str(self.disk))
