"""The studies that ship, made small: they load, run, and keep Dobrushin's statement everywhere."""

import io
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.study import Study

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
SMALL = ["axes.particles=[30, 1000]", "axes.seed={count=3}"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_study(path: Path) -> None:
    assert Study.load(path).name == path.stem
    study = Study.load(path, SMALL)
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        summary = run_stages(session)
    assert summary.exit == 0
    particles = xr.open_datatree(f"runs/{study.name}/data.zarr")["particles"]
    slack = 1 + 1e-9 + 1e-10 / particles["w1_initial"]
    assert bool((particles["dobrushin_ratio"] <= slack).all())
    assert bool((particles["dobrushin_ratio"] > 0).all())
    assert np.isfinite(particles["w1_pde"]).all()
