"""Training that is killed or interrupted in its middle goes on to the bits it would have had."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

STORE = "runs/training/data.zarr"
# Samples, warm starts and random ones: whatever a training could take from a point before it.
STUDY = """
[study]
name = "training"
steps = ["train", "limit"]
[problem]
horizon = 1.0
initial = { kind = "uniform", low = -0.5, high = 0.5 }
target = { kind = "uniform", low = 0.5, high = 1.5 }
[axes]
activation = ["tanh", "sigmoid"]
gamma = [0.1, 0.01]
cells = [50]
training_particles = [2000]
seed = { count = 8 }
[numerics]
time_step = 0.02
[training]
discretization = "lagrangian"
optimizer = "lbfgs"
tolerance = 1e-5
intervals = 50
starts = 2
warm_start = true
"""
TOTAL = 2 * 2 * 8


def trained(place: Any) -> int:
    """How many points of the training are done."""
    try:
        with xr.open_datatree(place.folder / STORE) as store:
            return int((store["train/status"] != 0).sum())
    except (OSError, KeyError, ValueError):
        return 0


def wait_for_training(place: Any, driver: Any, number: int) -> None:
    deadline = time.monotonic() + 120
    while trained(place) < number:
        assert driver.poll() is None, "the run ended before it was stopped"
        assert time.monotonic() < deadline, "no trained points in time"
        time.sleep(0.05)


def assert_every_bit_is_the_same(store: Path, other: Path) -> None:
    with xr.open_datatree(store) as one, xr.open_datatree(other) as two:
        for group in ("train", "limit", "limit/cells_50", "analysis"):
            left, right = one[group], two[group]
            assert set(left.variables) == set(right.variables)
            for name in set(left.variables) - {"wall_seconds"}:
                a, b = left[name].values, right[name].values
                assert a.dtype == b.dtype
                same = (a == b).all() if a.dtype.kind in "OTU" else a.tobytes() == b.tobytes()
                assert same, f"{group}/{name}"


@pytest.mark.slow
def test_interrupted_training_resumes_with_the_same_bits(place: Any) -> None:
    (place.folder / "study.toml").write_text(STUDY)
    for after, number in ((3, signal.SIGKILL), (8, signal.SIGINT)):
        driver = place.start("run", "study.toml", "--direct")
        wait_for_training(place, driver, after)
        driver.send_signal(number)
        code, _, err = place.end(driver)
        assert code == (130 if number == signal.SIGINT else -signal.SIGKILL), err
        assert place.left() == set()
        assert after <= (done := trained(place)) < TOTAL
    code, out, err = place.run("run", "study.toml", "--direct", "--json")
    assert code == 0, err
    assert json.loads(out)["computed"] == TOTAL - done + TOTAL
    code, _, err = place.run(
        "run", "study.toml", "--direct", "--workers", "1", "--store", "whole.zarr"
    )
    assert code == 0, err
    assert_every_bit_is_the_same(place.folder / STORE, place.folder / "whole.zarr")
    assert place.run("compare", STORE, "whole.zarr")[0] == 0
    assert np.isfinite(xr.open_datatree(place.folder / STORE)["train/w"]).all()
