"""Storage that fails in the middle of a run: a clear end, a store that is right, the same bits."""

import contextlib
import copy
import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline.compare import compare
from pipeline.folder import Folder
from pipeline.run import run_stages
from pipeline.session import Session, Summary, open_session, run_folder
from pipeline.study import Study
from pipeline.verify import verify

pytestmark = pytest.mark.usefixtures("no_figures")

FAULTS = [errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EACCES]


def session_of(document: dict[str, Any], store: str) -> contextlib.AbstractContextManager[Session]:
    study = Study(**copy.deepcopy(document))
    return open_session(study, run_folder(study, store), stream=io.StringIO())


def run(document: dict[str, Any], store: str) -> Summary:
    with session_of(document, store) as session:
        return run_stages(session)


def failing(patch: pytest.MonkeyPatch, name: str, code: int, after: int, part: str = "") -> None:
    """Make Zarr's local store fail from some operation on, as an unmounted file system does."""
    operation = getattr(zarr.storage._local, name)
    seen = []

    def fail(path: Path, *arguments: Any, **named: Any) -> Any:
        if part in str(path):
            seen.append(path)
        if len(seen) > after:
            raise OSError(code, os.strerror(code))
        return operation(path, *arguments, **named)

    patch.setattr(zarr.storage._local, name, fail)


@pytest.mark.parametrize("code", FAULTS)
def test_writes_that_fail_end_the_run_and_it_is_completed(
    tiny: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_of(tiny, "one.zarr") as session, monkeypatch.context() as patch:
        failing(patch, "_put", code, after=90)
        summary = run_stages(session)
    assert summary.exit == 1
    assert os.strerror(code) in summary.extra["problem"]
    assert 0 < summary.computed < 4 + 24
    assert no_failures("one.zarr")
    assert verify(Folder(Path("one.zarr"))) == []
    assert run(tiny, "one.zarr").computed == 4 + 24 - summary.computed
    run(tiny, "fresh.zarr")
    assert all(
        d.other_bits == 0 for d in compare(Folder(Path("one.zarr")), Folder(Path("fresh.zarr")))
    )


def no_failures(store: str) -> bool:
    """Whether every point is done or pending: a fault of the storage is none of a point."""
    tree = xr.open_datatree(store, engine="zarr")
    states = [tree["limit/status"], tree["particles/status"], tree["particles/status_pde"]]
    return all(bool(np.isin(s.values, [0, 1]).all()) for s in states)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_results_of_an_earlier_step_that_cannot_be_read_are_no_failure_of_a_point(
    tiny: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_of(tiny, "one.zarr") as session, monkeypatch.context() as patch:
        limit = session.study.steps[0]
        session.execute(session.plan(limit).tasks)
        failing(patch, "_get", code, after=2, part="density")
        summary = run_stages(session)
    assert summary.exit == 1
    assert summary.extra["problem"]
    assert no_failures("one.zarr")
    assert run(tiny, "one.zarr").exit == 0
    assert no_failures("one.zarr")


def test_damage_to_an_earlier_step_during_a_run_ends_it(tiny: dict[str, Any]) -> None:
    with session_of(tiny, "one.zarr") as session:
        limit, particles = session.study.steps
        session.execute(session.plan(limit).tasks)
        (chunk,) = Path("one.zarr/limit/cells_50/density/c/0").rglob("*/0")
        chunk.write_bytes(chunk.read_bytes()[:-1])
        session.execute(session.plan(particles).tasks)
        summary = session.conclude()
    assert summary.exit == 1
    assert "damaged" in summary.extra["problem"]
    assert no_failures("one.zarr")
    assert [str(d) for d in verify(Folder(Path("one.zarr")))] == [
        "limit/cells_50/density chunk 0/0/0: damaged"
    ]
    assert run(tiny, "one.zarr").exit == 0
    assert verify(Folder(Path("one.zarr"))) == []


def test_store_that_is_out_of_reach_at_the_end_leaves_no_false_counts(tiny: dict[str, Any]) -> None:
    run(tiny, "one.zarr")
    with session_of(tiny, "one.zarr") as session:
        Path("one.zarr").rename("elsewhere.zarr")
        summary = run_stages(session)
    assert summary.exit == 1
    assert "one.zarr" in summary.extra["problem"]
    assert summary.points == {}
    assert not Path("one.zarr").exists()  # a folder that is not mounted must not be filled
    Path("elsewhere.zarr").rename("one.zarr")
    assert run(tiny, "one.zarr").computed == 0
