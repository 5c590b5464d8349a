"""Whole runs in this process and on Dask: what is stored, resumed, grown, mended and reproduced."""

import contextlib
import copy
import errno
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline.errors import StoreError
from pipeline.execute import Crew, Pace
from pipeline.folder import Folder
from pipeline.local_cluster import local_client
from pipeline.run import run_stages
from pipeline.session import Session, Summary, open_session, run_folder
from pipeline.status import Status
from pipeline.study import Study

NOT_REPRODUCIBLE = ("wall_seconds",)


def session_of(
    document: dict[str, Any], store: str | None = None
) -> contextlib.AbstractContextManager[Session]:
    study = Study(**copy.deepcopy(document))
    return open_session(study, run_folder(study, store), stream=io.StringIO())


def run(document: dict[str, Any], store: str | None = None) -> Summary:
    with session_of(document, store) as session:
        return run_stages(session)


def assert_same_bits(one: Path | str, other: Path | str) -> None:
    left, right = (xr.open_datatree(path, engine="zarr") for path in (one, other))
    assert {node.path for node in left.subtree} == {node.path for node in right.subtree}
    for node in left.subtree:
        found = right[node.path]
        assert set(node.variables) == set(found.variables)
        for name, variable in node.variables.items():
            if name not in NOT_REPRODUCIBLE:
                a, b = variable.values, found.variables[name].values
                assert a.dtype == b.dtype
                same = a.tobytes() == b.tobytes() if a.dtype.kind == "f" else (a == b).all()
                assert same, f"{node.path}/{name}"


@pytest.fixture
def reference_store(tiny: dict[str, Any]) -> str:
    run(tiny, "reference.zarr")
    return "reference.zarr"


def test_store_layout(tiny: dict[str, Any]) -> None:
    summary = run(tiny)
    assert summary.exit == 0
    assert summary.computed == 2 * 2 + 2 * 3 * 4
    tree = xr.open_datatree("runs/tiny/data.zarr")
    assert tree.attrs["format"] == 1
    limit, particles, analysis = tree["limit"], tree["particles"], tree["analysis"]
    for name in ("l1_error", "linf_error", "w1_error", "mass_error", "mean", "variance"):
        assert limit[name].dims == ("activation", "cells", "snapshot")
    assert limit["status"].dims == limit["wall_seconds"].dims == ("activation", "cells")
    for name in ("w1", "dobrushin_ratio", "mean", "variance"):
        assert particles[name].dims == ("activation", "particles", "seed", "snapshot")
    assert particles["w1_initial"].dims == ("activation", "particles", "seed")
    assert particles["w1_pde"].dims == ("activation", "cells", "particles", "seed", "snapshot")
    assert particles["status_pde"].dims == ("activation", "cells", "particles", "seed")
    for name in ("rate", "rate_low", "rate_high", "prefactor", "prefactor_expected"):
        assert analysis[name].dims == ("activation", "snapshot")
    assert analysis["floor"].dims == ("activation", "cells", "snapshot")
    for cells in (50, 100):
        fields = tree[f"limit/cells_{cells}"]
        assert fields["density"].dims == ("activation", "snapshot", "x")
        assert fields["position"].dims == ("activation", "x")
        assert "x" not in fields.coords
        assert fields.sizes["x"] == cells
    assert particles["w1"].sel(activation="tanh", particles=300, seed=2, snapshot=0.2) > 0
    assert (particles["status"] == Status.DONE).all()
    assert (particles["status_pde"] == Status.DONE).all()
    assert "flag_meanings" in particles["status"].attrs
    files = {path.name for path in Path("runs/tiny").iterdir()}
    assert {"data.zarr", "study.toml", "run.json", "logs", "w1-against-m.png"} <= files
    record = json.loads(Path("runs/tiny/run.json").read_text())
    assert record["points"]["particles"] == {"total": 24, "done": 24, "pending": 0, "failed": {}}
    assert record["provenance"]["numerics_version"] >= 1


