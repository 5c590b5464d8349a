"""Data files that vanish, become unreadable or change, between runs and in the middle of one."""

import contextlib
import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import compute
from pipeline.compare import compare
from pipeline.errors import StoreError, StudyError
from pipeline.folder import Folder
from pipeline.run import run_stages
from pipeline.session import Session, Summary, open_session, run_folder
from pipeline.study import Study
from pipeline.verify import verify

pytestmark = pytest.mark.usefixtures("no_figures")

DATA = Path("data.npy")


@pytest.fixture
def sampled(tiny: dict[str, Any]) -> dict[str, Any]:
    """A study whose initial law is a file of samples."""
    np.save(DATA, np.random.default_rng(3).normal(0.0, 0.3, 500))
    tiny["problem"]["initial"] = {"kind": "samples", "file": "data.npy"}
    return tiny


def session_of(document: dict[str, Any], store: str) -> contextlib.AbstractContextManager[Session]:
    study = Study(**copy.deepcopy(document))
    return open_session(study, run_folder(study, store), stream=io.StringIO())


def run(document: dict[str, Any], store: str) -> Summary:
    with session_of(document, store) as session:
        return run_stages(session)


def remove() -> None:
    DATA.unlink()


def garble() -> None:
    DATA.write_bytes(b"no array")


def change() -> None:
    np.save(DATA, np.random.default_rng(4).normal(0.0, 0.3, 500))


def make_a_folder() -> None:
    DATA.unlink()
    DATA.mkdir()


HARMS = [remove, garble, change, make_a_folder]


def restore(content: bytes) -> None:
    if DATA.is_dir():
        DATA.rmdir()
    DATA.write_bytes(content)


@pytest.mark.parametrize("harm", HARMS)
def test_file_that_fails_before_a_worker_reads_it(
    sampled: dict[str, Any], harm: Callable[[], None]
) -> None:
    content = DATA.read_bytes()
    with session_of(sampled, "one.zarr") as session:
        compute._session.cache_clear()  # as in a worker process of its own
        harm()
        summary = run_stages(session)
    assert summary.exit == 1
    assert summary.computed == 0
    problem = summary.extra["problem"]
    assert DATA.name in problem
    assert "\n" not in problem
    restore(content)
    compute._session.cache_clear()
    assert verify(Folder(Path("one.zarr"))) == []
    assert run(sampled, "one.zarr").computed == 4 + 24
    run(sampled, "fresh.zarr")
    assert all(
        d.other_bits == 0 for d in compare(Folder(Path("one.zarr")), Folder(Path("fresh.zarr")))
    )


@pytest.mark.parametrize("harm", HARMS)
def test_file_that_fails_in_the_middle_of_a_run(
    sampled: dict[str, Any], harm: Callable[[], None]
) -> None:
    """What a worker has read it keeps: the run ends as if nothing had happened."""
    run(sampled, "fresh.zarr")
    with session_of(sampled, "one.zarr") as session:
        limit = session.study.steps[0]
        session.execute(session.plan(limit).tasks[:1])
        harm()
        assert run_stages(session).exit == 0
    assert all(
        d.other_bits == 0 for d in compare(Folder(Path("one.zarr")), Folder(Path("fresh.zarr")))
    )


@pytest.mark.parametrize("harm", HARMS)
def test_file_that_fails_between_two_runs_is_named(
    sampled: dict[str, Any], harm: Callable[[], None]
) -> None:
    content = DATA.read_bytes()
    run(sampled, "one.zarr")
    harm()
    with pytest.raises((StudyError, StoreError), match=r"problem\.initial") as refusal:
        run(sampled, "one.zarr")
    assert len(str(refusal.value).splitlines()) == 1
    if harm is change:
        assert "data.npy" in str(refusal.value)
        assert "has changed since" in str(refusal.value)
    restore(content)
    assert run(sampled, "one.zarr").computed == 0
