"""Orders of the PDE solution, out of a store."""

import io
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from pipeline.analysis.records import analysis_records
from pipeline.analysis.text import print_analysis
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.store import open_store
from pipeline.study import Study


def run(document: dict[str, Any]) -> Study:
    study = Study(**document)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        assert run_stages(session).exit == 0
    return study


@pytest.fixture
def refinement(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["study"]["steps"] = ["limit"]
    tiny["problem"]["initial"] = {"kind": "normal", "mean": 0.2, "std": 0.25}
    tiny["problem"] |= {"horizon": 1.0, "controls": {"w": "cos(3*t)", "b": "sin(2*t)"}}
    tiny["numerics"] = {"time_step": 0.02, "snapshots": [0.0, 1.0]}
    tiny["axes"] = {"activation": ["tanh", "gcu"], "cells": [800, 200, 400]}
    return tiny


def test_a_smooth_density_has_order_three(refinement: dict[str, Any]) -> None:
    run(refinement)
    analysis = xr.open_datatree("runs/tiny/data.zarr")["analysis"]
    np.testing.assert_allclose(analysis["l1_order"].sel(snapshot=1.0), 3.0, atol=0.15)
    np.testing.assert_allclose(analysis["w1_order"].sel(snapshot=1.0), 2.0, atol=0.3)
    assert (analysis["l1_order_deviation"].sel(snapshot=1.0) < 0.1).all()
    assert np.isnan(analysis["l1_order"].sel(snapshot=0.0)).all()  # no error but rounding


def test_local_orders_are_those_between_neighbours_however_the_cells_are_stored(
    refinement: dict[str, Any],
) -> None:
    run(refinement)
    tree = xr.open_datatree("runs/tiny/data.zarr")
    error = tree["limit"]["l1_error"].sel(snapshot=1.0)
    local = tree["analysis"]["l1_order_local"].sel(snapshot=1.0)
    assert np.isnan(local.sel(cells=200)).all()
    for coarse, fine in ((200, 400), (400, 800)):
        expected = np.log2(error.sel(cells=coarse) / error.sel(cells=fine))
        np.testing.assert_allclose(local.sel(cells=fine), expected, rtol=1e-12)


def test_orders_follow_a_store_that_grows(refinement: dict[str, Any]) -> None:
    refinement["axes"]["cells"] = [200, 400]
    run(refinement)
    refinement["axes"]["cells"] = [100, 200, 400]
    run(refinement)
    local = xr.open_datatree("runs/tiny/data.zarr")["analysis"]["l1_order_local"]
    at = local.sel(snapshot=1.0, activation="tanh")
    assert np.isnan(at.sel(cells=100))
    assert at.sel(cells=200) == pytest.approx(2.8, abs=0.3)


def test_they_are_printed_and_given_to_scripts(refinement: dict[str, Any]) -> None:
    study = run(refinement)
    store = open_store(run_folder(study).store, study)
    text = io.StringIO()
    print_analysis(Console(file=text, width=120), store)
    assert "error of the PDE solution" in text.getvalue()
    assert "fit" in text.getvalue()
    assert "rate" not in text.getvalue()
    records = analysis_records(store)["orders"]
    assert [r["cells"] for r in records] == [[200, 400, 800]] * 4
    last = next(r for r in records if r["activation"] == "gcu" and r["snapshot"] == 1.0)
    assert last["l1_order"] == pytest.approx(3.0, abs=0.15)
    assert last["l1_order_local"][0] is None


def test_the_figure_is_drawn(refinement: dict[str, Any]) -> None:
    study = run(refinement)
    drawn = sorted(path.name for path in run_folder(study).folder.glob("*.png"))
    assert drawn == ["error-against-cells.png"]
