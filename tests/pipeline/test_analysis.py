"""The analysis of whole studies, against theory."""

import copy
import io
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.statistics.rate import fit_rate
from pipeline.steps.limit import cell_moments
from pipeline.study import Study
from solvers.distributions import Beta, Distribution, Normal, Uniform
from solvers.empirical import expected_w1

LAWS: dict[str, tuple[dict[str, Any], Distribution]] = {
    "uniform": ({"kind": "uniform", "low": -0.5, "high": 0.5}, Uniform(-0.5, 0.5)),
    "normal": ({"kind": "normal", "mean": 1.0, "std": 0.1}, Normal(1.0, 0.1)),
    "beta": ({"kind": "beta", "a": 2.0, "b": 5.0}, Beta(2.0, 5.0)),
}


@pytest.mark.parametrize("kind", LAWS)
def test_rate_and_prefactor_of_independent_samples(tiny: dict[str, Any], kind: str) -> None:
    spec, law = LAWS[kind]
    document = copy.deepcopy(tiny)
    document["study"]["steps"] = ["particles"]
    document["problem"]["initial"] = spec
    document["axes"] = {
        "activation": ["tanh"],
        "particles": [100, 300, 1000, 3000, 10000],
        "seed": {"count": 64},
    }
    study = Study(**document)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        run_stages(session)
    tree = xr.open_datatree("runs/tiny/data.zarr")
    distance = tree["particles"]["w1"].sel(activation="tanh")
    for snapshot in study.snapshots:
        fit = fit_rate(
            distance["particles"].values, distance.sel(snapshot=snapshot).values, level=0.999
        )
        assert fit.rate_low <= -0.5 <= fit.rate_high
    initial = tree["particles"]["w1_initial"].sel(activation="tanh")
    for particles in (100, 1000, 10000):
        sample = initial.sel(particles=particles).values
        error = sample.std(ddof=1) / math.sqrt(sample.size)
        assert abs(sample.mean() - expected_w1(law, particles)) <= 4 * error
    analysis = tree["analysis"].sel(activation="tanh")
    for snapshot in study.snapshots:
        at = analysis.sel(snapshot=snapshot)
        measured = float(np.sqrt(10000) * distance.sel(particles=10000, snapshot=snapshot).mean())
        assert measured == pytest.approx(float(at["prefactor_expected"]), rel=0.2)


def test_midpoint_quantiles_converge_with_rate_one(tiny: dict[str, Any]) -> None:
    tiny["numerics"]["sampling"] = "quantile"
    tiny["axes"]["seed"] = [0]
    study = Study(**tiny)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        run_stages(session)
    tree = xr.open_datatree("runs/tiny/data.zarr")
    initial = tree["particles"]["w1_initial"]
    assert np.allclose(initial * initial["particles"], 0.25, rtol=1e-9)  # |supp| / 4
    assert np.allclose(tree["analysis"]["rate"].sel(snapshot=0.0), -1.0, atol=1e-9)
    assert np.isnan(tree["analysis"]["prefactor_expected"]).all()


def test_moments_of_cell_averages_are_of_fourth_order() -> None:
    law = Normal(0.0, 1.0)
    errors = []
    for cells in (100, 200, 400):
        edges = np.linspace(-9.0, 9.0, cells + 1)
        mean, variance = cell_moments(edges, law.cell_averages(edges))
        assert abs(mean) < 1e-12
        errors.append(abs(variance - 1.0))
    assert np.log2(errors[0] / errors[1]) > 3.85
    assert np.log2(errors[1] / errors[2]) > 3.85
    edges = np.linspace(-1.0, 1.0, 41)
    assert cell_moments(edges, Uniform(-0.5, 0.5).cell_averages(edges))[1] == pytest.approx(1 / 12)
