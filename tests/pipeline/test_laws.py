"""Laws, dimensions and targets as a study file says them."""

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StudyError
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.study import Study
from solvers.distributions import Affine, Beta, Mixture, Normal, Product, Uniform
from solvers.sampling import sample
from solvers.vector_particles import integrate_vectors, vector_moments

pytestmark = pytest.mark.usefixtures("no_figures")

UNIFORM = {"kind": "uniform", "low": -1.0, "high": 1.0}
NORMAL = {"kind": "normal", "mean": 0.5, "std": 0.2}
MIXTURE = {
    "kind": "mixture",
    "weights": [1, 3],
    "components": [UNIFORM, {"kind": "affine", "of": NORMAL, "scale": -2.0, "shift": 1}],
}
SPACE: dict[str, Any] = {
    "study": {"name": "space", "seed": 3, "steps": ["particles"]},
    "problem": {
        "horizon": 0.5,
        "initial": {"kind": "product", "components": [UNIFORM, NORMAL, MIXTURE]},
        "controls": {
            "w": [["t", -1.0, 0], [0.5, "sin(3*t)", 1], [-1, 0.2, "cos(t)"]],
            "b": ["exp(t) - 1", 0.1, 0],
        },
    },
    "axes": {"activation": ["identity", "gcu"], "particles": [10, 300], "seed": [0, 5]},
    "numerics": {"time_step": 0.05, "snapshots": [0.0, 0.5]},
}


def run(document: dict[str, Any], **where: Any) -> xr.DataTree:
    study = Study(**document, **where)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        assert run_stages(session).exit == 0
    return xr.open_datatree(f"runs/{study.name}/data.zarr")


def test_nested_laws_are_built(tiny: dict[str, Any]) -> None:
    tiny["problem"]["initial"] = MIXTURE
    study = Study(**tiny)
    case = study.case({"activation": "tanh"})
    law = Mixture([1, 3], [Uniform(-1.0, 1.0), Affine(Normal(0.5, 0.2), -2.0, 1.0)])
    assert case.problem.initial == law
    assert Study(**study.document()).identity == study.identity


def test_a_mixture_runs_and_keeps_dobrushins_statement(tiny: dict[str, Any]) -> None:
    tiny["problem"]["initial"] = MIXTURE
    particles = run(tiny)["particles"]
    assert (particles["dobrushin_ratio"] <= 1 + 1e-9 + 1e-10 / particles["w1_initial"]).all()


def test_particles_in_space_are_what_the_solvers_give() -> None:
    particles = run(SPACE)["particles"]
    assert set(particles.data_vars) == {
        "w1", "sliced_w1", "sliced_w1_error", "mean", "covariance", "status", "wall_seconds"
    }  # fmt: skip
    assert dict(particles.sizes) == {
        "activation": 2, "particles": 2, "seed": 2, "snapshot": 2, "component": 3,
        "other_component": 3,
    }  # fmt: skip
    study = Study(**SPACE)
    case = study.case({"activation": "gcu", "particles": 300, "seed": 5})
    problem = case.problem
    law = Product([Uniform(-1.0, 1.0), Normal(0.5, 0.2), Mixture(
        [1, 3], [Uniform(-1.0, 1.0), Affine(Normal(0.5, 0.2), -2.0, 1.0)]
    )])  # fmt: skip
    start = sample(law, 300, "iid", (3, 5))
    paths = integrate_vectors(
        start, case.activation, problem.controls, problem.times, problem.snapshot_indices
    )
    mean, covariance = vector_moments(paths[1])
    at = particles.sel(activation="gcu", particles=300, seed=5, snapshot=0.5)
    np.testing.assert_array_equal(at["mean"], mean)
    np.testing.assert_array_equal(at["covariance"], covariance)


