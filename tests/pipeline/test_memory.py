"""What steps declare is what they take; a point that does not fit is refused, and no other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from pipeline import memory
from pipeline.layout import shard_shape
from pipeline.memory import peak_bytes
from pipeline.plan import estimate
from pipeline.run import run_stages, run_study
from pipeline.session import open_session, run_folder
from pipeline.study import Study

pytestmark = pytest.mark.usefixtures("no_figures")

MEASURE = """
import json, sys
from pathlib import Path
from pipeline.compute import compute_shard
from pipeline.folder import Folder
from pipeline.shards import shards_of
from pipeline.store import create, open_and_grow
from pipeline.study import Study
from pipeline.upstream import Results

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))

def compute(study, name):
    place = Folder(Path(name))
    create(place, study)
    store = open_and_grow(place, study)
    shards = [shard for step in study.steps for shard in shards_of(store, step)]
    def run():
        for shard in shards:
            failures = compute_shard(store, Results(store), shard).failures
            assert not failures, failures
    return run

for number, (small, large) in enumerate(json.loads(sys.argv[1])):
    compute(Study(**small), f"small{number}")()
    study = Study(**large)
    run = compute(study, f"large{number}")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = status("VmRSS")
    run()
    values = {key: value for axis in study.axes for key, value in zip(axis.keys, axis.values[0])}
    print(status("VmHWM") - before, study.steps[-1].peak_bytes(study.case(values)))
"""


def particles(tiny: dict[str, Any], number: int) -> dict[str, Any]:
    axes = {"activation": ["tanh"], "particles": [number], "seed": [0]}
    study = tiny["study"] | {"steps": ["particles"]}
    return tiny | {"study": study, "axes": axes, "numerics": {"time_step": 0.2}}


def limit(tiny: dict[str, Any], cells: int) -> dict[str, Any]:
    problem = tiny["problem"] | {"horizon": 1e-6, "controls": {"w": -1.0, "b": 0.5}}
    study = tiny["study"] | {"steps": ["limit"]}
    axes = {"activation": ["tanh"], "cells": [cells]}
    numerics = {"time_step": 1e-6}
    return {"study": study, "problem": problem, "axes": axes, "numerics": numerics}


def train(tiny: dict[str, Any], cells: int) -> dict[str, Any]:
    target = {"kind": "uniform", "low": 0.5, "high": 1.5}
    problem = {"horizon": 0.1, "initial": tiny["problem"]["initial"], "target": target}
    return {
        "study": tiny["study"] | {"steps": ["train"]},
        "problem": problem | {"gamma": 0.1, "domain": [-2.0, 3.0]},
        "axes": {"activation": ["tanh"]},
        "numerics": {"time_step": 0.1},
        "training": {"cells": cells, "intervals": 2000, "max_iterations": 1},
    }


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_steps_take_what_they_declare(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Measured in a fresh process: declared is more, and at most about twice as much."""
    studies = [
        (particles(tiny, 100), particles(tiny, 2_000_000)),
        (limit(tiny, 50), limit(tiny, 1_000_000)),
        (train(tiny, 20), train(tiny, 4000)),
    ]
    command = [sys.executable, "-c", MEASURE, json.dumps(studies)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        measured, declared = map(int, line.split())
        assert measured <= declared <= 2.2 * measured, done.stdout


@pytest.mark.slow
def test_a_point_that_does_not_fit_its_worker(tiny: dict[str, Any]) -> None:
    tables = particles(tiny, 1000)
    tables["axes"]["particles"] = [1000, 100_000_000, 2000]
    study = Study(**tables)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit="1 GB", dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        open_session(study, run_folder(study, "one.zarr"), client, 1) as session,
    ):
        (pid,) = client.run(lambda: __import__("os").getpid()).values()
        assert run_stages(session).exit == 1
        assert list(client.run(lambda: __import__("os").getpid()).values()) == [pid]
        tree = session.store.place.open_tree()
    assert tree["particles/status"].values.ravel().tolist() == [1, 7, 1]
    (log,) = session.places.logs.glob("particles-*.txt")
    assert (
        "needs about 11.6 GB, the worker may use 950 MB: more memory per worker, or fewer particles"
    ) in log.read_text()


def test_more_memory_and_a_retry(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(**particles(tiny, 2_000_000))
    with monkeypatch.context() as small:
        small.setattr(memory, "allowed_bytes", lambda: 500e6)
        assert run_study(study, "one.zarr")["particles/status"].item() == 7
    with open_session(study, run_folder(study, "one.zarr"), redo=frozenset({7})) as session:
        assert run_stages(session).exit == 0


def test_the_plan_tells(tiny: dict[str, Any]) -> None:
    few, many = (estimate(Study(**particles(tiny, m)))[-1].peak_bytes for m in (10**6, 10**7))
    assert few is not None
    assert many is not None
    assert many - few == pytest.approx(14 * 8 * 9e6)


def test_a_shard_counts(tiny: dict[str, Any]) -> None:
    study = Study(**tiny)
    step = study.step("particles")
    shard = shard_shape(study, step)
    one, four = (peak_bytes(study, step, shard | {"seed": n}) for n in (1, 4))
    assert one is not None
    assert four is not None
    points = 3 * np.prod([n for key, n in shard.items() if key != "seed"])
    numbers = 4 * 2 + 2 + 2 * 2  # with snapshots, without, and w1_pde at two numbers of cells
    assert four - one == memory.COPIES * 8 * points * numbers
