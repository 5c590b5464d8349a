"""Encrypted connections: who has no certificate, or another authority's, is refused."""

import io
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.distributed import Client
from distributed.security import Security

from flows.clusters import open_crew
from flows.clusters.tls import certificate_files, check_certificates, in_files, security_of
from pipeline.cluster_settings import Cluster
from pipeline.errors import StudyError
from pipeline.execute import Crew
from pipeline.local_cluster import local_client
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.study import Study

STUDY: dict[str, Any] = {
    "study": {"name": "tls", "steps": ["particles"]},
    "problem": {
        "horizon": 0.1,
        "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
        "controls": {"w": -1.0, "b": 0.5},
        "activation": "tanh",
    },
    "axes": {"particles": [10, 20], "seed": [0, 1]},
    "numerics": {"time_step": 0.05},
}


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """One worker on this machine, with temporary certificates."""
    with open_crew(Cluster(tls="auto"), workers=1) as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate that is its own authority."""
    return write(Security.temporary(), tmp_path_factory.mktemp("tls"))


def write(security: Security, folder: Path) -> Path:
    (folder / "ca.pem").write_text(security.tls_ca_file)
    (folder / "cert.pem").write_text(security.tls_client_cert)
    (folder / "key.pem").write_text(security.tls_client_key)
    return folder


def test_a_run_is_encrypted(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert crew.client is not None
    addresses = [crew.client.scheduler.address, *crew.client.nthreads()]
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
    study = Study(**STUDY)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        session.crew = crew
        assert run_stages(session).exit == 0


def test_plain_clients_and_those_of_another_authority_are_refused(crew: Crew) -> None:
    assert crew.client is not None
    address = crew.client.scheduler.address
    plain = address.replace("tls://", "tcp://")
    for where, security in ((plain, None), (address, Security.temporary())):
        with pytest.raises((OSError, RuntimeError)):
            Client(where, security=security, timeout=2, set_as_default=False)


def test_a_running_scheduler_is_reached_with_files(files: Path) -> None:
    with local_client(1, security_of(str(files))) as there:
        address = there.scheduler.address
        one = ",".join(str(files / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        for tls in (str(files), one):
            with open_crew(Cluster(kind=address, tls=tls)) as crew:
                assert crew.workers == 1
        own = write(Security.temporary(), files.parent)
        with (
            pytest.raises(StudyError, match="no scheduler answers there"),
            open_crew(Cluster(kind=address, tls=str(own))),
        ):
            pass


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ("nowhere", r"nowhere/ca\.pem: No such file"),
        ("a,b", "2 files"),
        ("a,b,c", "/a: No such file"),
    ],
)
def test_missing_files_are_named(tls: str, message: str) -> None:
    with pytest.raises(StudyError, match=f"--tls {tls}.*{message}.*allowed: auto, a folder"):
        check_certificates(tls)


def test_files_that_are_no_certificates_are_refused(files: Path, tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text((files / name).read_text())
    (tmp_path / "key.pem").write_text("nonsense")
    check_certificates(str(tmp_path))
    with pytest.raises(StudyError, match="no certificates"):
        security_of(str(tmp_path))


def test_files_for_other_hosts_are_the_users_alone(tmp_path: Path) -> None:
    written = in_files(Security.temporary(), tmp_path)
    assert written.tls_worker_key == str(tmp_path / "key.pem")
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert in_files(written, tmp_path) is written


def test_relative_paths_hold_in_any_process() -> None:
    assert all(file.is_absolute() for file in certificate_files("certs"))
