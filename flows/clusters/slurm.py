"""Workers as jobs of Slurm, by dask-jobqueue; the scheduler lives in the driver.

The table [cluster] alone says what a job looks like: the user's files for dask-jobqueue are not
read. Jobs that end are replaced as long as there is work, whatever ended them.
"""

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.clusters.tls import in_files
from pipeline.cluster_settings import Cluster, bytes_of, seconds_of
from pipeline.errors import ClusterError
from pipeline.local_cluster import SCHEDULER, be_quiet

if TYPE_CHECKING:
    from dask.distributed import Client
    from distributed.security import Security

PROGRAMS = ("sbatch", "scancel", "squeue")
SECTION = "jobqueue.meanfield"
TEND_SECONDS = 10.0
FRUITLESS = 5
"""How often in a row jobs may be found to have ended while no worker has arrived at all."""
NANNIES = 500 * 10**6
"""Bytes that a job gets besides its workers' memory, for the process that watches them."""


def check_programs(*programs: str) -> None:
    """See that this is a machine from which jobs can be submitted.

    Raises:
        ClusterError: if not.
    """
    for program in programs or PROGRAMS:
        if shutil.which(program) is None:
            raise ClusterError(
                f"Slurm's program '{program}' is not there; run this where jobs can be submitted"
            )


def lifetime(settings: Cluster) -> tuple[int, int]:
    """After how many seconds a worker ends, and how far that is staggered.

    It has between one and two tenths of its walltime, at most ten to twenty minutes, left by then:
    a shard that is under way is finished in them.
    """
    total = seconds_of(settings.walltime)
    margin = min(total / 10, 600.0)
    return int(total - 1.5 * margin), int(margin / 2)


def job_options(settings: Cluster, folder: Path) -> dict[str, Any]:
    """What dask-jobqueue is told of a job.

    Args:
        settings: the cluster.
        folder: an absolute path, where jobs leave their logs.
    """
    seconds, stagger = lifetime(settings)
    log = str(folder / "worker-").replace("%", "%%") + "%j.log"
    scratch = settings.scratch or "${TMPDIR:-/tmp}"
    memory = settings.cores * bytes_of(settings.memory)
    threads = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1"
    return {
        "cores": settings.cores,
        "processes": settings.cores,
        "memory": f"{memory} B",
        "job_mem": f"{(memory + NANNIES) // 10**6}M",
        "queue": settings.queue,
        "account": settings.account,
        "walltime": settings.walltime,
        "interface": settings.interface,
        "python": shlex.quote(sys.executable),
        "job_name": "meanfield",
        "job_extra_directives": [f'--output="{log}"', "--no-requeue", *settings.directives],
        "job_script_prologue": [*settings.setup, f"export {threads}"],
        "local_directory": f'"{scratch}"',
        "death_timeout": 60,
        "worker_extra_args": [
            *("--lifetime", f"{seconds}s", "--lifetime-stagger", f"{stagger}s"),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
        ],
    }


@contextlib.contextmanager
def slurm_client(
    settings: Cluster, folder: Path, security: "Security | None"
) -> Iterator[tuple["Client", "Jobs"]]:
    """A client of a fresh cluster of jobs, and the jobs; they end with the context.

    Args:
        settings: the cluster.
        folder: where jobs leave their logs, and find certificates.
        security: certificates, if the connections are to be encrypted.

    Raises:
        ClusterError: if the scheduler cannot listen where it should, or certificates cannot lie
            in the folder.
    """
    import dask
    from dask.distributed import Client

    be_quiet()
    logging.getLogger("dask_jobqueue").setLevel(logging.CRITICAL)
    own = (folder / "slurm").absolute()
    own.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if security:
            _check_plain(own)
            keys = stack.enter_context(tempfile.TemporaryDirectory(prefix=".tls-", dir=own))
            security = in_files(security, Path(keys))
        stack.enter_context(dask.config.set(_configuration()))
        cluster = stack.enter_context(_start(settings, own, security))
        jobs = Jobs(cluster, own, settings.cores)
        _scale(cluster, settings)
        client = stack.enter_context(Client(cluster, security=security, set_as_default=False))
        yield client, jobs


def _check_plain(folder: Path) -> None:
    """See that certificates may lie in a folder: dask-jobqueue writes their paths unquoted."""
    if shlex.quote(str(folder)) != str(folder):
        raise ClusterError(
            f"{folder}: not a folder for the certificates of jobs; allowed: one without spaces and "
            "special characters"
        )


