"""Particles in R^d: distances between clouds, and studies whose points live in several spaces."""

import copy
import io
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StudyError
from pipeline.run import run_stages
from pipeline.session import Summary, open_session, run_folder
from pipeline.settings import MAX_SEED
from pipeline.steps.particles import cost_clouds, evaluate_clouds, follow_clouds
from pipeline.study import Study
from solvers.distributions import Product, Uniform
from solvers.optimal_transport import cloud_w1
from solvers.sampling import sample
from solvers.sliced_wasserstein import sliced_w1
from solvers.wasserstein import PointMasses, w1

CUBE = [{"kind": "uniform", "low": 0.0, "high": 1.0}] * 3
LAWS = [
    CUBE[0],
    {"kind": "product", "components": CUBE[:2]},
    {"kind": "product", "components": CUBE},
]
STUDY: dict[str, Any] = {
    "study": {"name": "clouds", "seed": 4, "steps": ["particles"]},
    "problem": {"horizon": 0.5, "initial": LAWS[2], "controls": {"w": "1 + t", "b": -0.5}},
    "axes": {"activation": ["identity", "tanh"], "particles": [20, 60], "seed": [0, 3]},
    "numerics": {
        "time_step": 0.1, "snapshots": [0.0, 0.5], "exact_particles": 40, "projections": 8,
    },
}  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    return copy.deepcopy(STUDY)


@pytest.fixture
def mixed(document: dict[str, Any]) -> dict[str, Any]:
    del document["problem"]["initial"]
    document["axes"]["initial"] = LAWS
    return document


def run(document: dict[str, Any]) -> tuple[xr.Dataset, Summary]:
    study = Study(**document)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        summary = run_stages(session)
    return xr.open_datatree(f"runs/{study.name}/data.zarr")["particles"].to_dataset(), summary


def case_of(document: dict[str, Any], **values: Any) -> Any:
    return Study(**document).case({"activation": "tanh", "particles": 20, "seed": 0} | values)


def test_distances_are_those_to_an_independent_cloud(document: dict[str, Any]) -> None:
    particles, summary = run(document)
    assert summary.exit == 0
    start = Product([Uniform(0.0, 1.0)] * 3)
    x, y = sample(start, 20, "iid", (4, 3)), sample(start, 20, "iid", (4, 3 + 2**63))
    at = particles.sel(activation="tanh", particles=20, seed=3)
    assert at["w1"].sel(snapshot=0.0) == cloud_w1(x, y)
    found = sliced_w1(x, y, 8, (4 + 2**63, 3))
    assert at["sliced_w1"].sel(snapshot=0.0) == found.distance
    assert at["sliced_w1_error"].sel(snapshot=0.0) == found.error
    assert at["w1"].sel(snapshot=0.5) > at["w1"].sel(snapshot=0.0)  # w > 0 spreads them
    assert np.isnan(particles["w1"].sel(particles=60)).all()
    assert np.isfinite(particles["w1"].sel(particles=20)).all()
    assert np.isfinite(particles["sliced_w1"]).all()
    assert run(document)[1].computed == 0


def test_the_flow_of_identity_stretches_both_clouds_alike(document: dict[str, Any]) -> None:
    """x' = (1 + t) x - 1/2 multiplies all differences by e^(t + t²/2)."""
    document["numerics"]["time_step"] = 0.01
    particles, _ = run(document)
    identity = particles.sel(activation="identity", particles=20)
    growth = identity["w1"].sel(snapshot=0.5) / identity["w1"].sel(snapshot=0.0)
    np.testing.assert_allclose(growth, np.exp(0.625), rtol=1e-8)
    sliced = identity["sliced_w1"].sel(snapshot=0.5) / identity["sliced_w1"].sel(snapshot=0.0)
    np.testing.assert_allclose(sliced, np.exp(0.625), rtol=1e-8)