def test_numbers_make_sense(tiny: dict[str, Any]) -> None:
    run(tiny)
    tree = xr.open_datatree("runs/tiny/data.zarr")
    particles = tree["particles"]
    w1 = particles["w1"]
    assert np.array_equal(w1.sel(snapshot=0.0), particles["w1_initial"])
    slack = 1 + 1e-9 + 1e-10 / particles["w1_initial"]
    assert (particles["dobrushin_ratio"] <= slack).all()
    assert (tree["limit"]["mass_error"] <= 1e-13).all()
    # identity: x_T = a x_0 + B with a = exp(-0.2), so the variance is a²/12
    exact = np.exp(-0.4) / 12
    variance = tree["limit"]["variance"].sel(activation="identity", snapshot=0.2)
    assert abs(variance.sel(cells=100) / exact - 1) < 1e-2
    assert abs(variance.sel(cells=100) - exact) < abs(variance.sel(cells=50) - exact)
    sampled = particles["variance"].sel(activation="identity", particles=1000, snapshot=0.2)
    assert abs(sampled.mean() / exact - 1) < 0.1
    # common random numbers: the initial particles do not depend on the activation
    initial = particles["w1_initial"]
    assert np.array_equal(initial.sel(activation="tanh"), initial.sel(activation="identity"))
    analysis = tree["analysis"]
    assert (analysis["rate_low"] < analysis["rate"]).all()
    assert (analysis["rate"] < analysis["rate_high"]).all()
    expected = np.sqrt(2 / np.pi) * np.pi / 8  # ∫√(x(1-x)) dx on [0, 1]
    at_start = analysis["prefactor_expected"].sel(snapshot=0.0)
    assert np.allclose(at_start, expected, rtol=1e-6)


def test_fixed_domain_has_the_coordinate_x(tiny: dict[str, Any]) -> None:
    tiny["problem"]["domain"] = [-2.0, 3.0]
    assert run(tiny).exit == 0
    fields = xr.open_datatree("runs/tiny/data.zarr")["limit/cells_50"]
    assert "x" in fields.indexes
    assert np.allclose(fields["x"], fields["position"].sel(activation="tanh"))


def test_second_run_computes_nothing(tiny: dict[str, Any]) -> None:
    run(tiny)
    again = run(tiny)
    assert again.computed == 0
    assert again.exit == 0


def test_stopped_run_is_completed_with_the_same_bits(
    tiny: dict[str, Any], reference_store: str
) -> None:
    with session_of(tiny, "stopped.zarr") as session:
        finished = session.monitor.finished

        def stop_after_seven(tokens: Any, cost: float) -> None:
            finished(tokens, cost)
            if session.monitor.computed >= 7:
                session.monitor.stop.set()

        session.monitor.finished = stop_after_seven  # type: ignore[method-assign]
        stopped = run_stages(session)
    assert stopped.exit == 1
    assert 7 <= stopped.computed < 28
    rest = run(tiny, "stopped.zarr")
    assert stopped.computed + rest.computed == 28
    assert_same_bits("stopped.zarr", reference_store)


@pytest.mark.parametrize(("workers", "bundle_seconds"), [(1, 0.0), (2, 4.0)])
def test_same_bits_for_any_workers_bundles_and_order(
    tiny: dict[str, Any], reference_store: str, workers: int, bundle_seconds: float
) -> None:
    with session_of(tiny, "other.zarr") as session, local_client(workers) as client:
        session.crew = Crew(client, workers, Pace(), bundle_seconds)
        for step in session.study.steps:
            tasks = list(session.plan(step).tasks)
            random.Random(workers).shuffle(tasks)
            assert session.execute(tasks) == []
        assert session.conclude().exit == 0
    assert_same_bits("other.zarr", reference_store)


def test_axes_grow_in_place(tiny: dict[str, Any], reference_store: str) -> None:
    small = copy.deepcopy(tiny)
    small["axes"] = {
        "activation": ["tanh"],
        "cells": [100],
        "particles": [1000],
        "seed": {"count": 3},
    }
    assert run(small, "grown.zarr").computed == 1 + 3
    before = xr.open_datatree("grown.zarr")["particles"]["wall_seconds"].values.copy()
    grown = run(tiny, "grown.zarr")
    assert grown.computed == (4 - 1) + (24 - 3) + 3  # the three old particle points gain cells = 50
    tree = xr.open_datatree("grown.zarr")
    kept = tree["particles"]["wall_seconds"].sel(activation="tanh", particles=1000, seed=[0, 1, 2])
    assert np.array_equal(kept.values.ravel(), before.ravel())
    for name in ("w1", "mean", "w1_pde"):
        ours = tree["particles"][name]
        theirs = xr.open_datatree(reference_store)["particles"][name]
        order = {k: theirs[k] for k in theirs.dims}
        assert np.array_equal(ours.sel(order).values, theirs.values)
    assert run(small, "grown.zarr").computed == 0  # dropped values are kept and ignored


