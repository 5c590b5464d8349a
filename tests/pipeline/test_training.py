"""The step train, in studies: alone, and as what the later steps stand on."""

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.compare import compare
from pipeline.errors import StudyError
from pipeline.folder import Folder
from pipeline.point import recompute
from pipeline.run import run_stages
from pipeline.session import Summary, open_session, run_folder
from pipeline.status import Status
from pipeline.store import open_store
from pipeline.study import Study
from solvers import warm
from solvers.training import linear_optimum

pytestmark = pytest.mark.usefixtures("no_figures")

TRAIN: dict[str, Any] = {
    "study": {"name": "trained", "seed": 7, "steps": ["train", "limit", "particles"]},
    "problem": {
        "horizon": 1.0,
        "domain": [-2.0, 3.0],
        "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
        "target": {"kind": "uniform", "low": 0.5, "high": 1.5},
    },
    "axes": {
        "activation": ["identity", "tanh"],
        "gamma": [0.1, 0.01],
        "cells": [50],
        "particles": [100],
        "seed": [0, 1],
    },
    "numerics": {"time_step": 0.05, "snapshots": [0.0, 1.0]},
    "training": {"discretization": "lagrangian", "optimizer": "lbfgs", "tolerance": 1e-5,
                 "intervals": 20, "max_iterations": 60},
}  # fmt: skip


@pytest.fixture
def train() -> dict[str, Any]:
    return copy.deepcopy(TRAIN)


@pytest.fixture
def alone(train: dict[str, Any]) -> dict[str, Any]:
    """Training only, at one γ."""
    train["study"]["steps"] = ["train"]
    train["axes"] = {"activation": ["identity"], "gamma": [0.1]}
    return train


def run(document: dict[str, Any], store: str | None = None, **where: Any) -> Summary:
    study = Study(**document, **where)
    with open_session(study, run_folder(study, store), stream=io.StringIO()) as session:
        return run_stages(session)


def tree() -> xr.DataTree:
    return xr.open_datatree("runs/trained/data.zarr")


def test_controls_reach_the_exact_optimum_and_feed_the_later_steps(train: dict[str, Any]) -> None:
    train["axes"]["cells"] = [200]
    assert run(train).exit == 0
    found = tree()
    trained = found["train"].sel(activation="identity")
    for gamma in (0.1, 0.01):
        optimum = linear_optimum(0.0, 1 / 12, 1.0, 1 / 12, gamma, gamma)
        at = trained.sel(gamma=gamma)
        assert float(at["cost_exact"]) == pytest.approx(optimum.cost, rel=1e-12)
        assert float(at["cost"]) == pytest.approx(optimum.cost, rel=1e-3)
        assert float(at["control_error"].sel(norm="L2")) < 0.05
        np.testing.assert_allclose(at["w"], optimum.w(at["time"].values), atol=0.1)
    assert np.isnan(found["train"]["cost_exact"].sel(activation="tanh")).all()
    limit, particles = found["limit"], found["particles"]
    assert limit["l1_error"].dims == ("activation", "gamma", "cells", "snapshot")
    assert particles["w1"].dims == ("activation", "gamma", "particles", "seed", "snapshot")
    reached = limit["mean"].sel(snapshot=1.0, cells=200)
    np.testing.assert_allclose(reached, found["train"]["mean"], atol=2e-3)
    assert (particles["dobrushin_ratio"] <= 1 + 1e-9 + 1e-10 / particles["w1_initial"]).all()
    assert found["analysis"]["rate"].dims == ("activation", "gamma", "snapshot")


def test_histories_are_padded_and_flags_have_meanings(alone: dict[str, Any]) -> None:
    run(alone)
    trained = tree()["train"].isel(activation=0, gamma=0)
    count = int(trained["iterations"])
    history = trained["cost_history"].values
    assert history.shape == (61,)
    assert np.isfinite(history[: count + 1]).all()
    assert np.isnan(history[count + 1 :]).all()
    assert history[count] == trained["cost"]
    meanings = trained["stop_reason"].attrs["flag_meanings"].split()
    assert meanings[int(trained["stop_reason"])] == "converged"
    assert run(alone).computed == 0  # padding is no gap


def test_what_did_not_converge_keeps_its_numbers_and_later_steps_go_on(
    train: dict[str, Any],
) -> None:
    train["training"]["max_iterations"] = 2
    summary = run(train)
    assert summary.exit == 1
    assert summary.points["train"].failed == {"5": 4}
    assert summary.points["limit"].done == 4
    found = tree()
    assert (found["train"]["status"] == Status.NOT_CONVERGED).all()
    assert np.isfinite(found["train"]["w"]).all()
    assert run(train).computed == 0