@pytest.mark.parametrize("sampling", ["iid", "sobol"])
def test_both_clouds_are_nested_and_never_the_same(document: dict[str, Any], sampling: str) -> None:
    document["numerics"]["sampling"] = sampling
    document["axes"]["seed"] = [0, MAX_SEED]
    drawn = []
    for seed in (0, MAX_SEED):
        small = follow_clouds(case_of(document, seed=seed), lambda: None)
        large = follow_clouds(case_of(document, seed=seed, particles=40), lambda: None)
        np.testing.assert_array_equal(large.cloud[:, :20], small.cloud)
        np.testing.assert_array_equal(large.twin[:, :20], small.twin)
        drawn += [large.cloud[0, 0, 0], large.twin[0, 0, 0]]
    assert len(set(drawn)) == 4


def test_two_clouds_bound_the_distance_to_the_limit_from_both_sides(mixed: dict[str, Any]) -> None:
    """E W1(f^M, f) <= E W1(f^M, g^M) <= 2 E W1(f^M, f), seen on the line."""
    mixed["axes"] |= {"initial": LAWS[:2], "seed": {"count": 100}, "activation": ["tanh"]}
    clouds, _ = run(mixed)
    line = copy.deepcopy(STUDY)
    line["study"]["name"] = "line"
    line["problem"]["initial"] = LAWS[0]
    line["axes"] |= {"seed": {"count": 100}, "activation": ["tanh"]}
    line["numerics"] = {"time_step": 0.1, "snapshots": [0.0, 0.5]}
    limit, _ = run(line)
    np.testing.assert_array_equal(clouds["mean"].isel(initial=0, component=0), limit["mean"])
    ratio = clouds["w1"].isel(initial=0).mean("seed") / limit["w1"].mean("seed")
    assert (ratio > 1).all()
    assert (ratio < 2).all()
    np.testing.assert_allclose(ratio, np.sqrt(2), rtol=0.1)  # two Brownian bridges against one


def test_points_in_several_spaces(mixed: dict[str, Any]) -> None:
    particles, summary = run(mixed)
    assert summary.exit == 0
    assert dict(particles.sizes)["component"] == 3
    for row, d in enumerate((1, 2, 3)):
        mean = particles["mean"].isel(initial=row)
        covariance = particles["covariance"].isel(initial=row)
        assert np.isfinite(mean[..., :d]).all()
        assert np.isnan(mean[..., d:]).all()
        assert np.isfinite(covariance[..., :d, :d]).all()
        assert np.isnan(covariance[..., d:, :]).all()
        assert np.isnan(covariance[..., :, d:]).all()
    line = particles.isel(initial=0)
    np.testing.assert_allclose(line["sliced_w1"], line["w1"], rtol=1e-12)
    assert (line["sliced_w1_error"] == 0).all()
    clouds = follow_clouds(case_of(mixed, initial=Study(**mixed).axis("initial").values[0][0]),
                           lambda: None)  # fmt: skip
    exact = w1(PointMasses(clouds.cloud[1, :, 0]), PointMasses(clouds.twin[1, :, 0]))
    at = line.sel(activation="tanh", particles=20, seed=0, snapshot=0.5)
    assert float(at["w1"]) == pytest.approx(exact, rel=1e-13)
    assert run(mixed)[1].computed == 0


def test_scalar_controls_are_multiples_of_the_identity(document: dict[str, Any]) -> None:
    scalar, _ = run(document)
    row = ["1 + t", 0, 0]
    document["study"]["name"] = "matrix"
    document["problem"]["controls"] = {"w": [row, [0, "1 + t", 0], row[::-1]], "b": [-0.5] * 3}
    matrix, _ = run(document)
    np.testing.assert_array_equal(scalar["covariance"], matrix["covariance"])
    np.testing.assert_array_equal(scalar["sliced_w1"], matrix["sliced_w1"])


