"""Where workers run: on this machine, or at the address of a running Dask scheduler."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.errors import StudyError
from pipeline.local_cluster import local_client

if TYPE_CHECKING:
    from dask.distributed import Client

SCHEMES = ("tcp", "tls")


def check_cluster(cluster: str) -> None:
    """See that a kind of cluster is known, without starting anything.

    Raises:
        StudyError: if not.
    """
    if cluster != "local" and cluster.partition("://")[0] not in SCHEMES:
        raise StudyError(
            f"--cluster {cluster}: unknown cluster; allowed: local, tcp://host:port, "
            "tls://host:port"
        )


@contextlib.contextmanager
def crew_client(cluster: str, workers: int | None) -> Iterator[tuple["Client", int]]:
    """A Dask client, and how many bundles its workers can run at once.

    Args:
        cluster: ``local``, or the address of a scheduler.
        workers: for a local cluster, one per core by default.

    Raises:
        StudyError: for another kind of cluster, or a scheduler that does not answer.
    """
    check_cluster(cluster)
    if cluster == "local":
        count = workers or len(os.sched_getaffinity(0))
        with local_client(count) as client:
            yield client, count
        return
    from dask.distributed import Client

    try:
        client = Client(cluster, set_as_default=False, timeout="10s")
    except (OSError, ValueError) as error:
        raise StudyError(f"--cluster {cluster}: no scheduler answers there: {error}") from None
    with client:
        yield client, max(1, sum(client.nthreads().values()))
