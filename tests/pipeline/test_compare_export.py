"""Comparing stores, and taking results elsewhere."""

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from pipeline.compare import Difference, compare
from pipeline.errors import StoreError
from pipeline.export import export
from pipeline.folder import Folder
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.study import Study

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def store(tiny: dict[str, Any]) -> Path:
    return run(tiny, "one.zarr")


def run(document: dict[str, Any], path: str) -> Path:
    study = Study(**copy.deepcopy(document))
    with open_session(study, run_folder(study, path), stream=io.StringIO()) as session:
        run_stages(session)
    return Path(path)


def by_name(found: list[Difference]) -> dict[str, Difference]:
    return {difference.variable: difference for difference in found}


def test_equal_stores_agree(tiny: dict[str, Any], store: Path) -> None:
    found = compare(Folder(store), Folder(run(tiny, "other.zarr")))
    assert all(d.other_bits == 0 and d.within(0.0) for d in found)
    assert {"particles/w1", "analysis/rate", "limit/cells_50/density"} <= set(by_name(found))


def test_common_points_of_different_grids(tiny: dict[str, Any], store: Path) -> None:
    tiny["axes"]["seed"] = [3, 9]
    tiny["axes"]["activation"] = ["gcu", "tanh"]
    found = by_name(compare(Folder(store), Folder(run(tiny, "other.zarr"))))
    assert found["particles/w1"].common == 1 * 3 * 1 * 2
    assert found["particles/w1"].other_bits == 0
    assert "analysis/rate" not in found


def test_an_axis_of_one_store_is_taken_at_the_setting_of_the_other(
    tiny: dict[str, Any], store: Path
) -> None:
    del tiny["numerics"]["time_step"]
    tiny["axes"]["time_step"] = [0.01, 0.02]
    found = by_name(compare(Folder(run(tiny, "other.zarr")), Folder(store)))
    assert found["particles/w1"].common == 2 * 3 * 4 * 2
    assert found["particles/w1"].other_bits == 0
    tiny["axes"]["time_step"] = [0.01, 0.005]
    tiny["study"]["name"] = "finer"
    with pytest.raises(StoreError) as caught:
        compare(Folder(run(tiny, "third.zarr")), Folder(store))
    said = "the dimension time_step is only in third.zarr, and one.zarr has time_step = 0.02"
    assert said in str(caught.value)


def test_what_cannot_be_compared_says_why(tiny: dict[str, Any], store: Path) -> None:
    tiny["problem"]["domain"] = [-2.0, 2.0]
    found = by_name(compare(Folder(store), Folder(run(tiny, "other.zarr"))))
    density = found["limit/cells_50/density"]
    assert density.reason == "the dimension x has a coordinate in other.zarr only"
    assert density.common == 0
    assert found["particles/w1"].other_bits == 0
    assert found["limit/l1_error"].common > 0


def test_zipped_axes_are_matched_by_their_values(tiny: dict[str, Any]) -> None:
    del tiny["axes"]["cells"], tiny["numerics"]["time_step"]
    steps, cells = [0.02, 0.01, 0.005], [50, 100, 200]
    stores = []
    for name, rows in (("a.zarr", [0, 1]), ("b.zarr", [2, 1])):
        zipped = {"cells": [cells[i] for i in rows], "time_step": [steps[i] for i in rows]}
        tiny["axes"]["zip"] = [{"name": "resolution", **zipped}]
        stores.append(run(tiny, name))
    found = by_name(compare(*map(Folder, stores)))
    assert found["limit/l1_error"].common == 2 * 1 * 2
    assert found["limit/l1_error"].other_bits == 0
    assert found["limit/cells_100/density"].largest == 0
    assert "limit/cells" not in found


def test_orders_of_other_cells_are_other_orders(tiny: dict[str, Any]) -> None:
    tiny["study"]["steps"] = ["limit"]
    for name in ("particles", "seed"):
        del tiny["axes"][name]
    first, second = run(tiny, "a.zarr"), run(tiny, "b.zarr")
    assert "analysis/l1_order" in by_name(compare(Folder(first), Folder(second)))
    tiny["axes"]["cells"] = [50, 200]
    assert "analysis/l1_order" not in by_name(compare(Folder(first), Folder(run(tiny, "c.zarr"))))


def test_zipped_keys_are_coordinates(tiny: dict[str, Any]) -> None:
    del tiny["axes"]["cells"], tiny["numerics"]["time_step"]
    tiny["axes"]["zip"] = [{"name": "pair", "cells": [50, 100], "time_step": [0.02, 0.01]}]
    tree = xr.open_datatree(run(tiny, "zipped.zarr"), engine="zarr")
    for group in ("limit", "particles", "limit/cells_50"):
        assert {"cells", "time_step"} <= set(tree[group].coords)
        assert not {"cells", "time_step"} & set(tree[group].data_vars)
    export(Folder(Path("zipped.zarr")), Path("tables"))
    table = pd.read_csv(Path("tables") / "limit.csv")
    assert list(table)[:4] == ["activation", "snapshot", "cells", "time_step"]
    at = table.query("activation == 'tanh' and cells == 100 and snapshot == 0.2")
    stored = tree["limit/l1_error"].sel(activation="tanh", snapshot=0.2).isel(pair=1)
    assert at["l1_error"].item() == stored.item()


def test_difference_is_measured(tiny: dict[str, Any], store: Path) -> None:
    other = run(tiny, "other.zarr")
    array: Any = zarr.open_group(other, mode="r+")["particles/w1"]
    array[0, 0, 0, 0] = array[0, 0, 0, 0] * (1 + 1e-6)
    array[1, 0, 0, 0] = np.nan
    difference = by_name(compare(Folder(store), Folder(other)))["particles/w1"]
    assert difference.other_bits == 2
    assert difference.only_one == 1
    assert difference.largest == pytest.approx(1e-6, rel=1e-3)
    assert not difference.within(1e-3)


def test_strangers_are_refused(tiny: dict[str, Any], store: Path) -> None:
    with pytest.raises(StoreError, match="no store there"):
        compare(Folder(store), Folder(Path("nowhere")))


def test_export_to_netcdf_and_csv(store: Path) -> None:
    export(Folder(store), Path("out.nc"))
    tree = xr.open_datatree(store, engine="zarr")
    again = xr.open_datatree("out.nc", engine="h5netcdf")
    for path in ("particles/w1", "limit/l1_error", "limit/cells_50/density", "analysis/rate"):
        assert np.array_equal(tree[path].values, again[path].values)
    files = export(Folder(store), Path("tables"))
    assert {file.name for file in files} >= {"limit.csv", "particles.csv", "particles-pde.csv"}
    assert not [file for file in files if "-by-" in file.name]
    table = pd.read_csv(Path("tables") / "particles.csv")
    assert list(table)[:4] == ["activation", "particles", "seed", "snapshot"]
    assert len(table) == 2 * 3 * 4 * 2
    row = table.query("activation == 'tanh' and particles == 300 and seed == 1 and snapshot == 0.2")
    stored = tree["particles/w1"].sel(activation="tanh", particles=300, seed=1, snapshot=0.2)
    assert row["w1"].item() == stored.item()
    assert row["status"].item() == 1
    assert row["w1_initial"].item() == table["w1"][row.index[0] - 1]  # the snapshot before: t = 0
    assert all(file.is_file() for file in files)
    for target in ("out.nc", "tables"):
        with pytest.raises(StoreError, match="exists already"):
            export(Folder(store), Path(target))