def test_a_point_that_cannot_be_trained_fails_what_stands_on_it(train: dict[str, Any]) -> None:
    train["problem"]["domain"] = [-0.4, 3.0]  # the initial law does not fit in
    train["training"] |= {"discretization": "eulerian", "cells": 50}
    summary = run(train)
    assert summary.points["train"].failed == {"4": 4}
    assert summary.points["limit"].failed == {"9": 4}
    assert summary.points["particles"].failed == {"9": 8}


def test_growth_and_order_leave_every_bit(train: dict[str, Any]) -> None:
    run(train, "whole.zarr")
    train["axes"]["gamma"] = [0.01]
    run(train, "grown.zarr")
    train["axes"]["gamma"] = [0.1, 0.01]
    assert run(train, "grown.zarr").computed == 2 + 2 + 4
    differences = compare(Folder(Path("whole.zarr")), Folder(Path("grown.zarr")))
    assert all(d.only_one == 0 and d.other_bits == 0 for d in differences)


def test_a_warm_start_depends_on_the_point_alone(alone: dict[str, Any]) -> None:
    alone["training"]["warm_start"] = True
    alone["axes"] |= {"activation": ["gcu"], "gamma": [1.0, 0.1, 0.001]}
    run(alone, "three.zarr")
    alone["axes"]["gamma"] = [0.001]
    run(alone, "one.zarr")
    both = [xr.open_datatree(name)["train"].sel(gamma=0.001) for name in ("three.zarr", "one.zarr")]
    for name in ("w", "b", "cost_history", "iterations"):
        np.testing.assert_array_equal(both[0][name], both[1][name])
    alone["training"]["warm_start"] = False
    run(alone, "cold.zarr")
    cold = xr.open_datatree("cold.zarr")["train"].sel(gamma=0.001)
    assert cold["cost_history"][..., 0] > both[0]["cost_history"][..., 0]


