"""The services that the other tests stand on: they work as real ones do, and leave nothing."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from tests.services import guard
from tests.services.network import Network
from tests.services.postgres import Postgres
from tests.services.s3 import S3
from tests.services.slurm import Slurm

pytestmark = pytest.mark.cluster


def _wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nothing_is_left_of_a_test_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from tests.services.guard import service\n"
        "with service('trial') as daemons:\n"
        "    daemons.start('sleep', 'sh', '-c', 'setsid sleep 600 & wait')\n"
        "    print(daemons.folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    maker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert maker.stdout
    folder = Path(maker.stdout.readline().strip())
    _wait(lambda: len(guard.members(folder)) == 2)
    maker.kill()
    maker.communicate()
    _wait(lambda: not folder.exists())
    assert guard.members(folder) == []


def _store(s3: S3, bucket: str, **options: str) -> S3Store:
    given = {"access_key_id": s3.key, "secret_access_key": s3.secret} | options
    return S3Store(
        bucket, endpoint=s3.url, region="default", client_options={"allow_http": True}, **given
    )


def test_s3_stores_and_refuses(running_s3: S3) -> None:
    bucket = running_s3.make_bucket()
    store = _store(running_s3, bucket)
    obstore.put(store, "a/b", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "a/b", b"second", mode="create")
    assert obstore.get(store, "a/b").bytes() == b"first"
    assert [item["path"] for page in obstore.list(store) for item in page] == ["a/b"]
    assert set(running_s3.objects(bucket)) == {"a/b"}
    with pytest.raises(BaseError, match="SignatureDoesNotMatch"):
        obstore.get(_store(running_s3, bucket, secret_access_key="wrong"), "a/b")
    anonymous = S3Store(
        bucket, endpoint=running_s3.url, region="default", skip_signature=True,
        client_options={"allow_http": True},
    )  # fmt: skip
    with pytest.raises(BaseError):
        obstore.get(anonymous, "a/b")


def test_public_bucket_is_read_without_a_key_and_survives_a_restart(running_s3: S3) -> None:
    bucket = running_s3.make_bucket(public=True)
    obstore.put(_store(running_s3, bucket), "a", b"open")
    anonymous = S3Store(
        bucket, endpoint=running_s3.url, region="default", skip_signature=True,
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip
    assert obstore.get(anonymous, "a").bytes() == b"open"
    with pytest.raises(BaseError):
        obstore.put(anonymous, "a", b"mine")
    running_s3.stop()
    try:
        with pytest.raises(BaseError):
            obstore.get(anonymous, "a")
    finally:
        running_s3.start()
    assert obstore.get(anonymous, "a").bytes() == b"open"


def test_slurm_runs_jobs_and_loses_nodes(running_slurm: Slurm, tmp_path: Path) -> None:
    nowhere = ("--output=/dev/null", "--parsable")
    running_slurm.command("sbatch", *nowhere, "--nodelist=n1", "--wrap=sleep 600")
    file = tmp_path / "out"
    running_slurm.command("sbatch", *nowhere, "--nodelist=n2", f"--wrap=hostname > {file}")
    _wait(lambda: file.is_file() and file.read_text().strip() == os.uname().nodename)
    _wait(lambda: [job.node for job in running_slurm.jobs("RUNNING")] == ["n1"])
    running_slurm.down("n1")
    assert running_slurm.ready() == {"n2"}
    _wait(lambda: not running_slurm.jobs("RUNNING"))
    running_slurm.resume("n1")
    for job in running_slurm.jobs():
        running_slurm.cancel(job)
    _wait(lambda: not running_slurm.jobs("RUNNING", "PENDING"))


def test_hosts_reach_each_other_until_they_are_cut_apart(running_network: Network) -> None:
    def reaches(one: str, other: str) -> bool:
        connect = f"import socket; socket.create_connection(('{other}', 9), 2)"
        command = [*running_network.prefix(one), sys.executable, "-c", connect]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return "Connection refused" in done.stderr  # by the other host: nobody listens there

    other = running_network.address("hB")
    assert reaches("hA", other)
    running_network.cut("hB")
    assert not reaches("hA", other)
    assert reaches("hA", running_network.address("hS"))
    running_network.mend("hB")
    assert reaches("hA", other)


def test_postgres_keeps_what_it_has_over_a_restart(running_postgres: Postgres) -> None:
    running_postgres.query("create table t as select 7 as x")
    running_postgres.stop()
    with pytest.raises(RuntimeError):
        running_postgres.query("select x from t")
    running_postgres.start()
    assert running_postgres.query("select x from t") == "7"
