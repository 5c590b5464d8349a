"""Choose a cluster, start or reach it, and see that its workers are fit for the work."""

import contextlib
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.clusters import kubernetes, slurm
from flows.clusters.tls import check_certificates, security_of
from flows.clusters.workers import check_workers
from pipeline.cluster_settings import Cluster, combine
from pipeline.errors import StudyError
from pipeline.execute import Crew, Pace, Roster
from pipeline.local_cluster import be_quiet, local_client

if TYPE_CHECKING:
    from dask.distributed import Client

FOLDER = Path("runs")
Say = Callable[[str], None]


def chosen_cluster(study: Cluster | None, options: Namespace) -> Cluster:
    """The settings of the cluster that options, a study and the user's file ask for.

    Args:
        study: the study's table, where there is one.
        options: cluster, min, max, tls, and workers, which is min and max at once.

    Raises:
        StudyError: for what is not allowed.
        ClusterError: if this machine lacks what that kind of cluster needs.
    """
    workers = getattr(options, "workers", None)
    given = {
        "kind": getattr(options, "cluster", None),
        "min": getattr(options, "min", None) or workers,
        "max": getattr(options, "max", None) or workers,
        "tls": getattr(options, "tls", None),
    }
    settings = combine(study, given)
    check_cluster(settings)
    return settings


def check_cluster(settings: Cluster) -> None:
    """See that a cluster could be used, without starting anything.

    Raises:
        StudyError: for certificates that are missing.
        ClusterError: if this machine lacks what the kind needs.
    """
    check_certificates(settings.tls)
    if settings.kind == "slurm":
        slurm.check_programs()
    elif settings.kind == "kubernetes":
        kubernetes.check_packages()


@contextlib.contextmanager
def open_crew(
    settings: Cluster, workers: int | None = None, folder: Path = FOLDER, say: Say = lambda _: None
) -> Iterator[Crew]:
    """Who computes, as long as the context lasts; what it started ends with it.

    Args:
        settings: which cluster.
        workers: on this machine, how many; one per core by default.
        folder: where logs and temporary certificates of jobs go; jobs must reach it.
        say: tells a person what is waited for.

    Raises:
        StudyError: for a scheduler that does not answer.
        ClusterError: if there is no worker in time, or one is not fit for the work.
    """
    from pipeline.leaving import Leaving

    with contextlib.ExitStack() as stack:
        client, tend = _reach(stack, settings, workers, folder)
        most = settings.max if settings.batch else 0
        roster = Roster(client, most, settings.wait, tend)
        if settings.kind != "local":
            if settings.batch:
                _wait_for_worker(settings, roster, say)
            check_workers(client)  # before anything of ours is loaded there
        client.register_plugin(Leaving())
        yield Crew(client, max(1, roster.ask()), Pace(), roster=roster)


def _reach(
    stack: contextlib.ExitStack, settings: Cluster, workers: int | None, folder: Path
) -> tuple["Client", Callable[[], None] | None]:
    """A client of the cluster, and what has to be done for it now and then."""
    security = security_of(settings.tls)
    if settings.kind == "local":
        count = workers or len(os.sched_getaffinity(0))
        return stack.enter_context(local_client(count, security)), None
    if settings.kind == "slurm":
        client, jobs = stack.enter_context(slurm.slurm_client(settings, folder, security))
        return client, jobs.tend
    if settings.kind == "kubernetes":
        return stack.enter_context(kubernetes.kubernetes_client(settings)), None
    return stack.enter_context(_client_at(settings.kind, security)), None


@contextlib.contextmanager
def _client_at(address: str, security: Any) -> Iterator["Client"]:
    """A client of a scheduler that runs already."""
    from dask.distributed import Client

    be_quiet()
    try:
        client = Client(address, security=security, set_as_default=False, timeout="10s")
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"--cluster {address}: no scheduler answers there: {reason}") from None
    with client:
        yield client


def _wait_for_worker(settings: Cluster, roster: Roster, say: Say) -> None:
    """Wait until the first worker is there.

    Raises:
        ClusterError: if that takes longer than the settings' patience.
    """
    say(f"waiting for workers on {settings.kind}: {settings.min} to {settings.max} are asked for")
    while not roster.ask():
        time.sleep(0.5)