def test_intervals_as_an_axis_have_a_group_each(alone: dict[str, Any]) -> None:
    alone["axes"]["intervals"] = [10, 20]
    del alone["training"]["intervals"]
    run(alone)
    alone["axes"]["intervals"] = [10, 20, 40]
    assert run(alone).computed == 1
    found = tree()["train"]
    for intervals in (10, 20, 40):
        group = found[f"intervals_{intervals}"]
        assert group["w"].sizes["time"] == intervals + 1
        np.testing.assert_allclose(group["time"], np.linspace(0.0, 1.0, intervals + 1))
    error = found["control_error"].sel(activation="identity", gamma=0.1, norm="L2")
    orders = np.log2(error.values[:-1] / error.values[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.15)


def test_microscopic_training_is_compared_with_the_mean_field(alone: dict[str, Any]) -> None:
    alone["axes"] |= {"training_particles": [10, 100, 1000], "seed": {"count": 6}}
    run(alone)
    found = tree()
    trained = found["train"].isel(activation=0, gamma=0)
    distance = trained["control_distance"].sel(norm="L2").transpose("training_particles", "seed")
    means = distance.mean("seed").values
    assert (np.diff(means) < 0).all()
    assert distance.isel(training_particles=0).std("seed") > 0  # every seed has its own samples
    analysis = found["analysis"].isel(activation=0, gamma=0)
    rate = analysis["control_rate"].sel(norm="L2")
    assert float(analysis["control_rate_low"].sel(norm="L2")) <= -0.5
    assert float(rate) == pytest.approx(-0.5, abs=0.25)
    del alone["axes"]["training_particles"], alone["axes"]["seed"]
    run(alone, "field.zarr")
    field = xr.open_datatree("field.zarr")["train"].isel(activation=0, gamma=0)
    last = trained.isel(training_particles=2, seed=3)
    gap = float(last["cost"] - field["cost"])
    assert float(last["cost_gap"]) == pytest.approx(gap, rel=1e-9)
    largest = max(float(abs(last[u] - field[u]).max()) for u in ("w", "b"))
    assert float(last["control_distance"].sel(norm="C0")) == pytest.approx(largest, rel=1e-9)


def test_paired_data_are_paired_row_by_row(alone: dict[str, Any], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=40)
    rows = "\n".join(
        f"{a!r},{b!r}" for a, b in zip(x.tolist(), (1.5 * x + 0.3).tolist(), strict=True)
    )
    (tmp_path / "d.csv").write_text(f"x,y\n{rows}\n")
    alone["problem"] |= {
        "initial": {"kind": "samples", "file": "d.csv", "column": "x"},
        "target": {"kind": "samples", "file": "d.csv", "column": "y"},
        "loss": "paired",
    }
    alone["axes"]["gamma"] = [1e-4]
    run(alone, folder=tmp_path)
    cost = float(tree()["train"]["cost"].squeeze())
    optimum = linear_optimum(
        x.mean(), x.var(), 1.5 * x.mean() + 0.3, 2.25 * x.var(), 1e-4, 1e-4, 1.0, 1.5 * x.var()
    )
    assert cost == pytest.approx(optimum.cost, rel=1e-2)
    assert cost < 1e-3  # independent targets would cost their variance at least


def test_training_in_space() -> None:
    document = copy.deepcopy(TRAIN)
    normal = {"kind": "normal", "mean": 0.0, "std": 0.5}
    document["study"]["steps"] = ["train", "particles"]
    document["problem"] |= {
        "initial": {"kind": "product", "components": [normal, normal]},
        "target": {"kind": "product", "components": [normal, {**normal, "mean": 1.0}]},
    }
    document["axes"] = {"activation": ["tanh"], "gamma": [0.01], "particles": [500], "seed": [0]}
    document["training"]["particles"] = 500
    run(document)
    found = tree()
    assert found["train"]["w"].dims[-3:] == ("time", "component", "other_component")
    trained = found["train"]["mean"].squeeze()
    np.testing.assert_allclose(found["particles"]["mean"].sel(snapshot=1.0).squeeze(), trained,
                               atol=1e-3)  # fmt: skip
    assert float(trained[1]) > 0.5


def test_a_point_is_recomputed_to_the_same_bits(train: dict[str, Any]) -> None:
    run(train)
    study = Study(**train)
    store = open_store(run_folder(study).store, study)
    for step, more in (("train", []), ("limit", []), ("particles", ["seed=1", "cells=50"])):
        point = recompute(store, step, ["activation=tanh", "gamma=0.01", *more])
        assert point.status == Status.DONE
        assert point.differs == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"gamma": [-1.0]}}, "axes.gamma = -1"),
        ({"problem": {"target": None}}, "missing key 'problem.target'"),
        ({"problem": {"controls": {"w": 1, "b": 0}}}, "problem.controls: the step train finds"),
        ({"problem": {"gamma_w": 1.0}}, "gamma, gamma_w given"),
        ({"axes": {"gamma": None}}, "no gamma given"),
        ({"problem": {"loss": "paired"}}, "problem.initial: the loss 'paired' needs samples"),
        ({"problem": {"loss": "l2"}}, "study: problem.loss: 'l2' .*; allowed with it: quadratic, "),
        ({"problem": {"loss": "paired"}, "training": {"discretization": "eulerian"}},
         "study: problem.loss: 'paired' does not work with training.discretization = 'eulerian'"),
        ({"axes": {"loss": ["w2", "l2"]}}, "study: axes.loss: 'l2' does not work"),
        ({"problem": {"loss": "squared"}}, "problem.loss = 'squared'"),
        ({"problem": {"target": {"kind": "atoms", "points": [1], "weights": [1]}}},
         "study: problem.target: point masses .*; allowed: a law with a density"),
        ({"problem": {"initial": {"kind": "atoms", "points": [1], "weights": [1]}}},
         "problem.initial: a law of kind 'atoms' cannot stand here; allowed: uniform, .*product$"),
        ({"training": {"optimizer": "adam"}}, "training.optimizer = 'adam'"),
        ({"training": {"intervals": 0}}, "training.intervals = 0"),
        ({"training": {"start": {"w": "1/t", "b": 0}}}, "training.start.*inf at t = 0"),
        ({"training": {"armijo_constant": 1.5}}, "training.armijo_constant = 1.5"),
        ({"axes": {"training_particles": [10]}, "training": {"discretization": "eulerian"}},
         "study: axes.training_particles: no step .*discretization = 'lagrangian'"),
        ({"axes": {"training_cells": [50, 100]}}, "axes.training_cells: no step .*'eulerian'"),
        ({"axes": {"steps_per_interval": [1, 2]}, "training": {"discretization": "eulerian"}},
         "axes.steps_per_interval: no step .*discretization = 'lagrangian'"),
        ({"axes": {"initial_step": [1.0, 2.0]}}, "axes.initial_step: no step .*'armijo'"),
        ({"axes": {"max_backtracking": [1, 2]}}, "axes.max_backtracking: no step .*'armijo'"),
        ({"axes": {"armijo_constant": [0.1, 0.2]}}, "axes.armijo_constant: no step .*'armijo'"),
        ({"study": {"name": "s", "steps": ["limit"]}}, "missing key 'problem.controls'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    train: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    for table, keys in changes.items():
        train[table] |= keys
        train[table] = {key: value for key, value in train[table].items() if value is not None}
    with pytest.raises(StudyError, match=message) as caught:
        Study(**train)
    assert "\n" not in str(caught.value)


SQUARE = {"kind": "product", "components": [{"kind": "uniform", "low": 0, "high": 1}] * 2}
CUBE = {"kind": "product", "components": [{"kind": "uniform", "low": 0, "high": 1}] * 3}


@pytest.mark.parametrize(
    ("problem", "training", "message"),
    [
        ({"initial": SQUARE, "target": CUBE}, {"particles": 9},
         "problem.target: a law in R^3, but problem.initial is one in R^2; allowed: a law in R^2"),
        ({"target": SQUARE}, {}, "problem.target: a law in R^2, but problem.initial is one in R^1"),
        ({"initial": SQUARE, "target": SQUARE}, {}, "training.particles: 0, but problem.initial"),
        ({"initial": SQUARE, "target": SQUARE}, {"particles": 9, "discretization": "eulerian"},
         "training.discretization: 'eulerian' works on the line, but problem.initial is"),
        ({"initial": SQUARE, "target": SQUARE, "loss": "w2"}, {"particles": 9},
         "problem.loss: 'w2' works on the line, but problem.initial is a law in R^2; allowed: qu"),
        ({"initial": SQUARE, "target": SQUARE}, {"particles": 9, "start": {"file": "line.npz"}},
         "training.start: controls for R^1, but problem.initial is a law in R^2; allowed:"),
        ({"loss": "paired", "initial": {"kind": "samples", "file": "five.csv"},
          "target": {"kind": "samples", "file": "three.csv"}}, {},
         "problem.target: 3 rows, but the loss 'paired' needs one for each of problem.initial; al"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on_are_refused_by_their_key(
    alone: dict[str, Any], problem: dict[str, Any], training: dict[str, Any], message: str
) -> None:
    for name, count in (("five", 5), ("three", 3)):
        Path(f"{name}.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(count)))
    np.savez("line.npz", time=[0.0, 1.0], w=[0.0, 1.0], b=[0.0, 1.0])
    alone["problem"] |= problem
    alone["training"] |= training
    with pytest.raises(StudyError) as caught:
        Study(**alone)
    assert str(caught.value).startswith(f"study: {message}")


def test_what_the_chosen_method_does_not_use_may_stand_as_a_single_value(
    alone: dict[str, Any],
) -> None:
    alone["training"] |= {"cells": 77, "initial_step": 3.0, "max_backtracking": 4}
    assert Study(**Study(**alone).document()).training.cells == 77


def test_cost_knows_how_many_iterations_are_allowed(alone: dict[str, Any]) -> None:
    for discretization in ("lagrangian", "eulerian"):
        costs = []
        for most in (1, 10, 5000, 50_000):
            alone["training"] |= {"max_iterations": most, "discretization": discretization}
            study = Study(**alone)
            costs.append(study.steps[0].cost(study.case({"activation": "identity", "gamma": 0.1})))
        assert costs[0] < costs[1] < costs[2] == costs[3]


@pytest.mark.parametrize(
    ("table", "keys", "named"),
    [
        ("problem", {"gamma": 1.0}, "problem.gamma"),
        ("problem", {"loss": "w2"}, "problem.loss"),
        ("training", {"intervals": 7}, "training.intervals"),
        ("axes", {"intervals": [7, 8]}, "axes.intervals"),
        ("axes", {"training_particles": [7, 8]}, "axes.training_particles"),
        ("axes", {"loss": ["w2"]}, "axes.loss"),
    ],
)
def test_settings_of_training_are_refused_where_nothing_is_trained(
    tiny: dict[str, Any], table: str, keys: dict[str, Any], named: str
) -> None:
    tiny[table] = tiny.get(table, {}) | keys
    with pytest.raises(StudyError, match=f"{named}: no step of .*; the step train does"):
        Study(**tiny)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("steps", [["limit"], ["train"]])
def test_the_kernels_of_training_are_made_ready_where_a_study_trains(
    train: dict[str, Any], monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    times: list[str] = []
    warm.warm_training.cache_clear()
    monkeypatch.setattr(warm, "_run_kernels_of_training", lambda: times.append("run"))
    train["study"]["steps"], train["axes"] = steps, {"activation": ["tanh"]}
    if steps == ["limit"]:
        train["problem"]["controls"] = {"w": 1.0, "b": 0.0}
        train["axes"]["cells"] = [50]
        del train["training"]
    else:
        train["problem"]["gamma"] = 0.1
    run(train)
    assert times == ["run"] * (steps == ["train"])
