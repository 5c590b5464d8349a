"""Encrypted connections between the parts of Dask: who has no certificate of ours is refused."""

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.services.certificates import Certificates, make_certificates
from tests.services.dask import start_scheduler, start_worker
from tests.services.place import Place
from tests.services.slurm import Slurm

pytestmark = pytest.mark.cluster

FEW = ("-s", "axes.seed={count=2}", "-s", "axes.particles=[100]", "--direct")


@dataclass(frozen=True)
class Encrypted:
    """A scheduler that speaks TLS alone, with one worker.

    Attributes:
        place: where they run.
        address: of the scheduler.
        authority: whose certificates count.
        stranger: another one.
    """

    place: Place
    address: str
    authority: Certificates
    stranger: Certificates

    def run(self, *options: str) -> tuple[int, str]:
        """Run a few points there: exit status, errors."""
        code, _, errors = self.place.meanfield("run", "study.toml", *FEW, *options)
        assert "Traceback" not in errors
        return code, errors


@pytest.fixture
def encrypted(place: Place, authority: Certificates, tmp_path: Path) -> Iterator[Encrypted]:
    scheduler, address = start_scheduler(place, "--protocol", "tls", *authority.options)
    worker = start_worker(place, address, *authority.options, name="ours")
    stranger = make_certificates(tmp_path / "theirs")
    while not _registered(place, "ours"):
        assert worker.poll() is None, place.errors("ours")
        time.sleep(0.2)
    yield Encrypted(place, address, authority, stranger)
    for process in (worker, scheduler):
        process.terminate()
        process.wait(30)


def _registered(place: Place, worker: str) -> bool:
    """Whether a scheduler has taken a worker."""
    return "Registered to" in place.errors(worker)


def _files(certificates: Certificates) -> str:
    return ",".join(map(str, (certificates.ca, certificates.certificate, certificates.key)))


def test_run_over_tls(encrypted: Encrypted) -> None:
    code, errors = encrypted.run(
        "--cluster", encrypted.address, "--tls", _files(encrypted.authority)
    )
    assert code == 0, errors


def test_clients_without_a_certificate_of_ours_are_refused(encrypted: Encrypted) -> None:
    plain = encrypted.address.replace("tls://", "tcp://")
    refused = {
        "none": ("--cluster", encrypted.address),
        "another authority": (
            "--cluster", encrypted.address, "--tls", _files(encrypted.stranger),
        ),
        "our authority, their certificate": (
            "--cluster", encrypted.address, "--tls",
            _files(replace(encrypted.stranger, ca=encrypted.authority.ca)),
        ),
        "plain": ("--cluster", plain),
    }  # fmt: skip
    for who, options in refused.items():
        code, errors = encrypted.run(*options)
        assert code == 2, who
        assert "--tls" in errors or "no scheduler answers" in errors, who
    assert not (encrypted.place.folder / "runs").exists()


def test_workers_without_a_certificate_of_ours_are_refused(encrypted: Encrypted) -> None:
    place, address = encrypted.place, encrypted.address
    deadly = ("--death-timeout", "8")
    theirs = replace(encrypted.stranger, ca=encrypted.authority.ca)
    refused = {
        "none": start_worker(place, address, *deadly, name="none"),
        "wrong": start_worker(place, address, *deadly, *encrypted.stranger.options, name="wrong"),
        "theirs": start_worker(place, address, *deadly, *theirs.options, name="theirs"),
        "plain": start_worker(place, address.replace("tls", "tcp"), *deadly, name="plain"),
    }
    deadline = time.monotonic() + 60
    for who, process in refused.items():
        try:
            assert process.wait(max(deadline - time.monotonic(), 0)) != 0, who
        except subprocess.TimeoutExpired:
            pytest.fail(f"{who} works on: {place.errors(who)}")
        assert not _registered(place, who)


@pytest.mark.slow
def test_slurm_with_certificates_of_its_own(
    running_slurm: Slurm, place: Place, assert_right: Callable[[Place, str], None]
) -> None:
    place = replace(place, environment=running_slurm.environment)
    options = ("--cluster", "slurm", "--tls", "auto", "--store", "data.zarr", "--direct")
    run = place.start("run", "flows.cli", "run", "study.toml", *options, "--json")
    while run.poll() is None:
        time.sleep(0.5)
    assert run.returncode == 0, place.errors("run")
    logs = [log.read_text() for log in place.folder.rglob("worker-*.log")]
    assert logs
    assert all("tls://" in log and "tcp://" not in log for log in logs)
    assert_right(place, "data.zarr")
