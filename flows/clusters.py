"""Where workers run: on this machine, or at the address of a running Dask scheduler."""

import contextlib
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ClusterError, StudyError
from pipeline.local_cluster import local_client
from pipeline.provenance import fingerprint

if TYPE_CHECKING:
    from dask.distributed import Client

PACKAGES = ("solvers", "pipeline", "flows")


def check_cluster(cluster: str) -> None:
    """See that a kind of cluster is known, without starting anything.

    Raises:
        StudyError: if not.
    """
    if cluster == "local":
        return
    found = re.fullmatch(r"(tcp|tls)://([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", cluster)
    if not found or not 1 <= int(found[3]) <= 65535:
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
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"--cluster {cluster}: no scheduler answers there: {reason}") from None
    with client:
        _check_workers(client)
        yield client, max(1, sum(client.nthreads().values()))


def _check_workers(client: "Client") -> None:
    """See that the workers of a cluster have our packages, and compute what the driver would.

    A worker that cannot import the packages does not fail its tasks: it closes, and they wait.

    Raises:
        ClusterError: naming the worker and what is wrong with it.
    """
    places: dict[str, set[Path]] = {}
    for name in PACKAGES:
        for worker, spec in client.run(find_spec, name).items():
            if spec is None or not spec.origin:
                raise ClusterError(f"the worker {worker} has no package '{name}' of meanfield")
            places.setdefault(worker, set()).add(Path(spec.origin).parent.parent)
    for worker, folders in places.items():
        if len(folders) > 1:
            listed = ", ".join(sorted(map(str, folders)))
            raise ClusterError(
                f"on the worker {worker} the packages of meanfield come from several folders, so "
                f"one is shadowed: {listed}"
            )
    for worker, found in client.run(fingerprint).items():
        if found != fingerprint():
            raise ClusterError(
                f"the worker {worker} differs from the driver, so its bits may too: {found} there, "
                f"{fingerprint()} here"
            )