def test_laws_and_controls_zipped(mixed: dict[str, Any]) -> None:
    del mixed["problem"]["controls"]
    mixed["axes"]["zip"] = [
        {
            "name": "space",
            "initial": mixed["axes"].pop("initial")[:2],
            "controls": [{"w": [[-1.0]], "b": [0.5]}, {"w": [[0, 1], [-1, 0]], "b": [0.0, "t"]}],
        }
    ]
    particles, summary = run(mixed)
    assert summary.exit == 0
    line = particles.isel(space=0).sel(activation="identity", snapshot=[0.0, 0.5])["w1"]
    np.testing.assert_allclose(line[..., 1] / line[..., 0], np.exp(-0.5), rtol=1e-5)
    plane = particles.isel(space=1).sel(activation="identity", particles=20)["w1"]
    np.testing.assert_allclose(plane[..., 1] / plane[..., 0], 1.0, rtol=1e-5)  # a rotation
    mixed["axes"]["zip"][0]["controls"].reverse()
    with pytest.raises(StudyError, match=r"R\^2.* but problem.initial is a law in R\^1"):
        Study(**mixed)


def test_a_store_made_before_the_distances_is_completed(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {"numerics.exact_particles", "numerics.projections"}
    identity, step = Study.identity.func, sys.modules["pipeline.steps.particles"]
    older = [v for v in Study(**document).steps[0].tables[0].variables if "w1" not in v.name]
    del document["numerics"]["exact_particles"], document["numerics"]["projections"]
    with monkeypatch.context() as patch:
        patch.setattr(step, "in_space", lambda **_: tuple(older))
        patch.setattr("pipeline.layout.ANALYSIS", ())
        patch.setattr(
            Study,
            "identity",
            property(lambda self: {k: v for k, v in identity(self).items() if k not in new}),
        )
        before, _ = run(document)
        assert "w1" not in before
    after, summary = run(document)
    assert summary.computed == 8
    assert np.isfinite(after["w1"]).all()
    np.testing.assert_array_equal(after["mean"], before["mean"])


def test_evaluation_can_be_stopped(document: dict[str, Any]) -> None:
    case = case_of(document)
    clouds, calls = follow_clouds(case, lambda: None), []
    evaluate_clouds(clouds, case, None, lambda: calls.append(1), 3)
    assert len(calls) == 2 * (1 + 8)  # before every solve and every projection
    document["numerics"]["point_timeout"] = 1e-9
    _, summary = run(document)
    assert summary.points["particles"].failed == {"6": 8}


def test_the_cost_knows_where_exact_transport_ends(document: dict[str, Any]) -> None:
    document["numerics"] |= {"exact_particles": 2000, "projections": 4}
    cost = {m: cost_clouds(case_of(document, particles=m)) for m in (1000, 2000, 2001, 4002)}
    assert 4 < cost[2000] / cost[1000] < 8
    assert cost[2001] < 0.1 * cost[2000]
    assert cost[4002] < 2 * cost[2001]
    document["numerics"]["projections"] = 400
    assert cost_clouds(case_of(document, particles=4002)) > 10 * cost[4002]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numerics": {"sampling": "quantile"}}, "'quantile' works on the line; allowed in R\\^3"),
        ({"study": {"steps": ["limit", "particles"]}}, "'limit' works on the line.*R\\^3"),
        ({"numerics": {"projections": 1}}, "from 2 to 10\\^6"),
        ({"numerics": {"exact_particles": 10**6}}, "from 0 to 20000"),
        ({"problem": {"controls": {"w": [[1.0]], "b": [0.0]}}}, "for R\\^1, but .*law in R\\^2"),
        ({"axes": {"initial": LAWS[:1]}}, "numerics.exact_particles: no step .* depends on it"),
        (
            {"axes": {"initial": LAWS[:1], "projections": [4, 8]}, "numerics": {}},
            "axes.projections: no step",
        ),
    ],
)
def test_what_is_refused(mixed: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    if changes.get("numerics") == {}:
        mixed["numerics"] = {"time_step": 0.1}
    for table, keys in changes.items():
        mixed[table] |= keys
    with pytest.raises(StudyError, match=message):
        Study(**mixed)


def test_training_needs_one_space(mixed: dict[str, Any]) -> None:
    mixed["study"]["steps"] = ["train", "particles"]
    del mixed["problem"]["controls"]
    mixed["problem"] |= {"gamma": 0.1, "target": LAWS[1]}
    with pytest.raises(StudyError, match=r"laws in R\^1, R\^2, R\^3; the step 'train'"):
        Study(**mixed)
