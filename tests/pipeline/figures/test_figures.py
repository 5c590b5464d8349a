"""Figures: their numbers are the store's, and what a store lacks is said or left out."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import t as student

from pipeline.errors import FigureError
from pipeline.figures import (
    controls_table,
    costs_table,
    densities_table,
    draw_figures,
    gammas_table,
    orders_table,
    plane_table,
    plot_controls,
    plot_densities,
    plot_orders,
    plot_plane,
    plot_status,
    plot_w1,
    status_table,
    timings_table,
    w1_table,
)
from pipeline.figures.catalogue import FIGURES
from pipeline.figures.files import write_figure
from pipeline.figures.lines import with_line
from pipeline.figures.style import ACTIVATIONS, PALETTE, looks
from pipeline.figures.tables import curves, distinct, frame, mean_interval, significant
from pipeline.folder import Folder
from pipeline.store import open_store, stored_study
from pipeline.study import Study
from solvers.errors import MeanfieldError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all of the analysis of a study on the line."""
    path = tmp_path_factory.mktemp("figures") / "data.zarr"
    Study(
        study={"name": "tiny", "seed": 7, "steps": ["limit", "particles"]},
        problem={
            "horizon": 0.2,
            "initial": {"kind": "beta", "a": 3, "b": 3},
            "controls": {"w": -1.0, "b": "exp(t) - 1"},
        },
        axes={
            "activation": ["identity", "tanh"],
            "cells": [50, 100],
            "particles": [100, 300, 1000],
            "seed": {"count": 4},
        },
        numerics={"time_step": 0.02, "snapshots": [0.0, 0.2]},
    ).run(path)
    return path


@pytest.fixture(scope="module")
def tree(store: Path) -> xr.DataTree:
    return xr.open_datatree(store).load()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    """A store of trained controls along γ."""
    path = tmp_path_factory.mktemp("trained") / "data.zarr"
    Study(
        study={"name": "trained", "steps": ["train", "limit"]},
        problem={
            "horizon": 1.0,
            "domain": [-2.0, 3.0],
            "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
            "target": {"kind": "uniform", "low": 0.5, "high": 1.5},
        },
        axes={"activation": ["identity", "tanh"], "gamma": [1.0, 0.1], "cells": [50]},
        numerics={"time_step": 0.05, "snapshots": [0.0, 1.0]},
        training={"intervals": 10, "cells": 50, "max_iterations": 12},
    ).run(path)
    return xr.open_datatree(path).load()


def test_w1_table_holds_the_numbers_of_the_store(tree: xr.DataTree) -> None:
    table = w1_table(tree)
    w1, analysis = tree["particles/w1"], tree["analysis"]
    assert len(table) == w1.sizes["activation"] * w1.sizes["particles"] * w1.sizes["snapshot"]
    for row in table.to_dict("records"):
        place = {key: row[key] for key in ("activation", "particles", "snapshot")}
        seeds = w1.sel(place).to_numpy()
        assert row["mean"] == pytest.approx(seeds.mean(), rel=1e-12)
        assert row["count"] == seeds.size
        del place["particles"]
        assert row["rate"] == float(analysis["rate"].sel(place))
        line = float(analysis["prefactor"].sel(place)) * row["particles"] ** row["rate"]
        assert row["fitted"] == pytest.approx(line, rel=1e-12)
        assert row["rate_expected"] == -0.5


def test_mean_interval_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    table = pd.DataFrame({"key": "a", "value": values})
    row = mean_interval(table, "value", ["key"]).iloc[0]
    half = student.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert row["mean"] == 3.5
    assert (row["low"], row["high"]) == pytest.approx((3.5 - half, 3.5 + half))
    assert np.isnan(mean_interval(table[:1], "value", ["key"]).iloc[0]["low"])


def test_orders_table_holds_the_numbers_of_the_store(tree: xr.DataTree) -> None:
    table = orders_table(tree).set_index(["norm", "activation", "cells", "snapshot"])
    for activation, cells in itertools.product(["identity", "tanh"], [50, 100]):
        place = {"activation": activation, "cells": cells, "snapshot": 0.2}
        row = table.loc[("W₁", activation, cells, 0.2)]
        assert row["error"] == float(tree["limit/w1_error"].sel(place))
        del place["cells"]
        assert row["order"] == float(tree["analysis/w1_order"].sel(place))
        # two points: the fitted line goes through both
        assert row["fitted"] == pytest.approx(row["error"], rel=1e-9)


