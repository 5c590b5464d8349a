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
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.study import Study


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
    found = compare(store, run(tiny, "other.zarr"))
    assert all(d.other_bits == 0 and d.within(0.0) for d in found)
    assert {"particles/w1", "analysis/rate", "limit/cells_50/density"} <= set(by_name(found))


def test_common_points_of_different_grids(tiny: dict[str, Any], store: Path) -> None:
    tiny["axes"]["seed"] = [3, 9]
    tiny["axes"]["activation"] = ["gcu", "tanh"]
    found = by_name(compare(store, run(tiny, "other.zarr")))
    assert found["particles/w1"].common == 1 * 3 * 1 * 2
    assert found["particles/w1"].other_bits == 0
    assert "analysis/rate" not in found


def test_difference_is_measured(tiny: dict[str, Any], store: Path) -> None:
    other = run(tiny, "other.zarr")
    array: Any = zarr.open_group(other, mode="r+")["particles/w1"]
    array[0, 0, 0, 0] = array[0, 0, 0, 0] * (1 + 1e-6)
    array[1, 0, 0, 0] = np.nan
    difference = by_name(compare(store, other))["particles/w1"]
    assert difference.other_bits == 2
    assert difference.only_one == 1
    assert difference.largest == pytest.approx(1e-6, rel=1e-3)
    assert not difference.within(1e-3)


def test_strangers_are_refused(tiny: dict[str, Any], store: Path) -> None:
    with pytest.raises(StoreError, match="no store there"):
        compare(store, Path("nowhere"))


def test_export_to_netcdf_and_csv(store: Path) -> None:
    export(store, Path("out.nc"))
    tree = xr.open_datatree(store, engine="zarr")
    again = xr.open_datatree("out.nc", engine="h5netcdf")
    for path in ("particles/w1", "limit/l1_error", "limit/cells_50/density", "analysis/rate"):
        assert np.array_equal(tree[path].values, again[path].values)
    files = export(store, Path("tables"))
    name = "particles-by-activation-particles-seed-snapshot.csv"
    table = pd.read_csv(Path("tables") / name)
    assert len(table) == 2 * 3 * 4 * 2
    row = table.query("activation == 'tanh' and particles == 300 and seed == 1 and snapshot == 0.2")
    stored = tree["particles/w1"].sel(activation="tanh", particles=300, seed=1, snapshot=0.2)
    assert row["w1"].item() == stored.item()
    assert all(file.is_file() for file in files)
    for target in ("out.nc", "tables"):
        with pytest.raises(StoreError, match="exists already"):
            export(store, Path(target))
