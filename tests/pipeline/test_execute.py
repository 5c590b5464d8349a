"""Bundles: calibrated, cut, and taken apart where they kill their workers."""

import copy
import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline import execute as execute_module
from pipeline.compute import RunSpec, Token, compute_bundle, leaving
from pipeline.errors import ClusterError, StoreError
from pipeline.execute import BUNDLES_PER_SECOND, Crew, Pace, Roster, bundle_seconds
from pipeline.run import run_stages
from pipeline.session import Session, open_session, run_folder
from pipeline.shards import Shard, missing_points, read_block
from pipeline.status import Status
from pipeline.study import Study

pytestmark = pytest.mark.usefixtures("no_figures")


class KilledWorker(Exception):  # noqa: N818
    """Named as Dask's, which is known by its name."""


class FakeFuture:
    """A future that has ended."""

    def __init__(self, key: str, call: Callable[[], list[Token]]) -> None:
        self.key = key
        self.status = "finished"
        self._error: Exception | None = None
        try:
            self._result = call()
        except (KilledWorker, OSError) as error:
            self.status, self._error = "error", error

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    def exception(self) -> Exception | None:
        return self._error

    def result(self) -> list[Token]:
        return self._result

    def release(self) -> None:
        pass


class FakeClient:
    """Computes at once, and dies on bundles that contain a poisonous point."""

    def __init__(self, session: Session, poison: dict[str, Any]) -> None:
        self._session = session
        self._poison = poison
        self.bundles: list[int] = []

    def submit(self, _f: object, spec: RunSpec, shards: Sequence[Shard], **_: object) -> FakeFuture:
        self.bundles.append(len(shards))
        return FakeFuture(f"b{len(self.bundles)}", lambda: self._compute(spec, shards))

    def _compute(self, spec: RunSpec, shards: Sequence[Shard]) -> list[Token]:
        for shard in shards:
            if self._poisonous(shard):
                raise KilledWorker
        return compute_bundle(spec, shards)

    def _poisonous(self, shard: Shard) -> bool:
        store = self._session.store
        step = store.study.step(shard.step)
        block = read_block(store, step, step.tables[0], shard, frozenset())
        for offset in map(tuple, np.argwhere(missing_points([block])).tolist()):
            if shard.only is None or offset in shard.only:
                values = store.values_at(block.axes, block.index(offset)) or {}
                if self._poison.items() <= values.items():
                    return True
        return False

    def gather(self, futures: Sequence[FakeFuture]) -> list[list[Token]]:
        return [future.result() for future in futures]

    def cancel(self, futures: Sequence[object]) -> None:
        assert not futures

    def nthreads(self) -> dict[str, int]:
        return {"one": 1}


def test_poisonous_point_is_found_and_the_others_are_computed(tiny: dict[str, Any]) -> None:
    tiny["axes"]["seed"] = {"count": 40}
    study = Study(**copy.deepcopy(tiny))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        client: Any = FakeClient(session, {"activation": "tanh", "particles": 300, "seed": 17})
        session.crew = Crew(client, 2, Pace(), 4.0)
        summary = run_stages(session)
    assert summary.exit == 1
    assert summary.points["particles"].failed == {"7": 1}
    assert summary.points["particles"].done == 2 * 3 * 40 - 1
    particles = xr.open_datatree("runs/tiny/data.zarr")["particles"]
    at = particles.sel(activation="tanh", particles=300, seed=17)
    assert at["status"] == Status.OUT_OF_MEMORY
    assert (at["status_pde"] == Status.UPSTREAM).all()
    assert max(client.bundles) > 1


def test_cluster_without_workers_is_given_up(tiny: dict[str, Any]) -> None:

    class Waiting(FakeFuture):
        def __init__(self) -> None:
            self.key = "waiting"
            self.status = "pending"

        def add_done_callback(self, callback: Callable[[Any], None]) -> None:
            pass

    class Empty(FakeClient):
        def submit(self, *_: Any, **__: Any) -> FakeFuture:
            return Waiting()

        def cancel(self, futures: Sequence[object]) -> None:
            assert len(futures) == 1

        def nthreads(self) -> dict[str, int]:
            return {}

    study = Study(**copy.deepcopy(tiny))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        client: Any = Empty(session, {})
        session.crew = Crew(client, 1, Pace(), roster=Roster(client, patience=0.5))
        plan = session.plan(study.steps[0])
        with pytest.raises(ClusterError, match="no worker"):
            execute_module.execute(session.spec, plan.tasks, session.crew, session.monitor)
        summary = run_stages(session)
    assert summary.exit == 1
    assert "no worker" in summary.extra["problem"]