def test_several_columns_of_a_file_are_a_law_in_space(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    text = "name,a,b\n" + "".join(f"n,{x!r},{y!r}\n" for x, y in rows.tolist())
    (tmp_path / "d.csv").write_text(text)
    document = copy.deepcopy(SPACE)
    document["problem"] |= {
        "initial": {"kind": "samples", "file": "d.csv", "columns": ["b", "a"]},
        "controls": {"w": [[0, 0], [0, 0]], "b": [0, 0]},
    }
    document["axes"]["particles"] = [20000]
    particles = run(document, folder=tmp_path)["particles"]
    measured = particles["mean"].sel(activation="identity", seed=0, snapshot=0.5)
    np.testing.assert_allclose(measured.squeeze(), rows[:, ::-1].mean(axis=0), atol=0.03)


def test_distance_to_a_target(tiny: dict[str, Any]) -> None:
    tiny["problem"] |= {
        "initial": {"kind": "beta", "a": 2, "b": 5},
        "controls": {"w": 0.0, "b": 0.5},
        "target": {"kind": "affine", "of": {"kind": "beta", "a": 2, "b": 5}, "scale": 1.0,
                   "shift": 0.1},
    }  # fmt: skip
    tiny["axes"]["activation"] = ["identity"]
    tiny["axes"]["cells"] = [200, 400]
    tree = run(tiny)
    to_target = tree["limit"]["w1_to_target"].sel(activation="identity")
    np.testing.assert_allclose(to_target.sel(snapshot=0.0), 0.1, rtol=1e-4)
    np.testing.assert_array_less(to_target.sel(snapshot=0.2), 1e-3)
    cloud = tree["particles"]
    reached = cloud["w1_to_target"].sel(snapshot=0.2)
    np.testing.assert_allclose(reached, cloud["w1"].sel(snapshot=0.2), rtol=1e-6)


def test_atoms_as_a_target(tiny: dict[str, Any]) -> None:
    tiny["study"]["steps"] = ["particles"]
    tiny["problem"]["target"] = {"kind": "atoms", "points": [5.0, 3.0], "weights": [1, 3]}
    del tiny["axes"]["cells"]
    particles = run(tiny)["particles"]
    expected = 3.5 - particles["mean"]  # every particle lies left of the atoms
    np.testing.assert_allclose(particles["w1_to_target"], expected, rtol=1e-12)


def test_a_store_made_before_a_setting_existed_is_one_with_its_default(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Study.identity.func
    older = lambda self: {k: v for k, v in identity(self).items() if k != "numerics.limiter"}  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(Study, "identity", property(older))
        run(tiny)
    study = Study(**tiny)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        assert run_stages(session).computed == 0
    tiny["numerics"]["limiter"] = "positivity"
    study = Study(**tiny)
    with (
        pytest.raises(OSError, match=r"numerics\.limiter is .* there and 'positivity' here"),
        open_session(study, run_folder(study), stream=io.StringIO()),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": {"name": "s", "steps": ["limit"]}}, "'limit' works on the line.*R\\^3"),
        ({"numerics": {"sampling": "quantile"}}, "'quantile' works on the line; allowed in R\\^3"),
        ({"problem": {"controls": {"w": [[1]], "b": [0]}}}, "for R\\^1, but .*R\\^3"),
        ({"problem": {"controls": {"w": [[1, 2]], "b": [0]}}}, "row 0 of w has 2 entries"),
        ({"problem": {"initial": {"kind": "product", "components": [UNIFORM]}}}, "two or more"),
        ({"problem": {"initial": {"kind": "product"}}}, "problem.initial.components"),
        (
            {"problem": {"initial": {"kind": "mixture", "weights": [1], "components": [
                UNIFORM, NORMAL]}}},
            "1 weights for 2 components",
        ),
        (
            {"problem": {"initial": {"kind": "mixture", "weights": [1], "components": [
                {"kind": "uniform", "low": 1, "high": 0}]}}},
            r"components\[0\].*low = 1 must be below",
        ),
        ({"problem": {"initial": {"kind": "affine", "of": UNIFORM, "scale": 0}}}, "an atom"),
        ({"problem": {"initial": {"kind": "atoms", "points": [1], "weights": [1]}}}, "kind"),
        (
            {"problem": {"initial": {"kind": "samples", "file": "x.csv", "column": "a",
                                     "columns": ["a", "b"]}}},
            "both column and columns",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    document = copy.deepcopy(SPACE)
    for table, keys in changes.items():
        document[table] |= keys
    with pytest.raises(StudyError, match=message):
        Study(**document)


def test_the_law_beta_is_as_before(tiny: dict[str, Any]) -> None:
    tiny["problem"]["initial"] = {"kind": "beta", "a": 2, "b": 5}
    assert Study(**tiny).case({"activation": "tanh"}).problem.initial == Beta(2.0, 5.0)
