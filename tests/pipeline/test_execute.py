"""Bundles: calibrated, cut, and taken apart where they kill their workers."""

import copy
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline import execute as execute_module
from pipeline.compute import RunSpec, Token, compute_bundle
from pipeline.errors import ClusterError
from pipeline.execute import Crew, Pace
from pipeline.run import run_stages
from pipeline.session import Session, open_session, run_folder
from pipeline.shards import Shard, missing_points, read_block
from pipeline.status import Status
from pipeline.study import Study


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

    def cancel(self, futures: Sequence[object]) -> None:
        assert not futures

    def scheduler_info(self, n_workers: int = -1) -> dict[str, Any]:
        return {"workers": {"one": {}}}


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


def test_cluster_without_workers_is_given_up(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(execute_module, "WORKERLESS_SECONDS", 0.5)

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

        def scheduler_info(self, n_workers: int = -1) -> dict[str, Any]:
            return {"workers": {}}

    study = Study(**copy.deepcopy(tiny))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        client: Any = Empty(session, {})
        session.crew = Crew(client, 1, Pace())
        plan = session.plan(study.steps[0])
        with pytest.raises(ClusterError, match="no worker"):
            execute_module.execute(session.spec, plan.tasks, session.crew, session.monitor)
        summary = run_stages(session)
    assert summary.exit == 1
    assert "no worker" in summary.extra["problem"]
