"""Rates, prefactors and floors: against known laws, and against theory for real samples."""

import copy
import io
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.analysis import fit_floor, fit_rate
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.steps.limit import cell_moments
from pipeline.study import Study
from solvers.distributions import Beta, Distribution, Normal, Uniform
from solvers.empirical import expected_w1
from solvers.sampling import uniforms
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1

M = np.array([100, 316, 1000, 3162, 10000])


def noisy(rate: float, prefactor: float, seeds: int, spread: float = 0.3) -> np.ndarray:
    random = np.random.default_rng(3)
    return prefactor * M[:, None] ** rate * np.exp(spread * random.standard_normal((5, seeds)))


def test_exact_power_law_is_recovered() -> None:
    curves = np.repeat(0.7 * M[:, None] ** -0.5, 8, axis=1)
    fit = fit_rate(M, curves)
    assert fit.rate == pytest.approx(-0.5, abs=1e-12)
    assert fit.rate_low == pytest.approx(-0.5, abs=1e-12)
    assert fit.prefactor == pytest.approx(0.7, rel=1e-10)


@pytest.fixture(scope="module")
def nested_curves() -> np.ndarray:
    """W1 of nested uniform samples to the uniform law, (sizes, seeds)."""
    law = PiecewiseLinearCdf([0.0, 1.0], [1.0])
    sizes = (100, 200, 400, 800, 1600)
    pool = [uniforms(1600, (3, seed)) for seed in range(3200)]
    return np.array([[w1(PointMasses(u[:m]), law) for u in pool] for m in sizes])


@pytest.mark.parametrize("seeds", [4, 8, 16])
def test_interval_covers_as_often_as_it_says(nested_curves: np.ndarray, seeds: int) -> None:
    """On curves of nested samples, whose points are far from independent."""
    sizes = np.array([100, 200, 400, 800, 1600])
    fits = [fit_rate(sizes, part) for part in np.split(nested_curves, 3200 // seeds, axis=1)[:400]]
    inside = [fit.rate_low <= -0.5 <= fit.rate_high for fit in fits]
    assert 0.91 <= np.mean(inside) <= 0.985


def test_whole_curves_are_resampled() -> None:
    """A seed that is high at every M moves the prefactor, not the rate."""
    random = np.random.default_rng(5)
    curves = 0.7 * M[:, None] ** -0.5 * np.exp(0.5 * random.standard_normal(16))[None, :]
    fit = fit_rate(M, curves)
    assert fit.rate_high - fit.rate_low < 1e-9
    assert fit.prefactor_high / fit.prefactor_low > 1.2


def test_missing_results_are_left_out() -> None:
    curves = noisy(-0.5, 1.0, 12)
    whole = fit_rate(M[:4], curves[:4, :10])
    curves[4] = np.nan
    curves[2, 10:] = np.nan
    assert fit_rate(M, curves) == whole
    assert math.isnan(fit_rate(M, np.full((5, 3), np.nan)).rate)
    assert math.isnan(fit_rate(M[:1], curves[:1]).rate)
    one = fit_rate(M, noisy(-0.5, 1.0, 1))
    assert math.isfinite(one.rate)
    assert math.isnan(one.rate_low)


def test_floor_is_recovered() -> None:
    sampled = noisy(-0.5, 1.0, 200, spread=0.1)
    for floor in (1e-3, 1e-2, 1e-1):
        assert fit_floor(sampled, np.sqrt(sampled**2 + floor**2)) == pytest.approx(floor, rel=0.02)
    assert fit_floor(sampled, sampled) == 0.0


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
