"""A store that changes under a run: workers notice, give up their shards, and nothing is lost."""

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import pytest
import zarr

from pipeline import compute, shards
from pipeline.compare import compare
from pipeline.errors import StoreChangedError
from pipeline.execute import Crew, Pace
from pipeline.folder import Folder
from pipeline.local_cluster import local_client
from pipeline.root import read_root
from pipeline.run import run_stages
from pipeline.session import Session, Summary, open_session, run_folder
from pipeline.study import Study
from pipeline.verify import verify

pytestmark = pytest.mark.usefixtures("no_figures")


def session_of(
    document: dict[str, Any], store: str, redo: frozenset[int] = frozenset()
) -> contextlib.AbstractContextManager[Session]:
    study = Study(**copy.deepcopy(document))
    return open_session(study, run_folder(study, store), redo=redo, stream=io.StringIO())


def run(document: dict[str, Any], store: str, redo: frozenset[int] = frozenset()) -> Summary:
    with session_of(document, store, redo) as session:
        return run_stages(session)


def grown(document: dict[str, Any]) -> dict[str, Any]:
    more = copy.deepcopy(document)
    more["axes"]["seed"] = {"count": 6}
    more["axes"]["cells"] = [50, 100, 80]
    return more


@pytest.mark.parametrize("dask", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_shards_are_abandoned_once_the_store_has_grown(tiny: dict[str, Any], dask: bool) -> None:
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(session_of(tiny, "one.zarr"))
        if dask:
            session.crew = Crew(stack.enter_context(local_client(1)), 1, Pace())
        limit, particles = session.study.steps
        session.execute(session.plan(limit).tasks)
        tasks = session.plan(particles).tasks
        session.execute(tasks[:5])
        # Another driver that has missed this one's heartbeat, which counts as its own here.
        assert run(grown(tiny), "one.zarr").exit == 0
        before = files("one.zarr")
        session.execute(tasks[5:])
        summary = session.conclude()
    assert "has changed under this run" in summary.extra["problem"]
    assert summary.exit == 1
    assert files("one.zarr") == before
    assert verify(Folder(Path("one.zarr"))) == []
    assert run(tiny, "one.zarr").computed == 0
    assert run(grown(tiny), "one.zarr").computed == 0
    run(grown(tiny), "fresh.zarr")
    assert all(
        d.other_bits == 0 for d in compare(Folder(Path("one.zarr")), Folder(Path("fresh.zarr")))
    )


def files(store: str) -> dict[Path, tuple[int, int]]:
    """Every chunk and metadata file with its inode and time: a rewritten one has others."""
    found = [p for p in Path(store).rglob("*") if p.is_file() and p.parent.name != ".drivers"]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def test_growth_between_computing_and_writing_is_noticed(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check comes right before the write, not only when a bundle starts."""
    with session_of(tiny, "one.zarr") as session:
        task = session.plan(session.study.steps[1]).tasks[0]
        put = shards.put

        def grow_and_put(*arguments: Any) -> None:
            with session_of(grown(tiny), "one.zarr"):
                put(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(compute, "put", grow_and_put)
            (token,) = compute.compute_bundle(session.spec, [task.shard])
        assert "has changed under this run" in token.abandoned
        assert token.points == 0
    assert run(tiny, "one.zarr").computed == 4 + 24


def test_store_that_was_replaced_is_not_written(tiny: dict[str, Any]) -> None:
    """A store deleted and made anew for another study must not get this one's numbers."""
    with session_of(tiny, "one.zarr") as session:
        Path("one.zarr").rename("old.zarr")
        other = copy.deepcopy(tiny)
        other["problem"]["horizon"] = 0.4
        other["numerics"]["snapshots"] = [0.0, 0.4]
        run(other, "one.zarr")
        before = files("one.zarr")
        summary = run_stages(session)
    assert "has changed under this run" in summary.extra["problem"]
    assert files("one.zarr") == before


@pytest.mark.slow
def test_worker_that_lives_on_does_not_use_the_store_of_before_growth(
    tiny: dict[str, Any],
) -> None:
    """Its old shape would cut the last chunk short, and wipe out the points that were added."""
    tiny["axes"]["seed"] = {"count": 38}
    run(tiny, "one.zarr")
    assert zarr.open_group("one.zarr", mode="r")["particles/w1"].chunks[2] == 4
    more = copy.deepcopy(tiny)
    more["axes"]["seed"] = {"count": 40}
    assert run(more, "one.zarr").computed == 2 * 3 * 2
    assert run(tiny, "one.zarr", redo=frozenset({1})).computed == 4 + 2 * 3 * 38
    assert run(more, "one.zarr").computed == 0


def test_root_that_is_damaged_during_a_run_is_no_change(tiny: dict[str, Any]) -> None:
    with session_of(tiny, "one.zarr") as session:
        digest = read_root(Folder(Path("one.zarr")))["attributes"]["digest"]
        (Path("one.zarr") / "zarr.json").write_text("{")
        session.store.check_unchanged()
        assert session.store.digest == digest
        (Path("one.zarr") / ".zarr.json.backup").unlink()
        with pytest.raises(OSError, match="damaged"):
            session.store.check_unchanged()
    assert issubclass(StoreChangedError, OSError)
