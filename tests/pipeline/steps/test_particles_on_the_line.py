"""Particles on the line, pushed by all steps or by the flow map: the same numbers."""

import copy
import io
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StudyError
from pipeline.memory import peak_bytes
from pipeline.report.recompute import follow
from pipeline.run import run_stages
from pipeline.session import Summary, open_session, run_folder
from pipeline.study import Study
from solvers.sampling import TILE

STUDY: dict[str, Any] = {
    "study": {"name": "pushed", "seed": 4},
    "problem": {
        "horizon": 0.5,
        "initial": {"kind": "normal", "mean": 0.0, "std": 1.0},
        "target": {"kind": "uniform", "low": 0.0, "high": 1.0},
        "controls": {"w": "1 + t", "b": -0.5},
    },
    "axes": {
        "activation": ["relu", "tanh"],
        "cells": [50],
        "particles": [20, TILE + 60],
        "seed": [3],
        "push": ["direct", "flow-map"],
    },
    "numerics": {"time_step": 0.05, "snapshots": [0.0, 0.25, 0.5], "sampling": "iid-sorted"},
}


@pytest.fixture
def document() -> dict[str, Any]:
    return copy.deepcopy(STUDY)


def run(document: dict[str, Any]) -> tuple[xr.Dataset, Summary]:
    study = Study(**document)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        summary = run_stages(session)
    return xr.open_datatree(f"runs/{study.name}/data.zarr")["particles"].to_dataset(), summary


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("sampling", ["iid", "iid-sorted"])
def test_both_ways_to_push_give_the_same_numbers(document: dict[str, Any], sampling: str) -> None:
    document["numerics"]["sampling"] = sampling
    particles, summary = run(document)
    assert summary.exit == 0
    stepped, pushed = (particles.sel(push=way) for way in ("direct", "flow-map"))
    for name in ("w1", "w1_pde", "w1_to_target", "mean", "variance", "w1_initial"):
        assert np.isfinite(stepped[name]).all()
        np.testing.assert_allclose(pushed[name], stepped[name], rtol=0, atol=1e-12)
    np.testing.assert_allclose(pushed["dobrushin_ratio"], stepped["dobrushin_ratio"], rtol=1e-9)
    np.testing.assert_array_equal(pushed["w1_initial"], stepped["w1_initial"])


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("integrator", ["euler", "ssprk3"])
def test_the_flow_map_is_that_of_the_integrator(document: dict[str, Any], integrator: str) -> None:
    """A coarse Euler step is off by much more than the two ways differ."""
    document["axes"] |= {"particles": [500], "activation": ["tanh"]}
    document["numerics"] |= {"integrator": integrator, "time_step": 0.25}
    particles, _ = run(document)
    stepped, pushed = (particles["mean"].sel(push=way) for way in ("direct", "flow-map"))
    np.testing.assert_allclose(pushed, stepped, rtol=0, atol=1e-12)
    document["numerics"]["time_step"] = 0.05
    document["study"]["name"] = "finer"
    finer, _ = run(document)
    assert abs(finer["mean"] - particles["mean"]).max() > 1e-5


def test_memory_does_not_grow_with_the_particles(document: dict[str, Any]) -> None:
    def peak(sampling: str, particles: int) -> int:
        document["axes"] |= {"particles": [particles], "push": ["flow-map"]}
        document["numerics"]["sampling"] = sampling
        study = Study(**document)
        found = peak_bytes(study, study.step("particles"), {})
        assert found is not None
        return found

    assert peak("iid-sorted", 10**9) == peak("iid-sorted", 10**6) < 500e6
    assert peak("quantile", 10**9) < 500e6
    assert peak("iid", 10**9) > 8e9


def test_reports_can_draw_histograms_of_streams(document: dict[str, Any]) -> None:
    study = Study(**document)
    values = {"activation": "tanh", "particles": TILE + 60, "seed": 3}
    found = [
        follow(study.case(values | {"push": way}), lambda: None).snapshots
        for way in ("direct", "flow-map")
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-12 * np.abs(found[0]).max())


def test_not_in_space(document: dict[str, Any]) -> None:
    law = {"kind": "uniform", "low": 0.0, "high": 1.0}
    document["problem"]["initial"] = {"kind": "product", "components": [law, law]}
    del document["problem"]["target"], document["axes"]["cells"]
    document["study"]["steps"] = ["particles"]
    document["numerics"]["sampling"] = "iid"
    with pytest.raises(StudyError, match=r"push = 'flow-map' works on the line; .*R\^2: direct"):
        Study(**document)


@pytest.mark.usefixtures("no_figures")
def test_steps_that_swap_particles_fail_with_the_flow_map_only(document: dict[str, Any]) -> None:
    document["problem"]["controls"] = {"w": -9.0, "b": 0.0}
    document["axes"] |= {"particles": [20], "activation": ["tanh"]}
    document["numerics"] |= {"integrator": "euler", "time_step": 0.25}
    particles, summary = run(document)
    assert summary.exit == 1
    assert particles["status"].sel(push="direct").item() == 1
    assert particles["status"].sel(push="flow-map").item() == 8
