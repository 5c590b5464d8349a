"""Plans: a table looked at as a whole tells what its shards tell one by one."""

import copy
import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr

from pipeline import compute, shards
from pipeline import store as store_module
from pipeline.compute import compute_shard
from pipeline.errors import StoreChangedError
from pipeline.folder import Folder
from pipeline.plan import Count, plan_step
from pipeline.run import run_stages
from pipeline.session import Summary, open_session, run_folder
from pipeline.shards import missing_points, put, read_block, shards_of, write_block
from pipeline.status import Status
from pipeline.steps.base import Step
from pipeline.store import Store, create, open_and_grow
from pipeline.study import Study
from pipeline.upstream import Results

pytestmark = pytest.mark.usefixtures("no_figures")

CHUNK = {"activation": 1, "particles": 2, "seed": 3}


def shape_of(step: Step) -> dict[str, int]:
    return {"activation": 1, "cells": 1} if step.name == "limit" else CHUNK


def made(document: dict[str, Any], path: str = "store.zarr") -> Store:
    """A new store with shards of another shape than this version would choose."""
    study = Study(**copy.deepcopy(document))
    with mock.patch.object(store_module, "shard_shape", lambda _, step: shape_of(step)):
        create(Folder(Path(path)), study)
    return open_and_grow(Folder(Path(path)), study)


def fill(store: Store, draws: np.random.Generator) -> None:
    """Put numbers, gaps and failures at random points of most shards."""
    statuses = [Status.DONE] * 6 + [Status.TIMEOUT, Status.UPSTREAM, Status.NOT_CONVERGED]
    for step in store.study.steps:
        for shard in shards_of(store, step):
            for table in step.tables_in(store.study.header.steps):
                block = read_block(store, step, table, shard, frozenset())
                for offset in np.ndindex(*block.status.shape):
                    if draws.random() < 0.8:
                        gap = draws.random() < 0.1
                        outputs = {} if gap else dict.fromkeys(block.data, 1.0)
                        put(block, offset, outputs, Status(draws.choice(statuses)))
                if block.changed and draws.random() < 0.9:
                    write_block(store, step, block)


def one_by_one(
    store: Store, step: Step, redo: frozenset[int]
) -> tuple[dict[tuple[int, ...], int], Count]:
    """The simple twin of a plan: points to compute by shard, and the count of all points."""
    tables = step.tables_in(store.study.header.steps)
    found, count = {}, Count()
    for shard in shards_of(store, step):
        blocks = [read_block(store, step, table, shard, redo) for table in tables]
        missing = missing_points(blocks)
        count.total += missing.size
        count.pending += int(missing.sum())
        if missing.any():
            found[shard.index] = int(missing.sum())
    return found, count


@pytest.mark.parametrize("redo", [frozenset[int](), frozenset({6, 9})])
@pytest.mark.parametrize("damage", ["", "particles/w1", "particles/status", "limit/status"])
def test_plan_is_that_of_the_shards(
    tiny: dict[str, Any], damage: str, redo: frozenset[int]
) -> None:
    store = made(tiny)
    fill(store, np.random.default_rng(len(damage)))
    if damage:
        victim = max(file for file in Path("store.zarr", damage, "c").rglob("*") if file.is_file())
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    for step in store.study.steps:
        plan = plan_step(store, step, redo)
        points, count = one_by_one(store, step, redo)
        assert {task.shard.index: task.points for task in plan.tasks} == points
        assert (plan.count.total, plan.count.pending) == (count.total, count.pending)
        assert plan.count.done + plan.count.failures == count.total - count.pending
        assert points
        assert count.pending < count.total or step.name == "limit"  # has no fields here
        assert list(plan.tasks) == sorted(plan.tasks, key=lambda t: (-t.cost, t.shard.index))


def test_nothing_is_read_of_a_new_store(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(tiny)
    monkeypatch.setattr(shards.Reader, "read", lambda *_: pytest.fail("read"))
    for step in store.study.steps:
        plan = plan_step(store, step)
        assert plan.count.pending == plan.count.total == sum(task.points for task in plan.tasks)


def run(document: dict[str, Any], store: str) -> Summary:
    study = Study(**copy.deepcopy(document))
    with open_session(study, run_folder(study, store), stream=io.StringIO()) as session:
        return run_stages(session)


def test_a_store_of_other_shards_goes_on_with_them(tiny: dict[str, Any]) -> None:
    tiny["axes"] |= {"seed": {"count": 3}}
    store = made(tiny, "old.zarr")
    step = store.study.step("particles")
    results = Results(store)
    for first in [next(shards_of(store, s)) for s in (store.study.step("limit"), step)]:
        compute_shard(store, results, first)
    tiny["axes"] |= {"seed": {"count": 4}}  # and its axes grow
    assert run(tiny, "old.zarr").exit == run(tiny, "new.zarr").exit == 0
    old, new = (xr.open_datatree(name, engine="zarr") for name in ("old.zarr", "new.zarr"))
    assert old["particles/w1"].encoding["chunks"] == (1, 2, 3, 2)
    assert new["particles/w1"].encoding["chunks"] != (1, 2, 3, 2)
    for name in ("w1", "w1_pde", "w1_initial", "status", "dobrushin_ratio"):
        assert (
            old[f"particles/{name}"].values.tobytes() == new[f"particles/{name}"].values.tobytes()
        )


def test_a_long_shard_is_written_on_the_way(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["study"]["steps"] = ["particles"]
    del tiny["axes"]["cells"]
    store = made(tiny)
    step = store.study.step("particles")
    shard = next(shards_of(store, step))
    compute_point, calls = compute._compute_point, []

    def dies_at_the_third(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise SystemExit
        compute_point(*arguments)

    monkeypatch.setattr(compute, "_compute_point", dies_at_the_third)
    monkeypatch.setattr(compute, "WRITE_SECONDS", 0.0)
    with pytest.raises(SystemExit):
        compute_shard(store, Results(store), shard)
    block = read_block(store, step, step.tables[0], shard, frozenset())
    assert int((block.status == Status.DONE).sum()) == 2
    assert int(block.missing.sum()) == block.status.size - 2


def test_writers_look_at_the_root_itself(tiny: dict[str, Any]) -> None:
    """Equal bytes need no second look; others do, and may say the same."""
    store = made(tiny)
    root = Path("store.zarr/zarr.json")
    store.check_unchanged()
    root.write_text(json.dumps(json.loads(root.read_text())))
    store.check_unchanged()
    tiny["axes"]["seed"] = {"count": 9}
    made(tiny)
    with pytest.raises(StoreChangedError):
        store.check_unchanged()
