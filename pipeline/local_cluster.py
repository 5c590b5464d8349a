"""Dask workers on this machine: one thread each, quiet, gone with the driver."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask.distributed import Client
    from distributed.security import Security

SCHEDULER = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.admin.log-format": "%(message)s",
    "distributed.logging.distributed": "critical",
    "distributed.comm.timeouts.connect": "60s",
}
"""What Dask is told where its scheduler is in this process."""


def be_quiet() -> None:
    """Keep Dask's own log off the terminal: what a person must know, the run says."""
    for name in ("distributed", "distributed.nanny", "distributed.scheduler", "distributed.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def local_client(workers: int, security: "Security | None" = None) -> Iterator["Client"]:
    """A client of a fresh local cluster of single-threaded worker processes.

    Args:
        workers: how many.
        security: certificates, if the connections are to be encrypted.
    """
    import dask
    from dask.distributed import Client, LocalCluster

    be_quiet()
    with (
        dask.config.set(SCHEDULER),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tls://" if security else "tcp://",
            security=security,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
