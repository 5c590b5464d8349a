"""Particles on the line, moved by the processor or by a GPU (simulated): the same numbers."""

import copy
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StudyError
from pipeline.plan import plan_step
from pipeline.report.recompute import recompute
from pipeline.run import run_stages
from pipeline.session import Summary, open_session, run_folder
from pipeline.store import create, open_store
from pipeline.study import Study
from solvers.activations import ACTIVATIONS, Activation

HOME = Path(__file__).parents[3]
STUDY: dict[str, Any] = {
    "study": {"name": "moved", "seed": 4, "steps": ["particles"]},
    "problem": {
        "horizon": 0.2,
        "initial": {"kind": "normal", "mean": 0.0, "std": 1.0},
        "controls": {"w": "1 + t", "b": -0.5},
    },
    "axes": {
        "activation": ["relu", "tanh"],
        "particles": [20],
        "seed": [3],
        "push": ["direct", "flow-map"],
        "device": ["cpu", "gpu"],
    },
    "numerics": {"time_step": 0.1, "snapshots": [0.0, 0.2], "sampling": "iid-sorted"},
}
RUN = """
import json, sys
import pipeline.figures
from pipeline.study import Study
pipeline.figures.draw_figures = lambda *_: []
Study(**json.load(sys.stdin)).run("moved.zarr")
"""


@pytest.fixture
def document() -> dict[str, Any]:
    return copy.deepcopy(STUDY)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where numba-cuda is not installed."""
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr("solvers.device.find_spec", lambda _: None)


def test_both_devices_give_the_same_numbers(document: dict[str, Any]) -> None:
    if importlib.util.find_spec("numba.cuda") is None:
        pytest.skip("needs numba-cuda")
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(HOME)}
    command = [sys.executable, "-c", RUN]
    subprocess.run(command, env=environment, input=json.dumps(document), text=True, check=True)
    particles = xr.open_datatree("moved.zarr")["particles"].to_dataset()
    assert (particles["status"] == 1).all()
    cpu, gpu = (particles.sel(device=device) for device in ("cpu", "gpu"))
    for name in ("w1", "w1_initial", "mean", "variance"):
        np.testing.assert_allclose(gpu[name], cpu[name], rtol=0, atol=1e-13)


def run(document: dict[str, Any]) -> Summary:
    study = Study(**document)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        return run_stages(session)


@pytest.mark.usefixtures("without_gpu", "no_figures")
def test_points_fail_on_workers_without_a_gpu(document: dict[str, Any]) -> None:
    """A driver on another machine cannot know; the other points are computed."""
    assert run(document).points["particles"].failed == {"8": 4}
    particles = xr.open_datatree("runs/moved/data.zarr")["particles"]
    assert (particles["status"].sel(device="cpu") == 1).all()
    for log in (logs := list(Path("runs/moved/logs").glob("*.txt"))):
        assert 'needs numba-cuda: pip install "meanfield[gpu]"' in log.read_text()
    assert len(logs) == 4


@pytest.mark.usefixtures("without_gpu")
def test_a_run_on_this_machine_ends_before_anything_is_written(document: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r'^study: axes\.device: device = "gpu" needs numba-cuda'):
        Study(**document).run()
    assert not list(Path.cwd().iterdir())
    document["study"]["steps"] = ["limit"]  # moves no particles
    document["axes"] = {"activation": ["tanh"], "cells": [50]}
    document["numerics"]["device"] = "gpu"
    assert (Study(**document).run()["limit/status"] == 1).all()


@pytest.mark.usefixtures("without_gpu", "no_figures")
def test_a_store_is_planned_and_reported_without_a_gpu(document: dict[str, Any]) -> None:
    study = Study(**document)
    places = run_folder(study)
    create(places.store, study)
    store = open_store(places.store, study)
    assert plan_step(store, study.step("particles")).count.pending == 8
    found = recompute(places.store)
    assert found.notes == []
    assert set(found.densities["device"]) == {"cpu", "gpu"}


@pytest.mark.usefixtures("without_gpu", "no_figures")
def test_stores_made_before_the_setting_are_those_of_the_processor(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del document["axes"]["device"]
    now = Study(**document).identity
    then = {key: value for key, value in now.items() if key != "numerics.device"}
    assert then != now
    with monkeypatch.context() as older:
        older.setattr(Study, "identity", property(lambda _: then))
        assert run(document).exit == 0
    assert run(document).computed == 0
    document["numerics"]["device"] = "gpu"
    with pytest.raises(Exception, match=r"numerics\.device is .*'gpu' here"):
        run(document)


def test_not_in_space(document: dict[str, Any]) -> None:
    law = {"kind": "uniform", "low": 0.0, "high": 1.0}
    document["problem"]["initial"] = {"kind": "product", "components": [law, law]}
    del document["axes"]["push"], document["axes"]["device"]
    document["numerics"] |= {"sampling": "iid", "device": "gpu"}
    with pytest.raises(StudyError, match=r"device = 'gpu' works on the line; .*R\^2: cpu"):
        Study(**document)


def test_not_with_an_activation_of_ones_own(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "softplus", Activation("softplus", 5, "log(1 + exp(x))"))
    document["axes"]["activation"] = ["tanh", "softplus"]
    with pytest.raises(StudyError, match=r"axes\.device: .* does not have .*'softplus'; allowed"):
        Study(**document)
    document["axes"]["device"] = ["cpu"]
    Study(**document)
