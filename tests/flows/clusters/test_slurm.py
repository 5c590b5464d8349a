"""What a job of Slurm looks like, which jobs are submitted anew, and when a run gives up."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest

from flows.clusters import chosen_cluster, slurm
from pipeline.cluster_settings import Cluster, seconds_of
from pipeline.errors import ClusterError


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Cluster], str]:
    """The script of a worker's job, as dask-jobqueue writes it."""
    from dask_jobqueue.slurm import SLURMJob

    def write(settings: Cluster) -> str:
        with dask.config.set(slurm._configuration()):
            options = slurm.job_options(settings, tmp_path)
            job = SLURMJob("tcp://h:1", name="w", config_name="meanfield", **options)
        return str(job.job_script())

    return write


def test_job_is_what_the_settings_say(script: Callable[[Cluster], str], tmp_path: Path) -> None:
    settings = Cluster(
        queue="main",
        account="group",
        walltime="02:00:00",
        cores=4,
        memory="1GB",
        interface="ib0",
        setup=("module load python",),
        directives=("--constraint=icelake",),
        scratch="$SCRATCH/dask",
    )
    text = script(settings)
    lines = text.splitlines()
    for directive in (
        "-p main",
        "-A group",
        "-t 02:00:00",
        "--cpus-per-task=4",
        "--mem=4500M",
        "--no-requeue",
        "--constraint=icelake",
        f'--output="{tmp_path}/worker-%j.log"',
    ):
        assert f"#SBATCH {directive}" in lines
    assert lines.index("module load python") < next(
        i for i, line in enumerate(lines) if line.startswith("export OMP_NUM_THREADS=1")
    )
    for option in (
        "--nthreads 1",
        "--nworkers 4",
        "--nanny",
        "--memory-limit 0.93GiB",
        "--interface ib0",
        '--local-directory "$SCRATCH/dask"',
        "--dashboard-address 127.0.0.1:0",
        "--death-timeout 60",
    ):
        assert option in lines[-1]


def test_users_files_for_dask_jobqueue_are_not_read(script: Callable[[Cluster], str]) -> None:
    mine = {"queue": "debug", "walltime": "00:01:00", "job-script-prologue": ["rm -rf x"]}
    with dask.config.set({"jobqueue.slurm": mine}):
        text = script(Cluster())
    assert "debug" not in text
    assert "rm -rf" not in text
    assert "#SBATCH -t 01:00:00" in text


@pytest.mark.parametrize("walltime", ["00:02:00", "01:00:00", "2-00:00:00"])
def test_workers_end_before_their_walltime(walltime: str) -> None:
    seconds, stagger = slurm.lifetime(Cluster(walltime=walltime))
    left = seconds_of(walltime) - seconds
    assert left - stagger >= min(0.1 * seconds_of(walltime), 600)
    assert seconds - stagger > seconds_of(walltime) / 2


def test_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match="'sbatch' is not there"):
        chosen_cluster(None, Namespace(cluster="slurm"))


class FakeJob:
    def __init__(self, number: str | None, refusal: str = "") -> None:
        self.job_id = number
        self.refusal = refusal


class FakeCluster:
    """A cluster with jobs, of which some have a worker."""

    def __init__(self, jobs: dict[str, FakeJob], present: tuple[str, ...] = ()) -> None:
        self.workers = jobs
        self.present = present
        self.loop = self

    @property
    def scheduler_info(self) -> dict[str, Any]:
        return {"workers": {f"tcp://{name}": {"name": name} for name in self.present}}

    def add_callback(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)


def jobs_of(cluster: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, *queued: str) -> Any:
    monkeypatch.setattr(slurm, "_queued", lambda: set(queued))
    monkeypatch.setattr(slurm, "TEND_SECONDS", 0.0)
    return slurm.Jobs(cluster, folder, 2)


def test_jobs_that_ended_before_their_worker_came_are_submitted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {"at-work": FakeJob("1"), "waiting": FakeJob("2"), "gone": FakeJob("3")}
    jobs["refused"] = FakeJob(None, "sbatch: error: too many jobs")
    cluster = FakeCluster(jobs, ("at-work-0", "at-work-1"))
    jobs_of(cluster, tmp_path, monkeypatch, "1", "2").tend()
    assert set(cluster.workers) == {"at-work", "waiting"}


def test_jobs_that_slurm_refuses_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster({"a": FakeJob(None, "sbatch: error: invalid partition specified: nope")})
    with pytest.raises(ClusterError, match=r"refuses the job of a worker: .*partition.*nope"):
        jobs_of(cluster, tmp_path, monkeypatch).tend()


def test_jobs_that_end_at_once_end_the_run_with_their_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker-7.log").write_text("module: command not found\n\n")
    cluster = FakeCluster({})
    tended = jobs_of(cluster, tmp_path, monkeypatch)
    for number in range(slurm.FRUITLESS - 1):
        cluster.workers["a"] = FakeJob(str(number))
        tended.tend()
    cluster.workers["a"] = FakeJob("7")
    with pytest.raises(ClusterError, match=r"jobs keep ending before.*module: command not found"):
        tended.tend()