def _start(settings: Cluster, folder: Path, security: "Security | None") -> Any:
    """A scheduler in this process, without jobs yet."""
    from dask_jobqueue.slurm import SLURMCluster

    try:
        return SLURMCluster(
            job_cls=_job_class(),
            config_name="meanfield",
            security=security,
            protocol="tls://" if security else "tcp://",
            scheduler_options=_scheduler_options(settings),
            silence_logs="critical",
            **job_options(settings, folder),
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(f"the scheduler cannot start: {reason}") from None


def _configuration() -> Mapping[str, Any]:
    """What Dask reads: dask-jobqueue's defaults for Slurm as they are shipped, and our own."""
    import dask
    import dask_jobqueue  # noqa: F401 - brings its defaults along

    return {
        **SCHEDULER,
        SECTION: dask.config.merge(*dask.config.defaults)["jobqueue"]["slurm"],
        # A worker that reached its lifetime may still be writing: its job ends by itself, and is
        # replaced then (see Jobs). Only one that does not is cancelled.
        "distributed.deploy.lost-worker-timeout": "900s",
    }


def _scheduler_options(settings: Cluster) -> dict[str, Any]:
    """Where the scheduler listens: on the interface asked for, or the one that leads outside."""
    from distributed.utils import get_ip

    options: dict[str, Any] = {"dashboard_address": "127.0.0.1:0"}
    if settings.interface:
        return options | {"interface": settings.interface}
    return options | {"host": get_ip()}


def _scale(cluster: Any, settings: Cluster) -> None:
    """Let the number of jobs follow the work between min and max.

    As many workers are asked for as there are bundles. Between two stages of a study there is no
    work for some seconds, so workers go only after a minute.
    """
    fewest = -(-settings.min // settings.cores)
    most = max(fewest, settings.max // settings.cores)
    cluster.adapt(
        minimum_jobs=fewest,
        maximum_jobs=most,
        interval="2s",
        wait_count=30,
        target_duration="1s",
    )


def _job_class() -> Any:
    """A job that keeps Slurm's reason for refusing it, where dask-jobqueue's would only log it."""
    from dask_jobqueue.slurm import SLURMJob
    from distributed.core import Status

    class Job(SLURMJob):
        refusal = ""

        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, OSError, ValueError) as error:
                self.refusal = _reason(str(error))
                self.status = Status.failed

        async def close(self) -> None:
            await super().close()
            self.status = Status.closed

    return Job


def _reason(text: str) -> str:
    """What sbatch said, out of an error of dask-jobqueue."""
    lines = [line.strip() for line in text.splitlines() if "error:" in line]
    return "; ".join(lines) or " ".join(text.split())


class Jobs:
    """The jobs of a cluster.

    Dask replaces the job of a worker that has gone. It does not see a job that ends before its
    worker has arrived (cancelled in the queue, a node that fails), or that Slurm has refused.

    Args:
        cluster: dask-jobqueue's cluster.
        logs: the folder of the jobs' logs.
        cores: the workers in each job.
    """

    def __init__(self, cluster: Any, logs: Path, cores: int) -> None:
        self._cluster = cluster
        self._logs = logs
        self._cores = cores
        self._tended = time.monotonic()
        self._arrived: set[str] = set()
        self._fruitless = 0

    def tend(self) -> None:
        """Have the jobs that ended before their worker arrived submitted again.

        Raises:
            ClusterError: if Slurm refuses jobs, or they end at once, and there is no worker.
        """
        jobs = dict(self._cluster.workers)
        present = self._present(jobs)
        self._arrived |= present
        refusals = [job.refusal for job in jobs.values() if job.refusal]
        if not self._arrived and refusals and len(refusals) == len(jobs):
            raise ClusterError(f"Slurm refuses the job of a worker: {refusals[-1]}")
        now = time.monotonic()
        if now - self._tended < TEND_SECONDS:
            return
        self._tended = now  # also where Slurm does not answer: it must not be asked all the time
        if (queued := _queued()) is None:
            return
        absent = {name: job.job_id for name, job in jobs.items() if name not in present}
        lost = {name for name, number in absent.items() if number not in queued}
        self._fruitless = 0 if present else self._fruitless + bool(lost - self._arrived)
        if self._fruitless >= FRUITLESS:
            said = refusals[-1] if refusals else self._last_words()
            raise ClusterError(
                f"jobs keep ending before their worker has arrived; see {self._logs}; {said}"
            )
        if lost:
            self._cluster.loop.add_callback(self._forget, lost)

    def _present(self, jobs: Collection[str]) -> set[str]:
        """The jobs that have a worker."""
        workers = dict(self._cluster.scheduler_info["workers"]).values()
        names = {str(worker["name"]) for worker in workers}
        groups = {name: [name] + [f"{name}-{i}" for i in range(self._cores)] for name in jobs}
        return {name for name, group in groups.items() if names.intersection(group)}

    def _forget(self, lost: Collection[str]) -> None:
        """Let dask-jobqueue find that jobs are missing; runs in its event loop."""
        for name in lost:
            self._cluster.workers.pop(name, None)

    def _last_words(self) -> str:
        """What the newest log ends with."""
        logs = sorted(self._logs.glob("worker-*.log"), key=lambda log: log.stat().st_mtime)
        lines = logs[-1].read_text(errors="replace").split("\n") if logs else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"the last log ends with: {last[:300]}" if last else "their logs are empty"


def _queued() -> set[str] | None:
    """The user's jobs that wait or run; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--format=%A", f"--user={os.getuid()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())
