"""Real services for the tests that are marked `cluster`: started once, ended with the tests."""

import os
import shutil
from collections.abc import Iterator, Sequence

import pytest

from tests.services import certificates, network, postgres, s3, slurm


def _need(what: str, programs: Sequence[str | None]) -> None:
    """Skip a test where a service is not installed, or fail if it has to be."""
    if os.getuid() == 0 and all(program and shutil.which(program) for program in programs):
        return
    reason = f"needs to be root, with {what} installed"
    if os.environ.get("MEANFIELD_NEED_CLUSTER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def running_slurm() -> Iterator[slurm.Slurm]:
    """A Slurm with two nodes."""
    _need("Slurm", slurm.PROGRAMS)
    with slurm.running_slurm() as running:
        yield running


@pytest.fixture(scope="session")
def running_s3() -> Iterator[s3.S3]:
    """An S3 store."""
    _need("Ceph's RADOS Gateway", s3.PROGRAMS)
    with s3.running_s3() as running:
        yield running


@pytest.fixture
def running_postgres() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server with an empty database."""
    folder = postgres.programs()
    _need("PostgreSQL", [folder and str(folder / "initdb")])
    with postgres.running_postgres() as running:
        yield running


@pytest.fixture
def running_network() -> Iterator[network.Network]:
    """Three hosts on a switch."""
    _need("ip and nsenter", network.PROGRAMS)
    with network.running_network() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    """A certificate authority and a certificate that it has signed."""
    _need("openssl", ["openssl"])
    return certificates.make_certificates(tmp_path_factory.mktemp("tls") / "ours")