def test_failed_points_are_told_apart_and_reproducible(tiny: dict[str, Any]) -> None:
    tiny["problem"]["domain"] = [-0.6, 0.6]
    tiny["problem"]["controls"] = {"w": 0.0, "b": 2.0}
    summary = run(tiny)
    assert summary.exit == 1
    assert summary.points["limit"].failed == {"4": 4}
    tree = xr.open_datatree("runs/tiny/data.zarr")
    assert (tree["limit"]["status"] == Status.MASS_LOST).all()
    assert np.isnan(tree["limit"]["l1_error"]).all()
    assert (tree["particles"]["status"] == Status.DONE).all()
    assert (tree["particles"]["status_pde"] == Status.UPSTREAM).all()
    logs = sorted(Path("runs/tiny/logs").glob("limit-*.txt"))
    assert len(logs) == 4
    text = logs[0].read_text()
    for word in ("status: 4 mass-lost", "parameters: ", "reproduce: meanfield point", "Traceback"):
        assert word in text
    assert run(tiny).computed == 0  # a failure stays until it is retried


def test_timeout_is_a_status(tiny: dict[str, Any]) -> None:
    tiny["numerics"]["point_timeout"] = 1e-9
    summary = run(tiny)
    assert summary.points["limit"].failed == {"6": 4}
    assert summary.points["particles"].failed == {"6": 24}


def test_other_study_is_refused_and_the_key_named(tiny: dict[str, Any]) -> None:
    run(tiny)
    tiny["problem"]["horizon"] = 0.4
    with pytest.raises(StoreError, match=r"problem\.horizon is 0\.2 there and 0\.4 here"):
        run(tiny)


def test_newer_format_and_strangers_are_refused(tiny: dict[str, Any]) -> None:
    run(tiny)
    meta = Path("runs/tiny/data.zarr/zarr.json")
    content = json.loads(meta.read_text())
    content["attributes"]["format"] = 2
    meta.write_text(json.dumps(content))
    with pytest.raises(StoreError, match="format 2"):
        run(tiny)
    Path("stranger").mkdir()
    (Path("stranger") / "file.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a store"):
        run(tiny, "stranger")
    Path("file").write_text("mine")
    with pytest.raises(StoreError, match="not a store"):
        run(tiny, "file")


def test_full_disk_ends_cleanly_and_is_completed(
    tiny: dict[str, Any], reference_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    put = zarr.storage._local._put

    def full(path: Path, *args: Any, **kwargs: Any) -> int:
        written.append(path)
        if len(written) > 90:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(path, *args, **kwargs)

    with session_of(tiny, "full.zarr") as session, monkeypatch.context() as patch:
        patch.setattr(zarr.storage._local, "_put", full)
        summary = run_stages(session)
    assert summary.exit == 1
    assert "No space left" in summary.extra["problem"]
    assert 0 < summary.computed < 28
    assert run(tiny, "full.zarr").exit == 0
    assert_same_bits("full.zarr", reference_store)


def test_leftovers_of_killed_writers_are_removed(tiny: dict[str, Any]) -> None:
    run(tiny)
    store = Path("runs/tiny/data.zarr")
    chunk = store / "particles/w1/c/0/0/0"
    (chunk / "0.deadbeef.partial").write_bytes(b"half")
    (store.parent / "data.zarr.0123abcd.partial").mkdir()
    of_another = store.parent / "data.zarr.b.zarr.0123abcd.partial"
    of_another.mkdir()
    figure = store.parent / f"w1.png.{32 * 'a'}.partial"
    figure.write_bytes(b"half")
    assert len(Folder(store).leftovers()) == 2
    run(tiny)
    assert Folder(store).leftovers() == set()
    assert of_another.is_dir()
    assert not figure.exists()


def test_extra_axes_and_zips_become_dimensions(tiny: dict[str, Any]) -> None:
    del tiny["axes"]["cells"]
    del tiny["numerics"]["time_step"]
    tiny["axes"]["integrator"] = ["euler", "rk4"]
    tiny["axes"]["zip"] = [{"name": "resolution", "cells": [50, 100], "time_step": [0.02, 0.01]}]
    assert run(tiny).exit == 0
    tree = xr.open_datatree("runs/tiny/data.zarr")
    w1 = tree["particles"]["w1"]
    assert set(w1.dims) == {
        "activation", "resolution", "particles", "seed", "integrator", "snapshot",
    }  # fmt: skip
    assert tree["limit"]["l1_error"].dims == ("activation", "resolution", "snapshot")
    assert list(tree["limit"]["cells"].values) == [50, 100]
    assert not np.isnan(tree["particles"]["w1_pde"]).any()
    assert not np.isnan(tree["limit/cells_50"]["density"].isel(resolution=0)).any()


def test_study_run_returns_the_tree(tiny: dict[str, Any]) -> None:
    tiny["axes"]["particles"] = [100]
    tree = Study(**tiny).run("api.zarr")
    assert isinstance(tree, xr.DataTree)
    assert tree["particles"]["w1"].sizes["particles"] == 1
