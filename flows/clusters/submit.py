"""The driver as a job of Slurm: its batch script, and its submission."""

import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from pipeline.cluster_settings import Cluster, bytes_of, seconds_of
from pipeline.errors import ClusterError

WARNING_SECONDS = 120
"""How long before its walltime the driver is told to stop, unless that is short."""


def batch_script(settings: Cluster, arguments: list[str], logs: Path) -> str:
    """The script of a job that runs the driver; with a local cluster, its workers too.

    Args:
        settings: the cluster.
        arguments: of the command ``meanfield``.
        logs: the folder for what the driver prints.
    """
    workers = settings.cores if settings.kind == "local" else 0
    memory = bytes_of(settings.driver_memory) + workers * bytes_of(settings.memory)
    walltime = settings.driver_walltime or settings.walltime
    warning = min(WARNING_SECONDS, int(seconds_of(walltime) / 4))
    log = str(logs.absolute() / "driver-").replace("%", "%%") + "%j.log"
    directives = [
        "--job-name=meanfield-driver",
        f'--output="{log}"',
        "--open-mode=append",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={max(workers, 1)}",
        f"--mem={memory // 10**6}M",
        f"--time={walltime}",
        f"--signal=B:TERM@{warning}",
        "--requeue",
        *([f"--partition={settings.queue}"] if settings.queue else []),
        *([f"--account={settings.account}"] if settings.account else []),
        *settings.directives,
    ]
    # exec: the signal goes to the batch shell, which is then the driver itself.
    command = shlex.join([sys.executable, "-m", "flows.cli", *arguments])
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in directives),
        *settings.setup,
        f"exec {command}",
    ]
    return "\n".join(lines) + "\n"


def run_arguments(options: Namespace, settings: Cluster) -> list[str]:
    """The arguments of ``meanfield`` that run what ``submit`` was asked to.

    Args:
        options: of ``submit``.
        settings: the cluster; in a job of its own, ``local`` means its cores.
    """
    given = {
        "--store": options.store,
        "--cluster": options.cluster,
        "--workers": settings.cores if settings.kind == "local" else options.workers,
        "--min": options.min,
        "--max": options.max,
        "--tls": options.tls,
        "--max-time": options.max_time and f"{options.max_time:g}s",
    }
    flags = {"--direct": options.direct, "--partial": options.partial}
    return [
        "run",
        options.study,
        *(word for override in options.overrides for word in ("-s", override)),
        *(word for name, value in given.items() if value for word in (name, str(value))),
        *(name for name, value in flags.items() if value),
    ]


def submit_script(script: str, logs: Path) -> str:
    """Submit a script; the id of its job.

    Args:
        script: the script.
        logs: the folder for what the job prints.

    Raises:
        ClusterError: if Slurm refuses it.
    """
    logs.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["sbatch", "--parsable"], input=script, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise ClusterError(f"Slurm refuses the job of the driver: {reason}")
    return done.stdout.strip().partition(";")[0]
