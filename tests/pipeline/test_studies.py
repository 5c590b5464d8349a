"""The studies that ship, made small: they load, run, and keep Dobrushin's statement everywhere."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.study import Study

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
SMALL: dict[str, list[Any]] = {
    "particles": [30, 1000],
    "training_particles": [10, 40],
    "training_cells": [50, 100],
    "seed": [0, 1, 2],
    "cells": [50, 100],
    "gamma": [0.1, 0.01],
}
LITTLE = {"intervals": 10, "max_iterations": 3, "starts": 1, "cells": 50}


def made_small(study: Study) -> Study:
    document = study.document()
    for key, values in SMALL.items():
        if len(document["axes"].get(key, ())) > 1:
            document["axes"][key] = values
    if study.trains:
        own = document["training"]
        own |= {key: value for key, value in LITTLE.items() if key in own}  # the rest are axes
        document["numerics"]["time_step"] = 0.1
    return Study(**document, folder=study.folder)


def cases() -> list[Any]:
    """The studies; those of regression runs reach every solver, and take their time."""
    slow = pytest.mark.slow
    return [
        pytest.param(path, id=path.stem, marks=[slow] if path.stem.startswith("regression") else [])
        for path in STUDIES
    ]


@pytest.mark.parametrize("path", cases())
def test_shipped_study(path: Path) -> None:
    whole = Study.load(path)
    assert whole.name == path.stem
    study = made_small(whole)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        summary = run_stages(session)
    failed = {code for count in summary.points.values() for code in count.failed}
    assert failed <= ({"5"} if study.trains else set())  # three iterations do not converge
    assert all(count.pending == 0 for count in summary.points.values())
    tree = xr.open_datatree(f"runs/{study.name}/data.zarr")
    if "particles" in study.header.steps and study.dimension == 1:
        particles = tree["particles"]
        slack = 1 + 1e-9 + 1e-10 / particles["w1_initial"]
        assert bool((particles["dobrushin_ratio"] <= slack).all())
        assert bool((particles["dobrushin_ratio"] > 0).all())
    if study.dimension > 1:
        cloud = tree["particles"]
        exact = cloud.sel(particles=cloud["particles"] <= study.numerics.exact_particles)
        assert np.isfinite(exact["w1"]).all()
        assert (exact["sliced_w1"] <= exact["w1"] * (1 + 1e-12)).all()  # as for every projection
    if {"particles", "limit"} <= set(study.header.steps):
        assert np.isfinite(tree["particles"]["w1_pde"]).all()
    if "dependence" in study.header.steps:
        dependence = tree["dependence"]
        slack = 1e-6 * dependence["bound_supremum"].max()
        assert bool((dependence["w1_perturbed"] <= dependence["bound_integral"] + slack).all())
        assert bool((dependence["bound_integral"] <= dependence["bound_supremum"] + slack).all())


def small(name: str) -> xr.DataTree:
    study = made_small(Study.load(next(path for path in STUDIES if path.stem == name)))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        assert run_stages(session).exit == 0
    return xr.open_datatree(f"runs/{name}/data.zarr")


@pytest.mark.parametrize("name", ["translation", "affine-image"])
def test_the_closed_results_reach_their_targets(name: str) -> None:
    """Propositions 3.4 and 3.6: what is left is the error of the scheme and of the sample."""
    tree = small(name)
    limit = tree["limit"].sel(snapshot=1.0)
    np.testing.assert_allclose(limit["w1_to_target"], limit["w1_error"], rtol=1e-6)
    particles = tree["particles"].sel(snapshot=1.0)
    np.testing.assert_allclose(particles["w1_to_target"], particles["w1"], rtol=1e-6)


def test_the_mean_is_preserved() -> None:
    """Lemma 3.1."""
    tree = small("mean-preserved")
    drift = abs(tree["limit"]["mean"] - 2 / 7).max(["snapshot", "activation"])
    assert float(drift.sel(cells=100)) < 0.4 * float(drift.sel(cells=50)) < 0.4 * 0.01
    sample = tree["particles"]["mean"] - 2 / 7  # a sample's own mean is off by e^(∫w) times as much
    t = sample["snapshot"]
    expected = sample.sel(snapshot=0.0) * np.exp((1 - np.cos(4 * t)) / 2)
    np.testing.assert_allclose(*xr.broadcast(sample, expected), rtol=0, atol=1e-6)


def test_the_density_ends_in_the_zeros() -> None:
    """Proposition 3.5: exponentially fast with quantiles, up to the share of a particle."""
    distance = small("steady-states")["particles"]["w1_to_target"]
    tanh = distance.isel(flow=0, seed=0).sel(particles=1000)
    decay = np.log(tanh.sel(snapshot=8.0) / tanh.sel(snapshot=16.0)) / 8
    assert float(decay) == pytest.approx(1.0, abs=0.01)  # |σ'(0) w|
    gcu = distance.isel(flow=1, seed=0).sel(snapshot=16.0, particles=1000)
    assert float(gcu) < np.pi / 1000