def test_plane_and_status_and_times(tree: xr.DataTree) -> None:
    table = plane_table(tree).set_index(["activation", "cells", "particles", "snapshot"])
    place = {"activation": "tanh", "cells": 100, "particles": 300, "snapshot": 0.2}
    mean = float(tree["particles/w1_pde"].sel(place).mean())
    assert table.loc[tuple(place.values()), "mean"] == pytest.approx(mean, rel=1e-12)
    status = status_table(tree)
    assert set(status["worst"]) == {"done"}
    steps = status.groupby("step")[["points", "done"]].sum()
    assert steps.loc["particles"].tolist() == [24, 24]
    assert steps.loc["particles against PDE"].tolist() == [48, 48]
    times = timings_table(tree)
    total = float(tree["particles/wall_seconds"].sum())
    assert times[times["step"] == "particles"]["total"].sum() == pytest.approx(total)


def test_failed_and_pending_points_show_in_the_matrix(tree: xr.DataTree) -> None:
    changed = tree.copy(deep=True)
    status = changed["particles/status"]
    status.loc[{"activation": "tanh", "particles": 300, "seed": [0, 1]}] = 8
    status.loc[{"activation": "tanh", "particles": 100, "seed": 0}] = 0
    table = status_table(changed)
    table = table[(table["step"] == "particles") & (table["row"] == "tanh")].set_index("column")
    assert table.loc["300", ["worst", "worst_points", "done"]].tolist() == ["error", 2, 2]
    assert table.loc["100", ["worst", "done"]].tolist() == ["pending", 3]
    assert table.loc["1000", "worst"] == "done"


def test_densities_are_those_of_the_store(tree: xr.DataTree) -> None:
    table = densities_table(tree)
    chosen = (table["activation"] == "tanh") & (table["cells"] == 100) & (table["kind"] == "f_t")
    curve = table[chosen & (table["snapshot"] == 0.2)]
    place = {"activation": "tanh", "snapshot": 0.2}
    field = tree["limit/cells_100"]
    assert curve["density"].tolist() == field["density"].sel(place).to_numpy().tolist()
    assert curve["x"].tolist() == field["position"].sel(activation="tanh").to_numpy().tolist()
    initial = table[(table["kind"] == "f₀") & (table["snapshot"] == 0.2)]
    assert len(initial) == 2 * (50 + 100)


def test_dropped_values_are_not_shown(tree: xr.DataTree) -> None:
    grown = tree.copy(deep=True)
    document = json.loads(grown.attrs["study"])
    document["axes"]["activation"] = ["tanh"]
    document["axes"]["particles"] = [1000, 100]
    grown.attrs["study"] = json.dumps(document)
    table = w1_table(grown)
    assert set(table["activation"]) == {"tanh"}
    assert set(table["particles"]) == {100, 1000}


def test_training_tables(trained: xr.DataTree) -> None:
    path = gammas_table(trained).set_index(["quantity", "activation", "gamma"])
    for activation, gamma in itertools.product(["identity", "tanh"], [1.0, 0.1]):
        place = {"activation": activation, "gamma": gamma}
        cost = float(trained["train/cost"].sel(place))
        assert path.loc[("cost J", activation, gamma), "mean"] == cost
        largest = float(np.abs(trained["train/w"].sel(place)).max())
        assert path.loc[("largest |w|", activation, gamma), "mean"] == largest
    controls = controls_table(trained)
    chosen = controls[(controls["activation"] == "tanh") & (controls["gamma"] == 0.1)]
    b = trained["train/b"].sel(activation="tanh", gamma=0.1)
    assert chosen[chosen["control"] == "b"]["value"].tolist() == b.to_numpy().tolist()
    costs = costs_table(trained)
    first = costs[(costs["quantity"] == "cost J") & (costs["iteration"] == 0)]
    history = trained["train/cost_history"].isel(iteration=0)
    assert sorted(first["value"]) == sorted(history.to_numpy().ravel().tolist())


def test_what_is_missing_is_a_figure_error(tree: xr.DataTree, trained: xr.DataTree) -> None:
    assert issubclass(FigureError, MeanfieldError)
    assert issubclass(FigureError, ValueError)
    with pytest.raises(FigureError, match="no group 'particles'"):
        plot_w1(trained)
    with pytest.raises(FigureError, match="one number of cells"):
        plot_orders(trained)
    with pytest.raises(FigureError, match="no trained controls"):
        plot_controls(tree)
    with pytest.raises(FigureError, match="one γ only"):
        gammas_table(trained.sel(gamma=[1.0]))
    empty = tree.copy(deep=True)
    empty["particles/w1"].data[...] = np.nan
    with pytest.raises(FigureError, match="holds no numbers"):
        plot_w1(empty)