class Crowd:
    """A client whose workers come and go as a test says."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def nthreads(self) -> dict[str, int]:
        return {f"tcp://host:{i}": 1 for i in range(self.workers)}


def test_bundles_follow_the_workers_and_ask_for_those_that_may_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execute_module, "LOOK_SECONDS", 0.0)
    crowd: Any = Crowd(3)
    roster = Roster(crowd, most=10)
    assert (roster.ask(), roster.wanted()) == (3, 2 * 3 + 7)
    crowd.workers = 12
    assert (roster.ask(), roster.wanted()) == (12, 2 * 12)


def test_cluster_is_asked_now_and_then_only() -> None:
    crowd: Any = Crowd(3)
    roster = Roster(crowd)
    assert roster.ask() == 3
    crowd.workers = 5
    assert roster.ask() == 3


def test_scheduler_that_has_gone_ends_the_run_with_what_to_do() -> None:
    class Gone(Crowd):
        def nthreads(self) -> dict[str, int]:
            raise OSError("Timed out trying to connect")

    client: Any = Gone(0)
    with pytest.raises(ClusterError, match="start it again, and run again"):
        Roster(client).ask()


@pytest.mark.parametrize(("workers", "each"), [(2, 300.0), (100, 300.0), (1000, 300.0)])
def test_bundles_end_short_and_never_swamp_the_scheduler(workers: int, each: float) -> None:
    pace = Pace()
    pace.begin(workers * each)
    lengths = [bundle_seconds(pace, workers)]
    pace.learn(2.0, 2.0)
    while pace.left > 0.0:
        lengths.append(bundle_seconds(pace, workers))
        pace.send(lengths[-1])
    assert lengths[0] == max(lengths) / 4
    assert len(lengths) < 2.0 * max(each * BUNDLES_PER_SECOND, each / 4.0 * workers)
    assert min(lengths) <= max(0.05, workers / BUNDLES_PER_SECOND / 2)
    assert lengths[1:] == sorted(lengths[1:], reverse=True)


def test_shards_that_a_leaving_worker_did_not_begin_are_sent_again(tiny: dict[str, Any]) -> None:
    class Leaving(FakeClient):
        def _compute(self, spec: RunSpec, shards: Sequence[Shard]) -> list[Token]:
            if len(self.bundles) == 2:
                return [Token(shard, left=True) for shard in shards]
            return compute_bundle(spec, shards)

    tiny["axes"]["seed"] = {"count": 40}
    study = Study(**copy.deepcopy(tiny))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        client: Any = Leaving(session, {})
        session.crew = Crew(client, 2, Pace(), 4.0)
        summary = run_stages(session)
    assert summary.exit == 0
    assert summary.computed == 4 + 2 * 3 * 40


def test_worker_that_is_leaving_begins_no_shard(tiny: dict[str, Any]) -> None:
    study = Study(**copy.deepcopy(tiny))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        shards = [task.shard for task in session.plan(study.steps[0]).tasks]
        leaving.set()
        try:
            tokens = compute_bundle(session.spec, shards)
        finally:
            leaving.clear()
        assert all(token.left and not token.points for token in tokens)
        assert not any(token.left for token in compute_bundle(session.spec, shards))


def test_worker_of_other_versions_that_comes_late_is_refused(tiny: dict[str, Any]) -> None:
    study = Study(**copy.deepcopy(tiny))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        shards = [task.shard for task in session.plan(study.steps[0]).tasks]
        driver = dataclasses.replace(session.spec, fingerprint="numerics 0, numba 0.1.0")
        with pytest.raises(StoreError, match=r"differs from the driver.* numba [\d.]+ there, 0\.1"):
            compute_bundle(driver, shards)
