"""Stores in buckets: what is stored, mended and refused, on objects that live in memory."""

import asyncio
import contextlib
import copy
import io
import pickle
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import obstore
import pytest
import xarray as xr
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import MemoryStore

from pipeline import bucket
from pipeline.bucket import Bucket, bucket_at
from pipeline.compare import compare
from pipeline.errors import StoreError, StudyError, UnreachableError
from pipeline.folder import Folder
from pipeline.heartbeat import heartbeat, other_drivers
from pipeline.place import place_of
from pipeline.root import BACKUP, NAME, read_root
from pipeline.run import run_stages
from pipeline.session import Session, Summary, folder_of, open_session, run_folder
from pipeline.store import create, open_store, stored_study
from pipeline.study import Study
from pipeline.verify import verify

pytestmark = pytest.mark.usefixtures("no_figures")


class InMemory(Bucket):
    """A bucket whose objects are in this process, shared by all that have its name."""

    kept: ClassVar[dict[str, MemoryStore]] = {}

    @property
    def objects(self) -> Any:  # type: ignore[override]
        return self.kept[self.bucket]

    @property
    def writable(self) -> bool:
        return True


@pytest.fixture
def place(tmp_path: Path) -> InMemory:
    InMemory.kept[tmp_path.name] = MemoryStore()
    return InMemory(tmp_path.name, "results/tiny.zarr")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests, and no question to a cloud's metadata service."""
    for name in ("PROFILE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("REGION", "DEFAULT_REGION", "ENDPOINT_URL_S3"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    bucket._account.cache_clear()


def session_of(
    document: dict[str, Any], where: Any = None
) -> contextlib.AbstractContextManager[Session]:
    study = Study(**copy.deepcopy(document))
    return open_session(study, run_folder(study, where), stream=io.StringIO())


def run(document: dict[str, Any], where: Any = None) -> Summary:
    with session_of(document, where) as session:
        return run_stages(session)


def test_run_stores_what_a_folder_holds(tiny: dict[str, Any], place: InMemory) -> None:
    summary = run(tiny, place)
    assert (summary.exit, summary.computed, summary.store) == (0, 28, str(place))
    assert run(tiny, place).computed == 0
    run(tiny, "local.zarr")
    found = compare(place, Folder(Path("local.zarr")))
    assert len(found) > 20
    assert all(d.other_bits == 0 for d in found if "wall_seconds" not in d.variable)
    with place.open_tree() as tree:
        assert int((tree["particles/status"] == 1).sum()) == 24
    assert verify(place) == []
    assert folder_of(place, "tiny").joinpath("run.json").is_file()


def test_store_grows(tiny: dict[str, Any], place: InMemory) -> None:
    whole = copy.deepcopy(tiny)
    tiny["axes"]["particles"] = [100, 300]
    tiny["axes"]["activation"] = ["identity"]
    run(tiny, place)
    assert run(whole, place).computed == 28 - 2 - 8
    run(whole, "fresh.zarr")
    assert all(
        d.other_bits == 0
        for d in compare(place, Folder(Path("fresh.zarr")))
        if "wall_seconds" not in d.variable
    )


@pytest.mark.parametrize("how", ["flip", "delete"])
def test_damage_of_any_kind_is_found_and_mended(
    tiny: dict[str, Any], place: InMemory, how: str
) -> None:
    run(tiny, place)
    groups: dict[str, str] = {}
    for key in sorted(place.keys("")):
        groups.setdefault(f"{key.split('/c/')[0]} {key.endswith('.json')}", key)
    chosen = [key for key in groups.values() if "analysis" not in key or "/c/" in key]
    for key in chosen[:: 2 if how == "delete" else 3]:
        if key == BACKUP:  # one copy of the root must be left
            continue
        before = place.read(key)
        assert before is not None
        if how == "delete":
            place.remove(key)
        else:
            place.write(key, bytes([before[0] ^ 64]) + before[1:])
    assert verify(place)
    assert run(tiny, place).exit == 0
    assert verify(place) == []
    run(tiny, "local.zarr")
    assert all(
        d.other_bits == 0
        for d in compare(place, Folder(Path("local.zarr")))
        if "wall_seconds" not in d.variable
    )


def test_creation_that_died_half_way_is_completed(tiny: dict[str, Any], place: InMemory) -> None:
    study = Study(**copy.deepcopy(tiny))
    create(place, study)
    for key in place.keys("") - {NAME}:
        place.remove(key)
    assert run(tiny, place).exit == 0
    assert verify(place) == []


def test_second_creator_changes_nothing(tiny: dict[str, Any], place: InMemory) -> None:
    create(place, Study(**copy.deepcopy(tiny)))
    before = {key: place.read(key) for key in place.keys("")}
    place.create(dict.fromkeys(before, b"{}"), NAME)
    assert {key: place.read(key) for key in place.keys("")} == before
    tiny["study"]["seed"] = 8
    with pytest.raises(StoreError, match=r"belongs to another study: study\.seed"):
        run(tiny, place)


def test_drivers_see_each_other(place: InMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with heartbeat(place):
        monkeypatch.setattr("socket.gethostname", lambda: "here")
        assert other_drivers(place)[0].startswith("elsewhere (pid ")
    assert other_drivers(place) == []


class _Answers:
    """Objects whose server gives an error, and then no more."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times = error, times

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.times -= 1
        if self.times >= 0:
            raise self.error


REFUSALS = {
    "AccessDenied": r"these credentials may not do this there \(AccessDenied\); see AWS_PROFILE",
    "QuotaExceeded": r"the quota of the bucket, or of its owner, is used up \(QuotaExceeded\)",
    "RequestTimeTooSkewed": "the clock of this machine differs",
}


def test_write_is_repeated_for_as_long_as_patience_lasts(
    place: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PAUSE_SECONDS", 0.01)
    flaky = _Answers(GenericError("operation timed out"), times=3)
    monkeypatch.setattr(obstore, "put", flaky)
    place.write("a", b"1")
    assert flaky.times == -1
    flaky.times = 10**6
    with pytest.raises(UnreachableError, match="does not answer as it should: operation timed"):
        replace(place, patience=0.05).write("a", b"1")
    monkeypatch.setattr(obstore, "put", _Answers(PermissionDeniedError("no"), times=9))
    with pytest.raises(StoreError, match="these credentials may not do this there"):
        place.write("a", b"1")
    for kind in (PermissionDeniedError, GenericError):  # a list is refused by the latter
        for code, message in REFUSALS.items():
            answer = f"status code: 403 Forbidden: <Error><Code>{code}</Code></Error>"
            monkeypatch.setattr(obstore, "put", _Answers(kind(answer), times=1))
            with pytest.raises(StoreError, match=message):
                place.write("a", b"1")
    monkeypatch.setattr(obstore, "put", _Answers(FileNotFoundError("no"), times=9))
    with pytest.raises(StoreError, match="there is no bucket"):
        place.write("a", b"1")


def test_server_that_goes_away_ends_the_run_and_loses_nothing(
    tiny: dict[str, Any], place: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, put = {"left": 60}, obstore.put

    def limited(*args: Any, **kwargs: Any) -> Any:
        real["left"] -= 1
        if real["left"] < 0:
            raise GenericError("connection refused")
        return put(*args, **kwargs)

    monkeypatch.setattr(bucket, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(bucket, "PATIENT_SECONDS", 0.1)
    with session_of(tiny, place) as session:
        monkeypatch.setattr(obstore, "put", limited)
        summary = run_stages(session)
    assert summary.exit == 1
    assert "does not answer" in summary.extra["problem"]
    assert 0 < summary.computed < 28
    monkeypatch.setattr(obstore, "put", put)
    assert run(tiny, place).computed == 28 - summary.computed
    assert verify(place) == []


def test_strangers_and_nothing_are_refused(tiny: dict[str, Any], place: InMemory) -> None:
    with pytest.raises(StoreError, match="no store there"):
        read_root(place)
    place.write("else/data.csv", b"1,2")
    with pytest.raises(StoreError, match="not a store of meanfield"):
        run(tiny, place)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket", "allowed: s3://bucket/prefix"),
        ("s3://bucket/", "allowed: s3://bucket/prefix"),
        ("s3:///prefix", "allowed: s3://bucket/prefix"),
        ("s3://bucket/a/../b", "allowed: s3://bucket/prefix"),
        ("s3://bucket/a//b", "allowed: s3://bucket/prefix"),
        ("s3://bucket/a?b", "allowed: s3://bucket/prefix"),
        ("s3://key:hidden@bucket/a", "credentials do not belong into a URL"),
        ("gs://bucket/a", "allowed: a path, file://… or s3://bucket/prefix"),
    ],
)
def test_bad_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as refused:
        place_of(url, "--store ")
    assert "hidden" not in str(refused.value)


def test_nothing_secret_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:planted-pass@127.0.0.1:9")
    place = bucket_at("s3://bucket/a")
    assert place.objects is place.objects
    sent = pickle.dumps(place)
    assert b"planted" not in sent
    assert pickle.loads(sent) == place
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 does not") as told:
        replace(place, patience=0.1).exists()
    assert "planted" not in str(told.value)


def test_settings_come_from_the_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "aws-config").write_text(
        "[profile lab]\nregion = eu-north-1\nendpoint_url = http://127.0.0.1:7\n"
    )
    (tmp_path / "aws-credentials").write_text(
        "[lab]\naws_access_key_id = key\naws_secret_access_key = secret\n"
    )
    assert not bucket_at("s3://bucket/a").writable
    with pytest.raises(StoreError, match="no credentials to write with"):
        bucket_at("s3://bucket/a").check_makeable()
    monkeypatch.setenv("AWS_PROFILE", "lab")
    bucket._account.cache_clear()
    account = bucket._account()
    assert (account.region, account.endpoint) == ("eu-north-1", "http://127.0.0.1:7")
    assert account.credentials()["secret_access_key"] == "secret"
    monkeypatch.setenv("AWS_PROFILE", "none")
    bucket._account.cache_clear()
    with pytest.raises(StoreError, match="none"):
        bucket_at("s3://bucket/a").exists()


def test_certificates_of_a_private_authority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "authority.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "others"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with pytest.raises(StoreError, match=r"settings of the object store .*authority\.pem"):
        bucket_at("s3://bucket/a").exists()
    bundle.write_text("nonsense")
    with pytest.raises(StoreError, match=r"settings of the object store .*No certificates found"):
        bucket_at("s3://bucket/a").exists()


@pytest.mark.parametrize("url", ["file:///data/x.zarr", "file://localhost/data/x.zarr"])
def test_file_urls_are_paths(url: str) -> None:
    assert place_of(url) == Folder(Path("/data/x.zarr"))


def test_lists_that_are_refused_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zarr lists and removes for itself."""
    store = bucket_at("s3://bucket/a").zarr_store(read_only=False)
    monkeypatch.setattr(obstore, "list", _Answers(GenericError("403 Forbidden"), times=9))
    delimited = _Answers(GenericError("403 Forbidden"), times=9)
    monkeypatch.setattr(obstore, "list_with_delimiter_async", delimited)

    async def names(found: AsyncIterator[str]) -> list[str]:
        return [name async for name in found]

    for work in (
        names(store.list()),
        names(store.list_prefix("b")),
        names(store.list_dir("b")),
        store.delete_dir("b"),
    ):
        with pytest.raises(StoreError, match="anonymous access may not do this there"):
            asyncio.run(work)


def test_study_of_a_bucket_is_read_back(tiny: dict[str, Any], place: InMemory) -> None:
    study = Study(**copy.deepcopy(tiny))
    create(place, study)
    assert stored_study(place).identity == study.identity
    store = open_store(place, study)
    assert np.isnan(np.asarray(store.array("particles/w1")[:])).all()
    assert isinstance(place.open_tree(), xr.DataTree)