@pytest.mark.parametrize("lost", ["everything", "what is newer"])
def test_older_stores_are_drawn_without_fits(tree: xr.DataTree, lost: str) -> None:
    old = tree.copy(deep=True)
    newer = {"rate_expected", "first_particles", "rate_local", "w1_mean", "balanced_particles"}
    names = set(old["analysis"].data_vars)
    old["analysis"] = xr.DataTree(
        old["analysis"].to_dataset().drop_vars(names if lost == "everything" else names & newer)
    )
    table = w1_table(old)
    assert table["rate"].isna().all() == (lost == "everything")
    assert table["rate_expected"].isna().all()
    for plot in (plot_w1, plot_orders, plot_plane):
        for static in (False, True):
            assert plot(old, static=static).to_dict()["$schema"]


def numbers(value: Any) -> list[float]:
    """Every number in a specification."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize("static", [False, True])
def test_specifications_are_valid_and_hold_no_raw_points(tree: xr.DataTree, static: bool) -> None:
    drawn = 0
    for figure in FIGURES:
        try:
            chart = figure.plot(tree, **figure.options, static=static)
        except FigureError:
            continue
        specification = chart.to_dict()  # Altair checks it against the schema
        json.dumps(specification, allow_nan=False)
        assert np.isfinite(numbers(specification)).all()
        assert '"seed"' not in json.dumps(specification)
        assert ("params" in specification) == (not static)
        drawn += 1
    assert drawn >= 6


def test_inputs_choose_snapshot_and_activation(tree: xr.DataTree) -> None:
    bound = {p["name"]: p for p in plot_w1(tree).to_dict()["params"]}
    assert bound["choose_snapshot"]["bind"]["options"] == [0.0, 0.2]
    assert [bound[f"show_{i}"]["bind"]["name"].strip() for i in range(2)] == ["identity", "tanh"]
    slider = {p["name"]: p for p in plot_densities(tree).to_dict()["params"]}["choose_snapshot"]
    assert (slider["bind"]["input"], slider["bind"]["max"], slider["value"]) == ("range", 1, 1)


def test_activations_keep_their_colours() -> None:
    assert looks(["tanh", "identity"]) == {"tanh": 3, "identity": 0}
    own = looks([*ACTIVATIONS, "mine", "yours"])
    assert len(set(own.values())) == len(own) <= len(PALETTE)


def test_files(tree: xr.DataTree, tmp_path: Path) -> None:
    table = w1_table(tree)
    files = write_figure(plot_w1(tree, static=True), table, tmp_path / "figures", "w1")
    starts = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}
    for file in files[:3]:
        assert file.read_bytes().startswith(starts[file.suffix])
    again = pd.read_csv(files[3])
    assert again["mean"].tolist() == table["mean"].tolist()
    assert not list(tmp_path.rglob("*.partial"))


def test_figures_at_the_end_of_a_run(store: Path, tmp_path: Path) -> None:
    opened = open_store(Folder(store), stored_study(Folder(store)))
    drawn = draw_figures(opened, tmp_path)
    assert [file.name for file in drawn] == ["w1-against-m.png", "error-against-cells.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in drawn)


def test_zipped_axes_have_readable_names(tmp_path: Path) -> None:
    Study(
        study={"name": "zipped", "steps": ["particles"]},
        problem={"horizon": 0.2, "controls": {"w": 1.0, "b": 0.0}},
        axes={
            "activation": ["tanh"],
            "particles": [100, 300],
            "seed": {"count": 3},
            "zip": [
                {
                    "name": "law",
                    "initial": [
                        {"kind": "uniform", "low": 0.0, "high": 1.0},
                        {"kind": "normal", "mean": 0.0, "std": 1.0},
                    ],
                    "time_step": [0.1, 0.05],
                }
            ],
        },
        numerics={"snapshots": [0.2]},
    ).run(tmp_path / "data.zarr")
    table = w1_table(xr.open_datatree(tmp_path / "data.zarr"))
    assert len(table) == 4
    assert {name.split("(")[0] for name in table["law"]} == {"uniform", "normal"}
    assert "initial" not in table
    assert plot_status(xr.open_datatree(tmp_path / "data.zarr")).to_dict()


@pytest.mark.parametrize(
    "zipped",
    [{"particles": [100, 300], "cells": [50, 60]}, {"particles": [100, 300], "seed": [1, 2]}],
)
def test_zipped_sizes_are_drawn(zipped: dict[str, list[int]], tmp_path: Path) -> None:
    axes = {"activation": ["tanh"], "cells": [50, 60], "seed": {"count": 2}}
    free = {key: value for key, value in axes.items() if key not in zipped}
    Study(
        study={"name": "zipped", "steps": ["limit", "particles"]},
        problem={
            "horizon": 0.2,
            "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
            "controls": {"w": -1.0, "b": 0.0},
        },
        axes={**free, "zip": [{"name": "both", **zipped}]},
        numerics={"time_step": 0.1, "snapshots": [0.0, 0.2]},
    ).run(tmp_path / "data.zarr")
    tree = xr.open_datatree(tmp_path / "data.zarr").load()
    assert sorted(w1_table(tree)["particles"]) == [100, 100, 300, 300]
    assert sorted(orders_table(tree)["cells"]) == [50] * 4 + [60] * 4
    if "cells" in zipped:
        with pytest.raises(FigureError, match="no plane"):
            plot_plane(tree)
    for static in (False, True):
        for plot in (plot_w1, plot_orders, plot_status):
            assert plot(tree, static=static).to_dict()


def test_expected_orders_are_those_of_the_analysis(tree: xr.DataTree) -> None:
    changed = tree.copy(deep=True)
    analysis = changed["analysis"].to_dataset()
    known = xr.full_like(analysis["l1_order"], 2.5)
    changed["analysis"] = xr.DataTree(
        analysis.assign(l1_order_expected=known, w1_order_expected=known * np.nan)
    )
    table = orders_table(changed)
    assert table[table["norm"] == "W₁"]["expected"].isna().all()
    line = table[(table["norm"] != "W₁") & (table["snapshot"] == 0.2)]
    for _, row in line.groupby("activation"):
        coarse, fine = row.sort_values("cells")["expected"]
        assert np.log2(coarse / fine) == pytest.approx(2.5)
    without = analysis.drop_vars(["l1_order_expected", "w1_order_expected"], errors="ignore")
    changed["analysis"] = xr.DataTree(without)
    assert orders_table(changed)["expected"].isna().all()
    assert "expected" not in [
        layer["encoding"]["y"]["field"] for layer in plot_orders(changed).to_dict()["layer"]
    ]


def test_the_matrix_opens_at_the_worst_step(tree: xr.DataTree) -> None:
    assert plot_status(tree).to_dict()["params"][0]["value"] == "limit"
    changed = tree.copy(deep=True)
    changed["particles/status"].loc[{"activation": "tanh", "particles": 300}] = 8
    assert plot_status(changed).to_dict()["params"][0]["value"] == "particles"


def test_long_names_of_rows_are_told_apart() -> None:
    assert distinct(["a" * 40 + "x", "a" * 40 + "y"], 36) == [
        "1: " + "a" * 40 + "x",
        "2: " + "a" * 40 + "y",
    ]


def test_files_say_what_they_hold(tree: xr.DataTree) -> None:
    title = plot_orders(tree, static=True).to_dict()["title"]["text"]
    assert title == ["t = 0.2; the rest is in the CSV"]
    assert "title" not in plot_w1(tree, static=True).to_dict()


def test_the_caption_says_what_particles_are_compared_with(tree: xr.DataTree) -> None:
    figure = FIGURES[0]
    assert "exact limit" in figure.of_store(tree).caption
    clouds = tree.copy(deep=True)
    clouds["particles/sliced_w1"] = clouds["particles/w1"]
    assert "independent clouds" in figure.of_store(clouds).caption


def test_lines_and_rounding() -> None:
    table = pd.DataFrame({"x": [1.0, 10.0, 100.0], "y": [2.0, 0.2, 0.02], "slope": -1.0})
    assert with_line(table, "x", "y", "slope", []).tolist() == pytest.approx([2.0, 0.2, 0.02])
    assert significant(np.array([0.0, 123456.0, -0.00123456]), 3).tolist() == [
        0.0,
        123000.0,
        -0.00123,
    ]
    nested = curves(pd.DataFrame({"k": ["a", "a", "b"], "v": [1.0, 2.0, 3.0]}), ["k"], ["v"])
    assert nested["v"].tolist() == [[1.0, 2.0], [3.0]]


def test_frame_says_what_is_missing(tree: xr.DataTree) -> None:
    with pytest.raises(FigureError, match="no 'particles/speed'"):
        frame(tree, "particles", ["speed"])
    assert frame(tree, "particles", ["w1"], ["speed"])["speed"].isna().all()
