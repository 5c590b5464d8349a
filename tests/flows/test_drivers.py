"""Two drivers at once on one store: with equal grids together, with different ones in turn."""

import json
import signal
import socket
from typing import Any

import pytest
import xarray as xr

pytestmark = pytest.mark.slow

STORE = "runs/long/data.zarr"
STUDY = """
[study]
name = "long"
[problem]
horizon = 0.5
initial = { kind = "normal", mean = 0.0, std = 0.3 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["identity", "tanh"]
cells = [50]
particles = [1000, 10000, 30000]
seed = { count = SEEDS }
"""
MORE = ("-s", "axes.cells=[80]", "-s", "axes.particles=[100]", "-s", "axes.seed=[0,1]")


def write(place: Any, seeds: int) -> None:
    (place.folder / "study.toml").write_text(STUDY.replace("SEEDS", str(seeds)))


def assert_agrees_with_a_fresh_store(place: Any) -> None:
    code, _, err = place.run("run", "study.toml", "--direct", "--store", "fresh.zarr")
    assert code == 0, err
    code, out, _ = place.run("compare", STORE, "fresh.zarr", "--json")
    assert all(variable["other_bits"] == 0 for variable in json.loads(out)["variables"])
    assert code == 0


def test_drivers_with_equal_grids_work_together(place: Any) -> None:
    write(place, 12)
    command = ("run", "study.toml", "--direct", "--workers", "1", "--json")
    drivers = [place.start(*command) for _ in range(2)]
    place.wait_for_points(STORE, 1)
    assert len(list((place.folder / STORE / ".drivers").iterdir())) == 2
    for driver in drivers:
        code, out, err = place.end(driver)
        assert code == 0, err
        assert json.loads(out)["points"]["particles"]["done"] == 2 * 3 * 12
    assert place.left() == set()
    assert place.run("verify", STORE)[0] == 0
    assert_agrees_with_a_fresh_store(place)


def test_store_grows_only_when_no_other_driver_works(place: Any) -> None:
    write(place, 200)
    driver = place.start("run", "study.toml", "--direct", "--workers", "1")
    place.wait_for_points(STORE, 1)
    before = (place.folder / STORE / "zarr.json").read_bytes()
    code, _, err = place.run("run", "study.toml", "--direct", *MORE)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert "cannot grow" in line
    assert f"{socket.gethostname()} (pid {driver.pid}, seen " in line
    assert (place.folder / STORE / "zarr.json").read_bytes() == before
    driver.send_signal(signal.SIGINT)
    assert place.end(driver)[0] == 130
    code, out, err = place.run("run", "study.toml", "--direct", "--json", *MORE)
    assert code == 0, err
    assert json.loads(out)["computed"] == 2 + 2 * 2
    cells = xr.open_datatree(place.folder / STORE)["limit/cells"].values.tolist()
    assert cells == [50, 80]
    assert place.left() == set()


def test_driver_under_which_the_store_grows_ends_and_loses_nothing(place: Any) -> None:
    """Its heartbeat is taken away, as if it had been suspended for a minute on another host."""
    write(place, 24)
    driver = place.start("run", "study.toml", "--direct", "--workers", "1", "--json")
    place.wait_for_points(STORE, 1)
    driver.send_signal(signal.SIGSTOP)
    for sign in (place.folder / STORE / ".drivers").iterdir():
        sign.unlink()
    code, out, err = place.run("run", "study.toml", "--direct", "--json", *MORE)
    assert code == 0, err
    driver.send_signal(signal.SIGCONT)
    code, out, err = place.end(driver)
    assert code == 1
    assert "has changed under this run" in json.loads(out)["problem"]
    assert "the same command goes on" in err
    assert place.run("run", "study.toml", "--direct", "--json", *MORE)[0] == 0
    code, out, err = place.run("run", "study.toml", "--direct", "--json")
    assert code == 0, err
    assert json.loads(out)["computed"] < 2 * 3 * 24
    assert_agrees_with_a_fresh_store(place)
    assert place.left() == set()


def test_heartbeat_of_a_driver_that_was_killed_does_not_stand_in_the_way(place: Any) -> None:
    write(place, 200)
    driver = place.start("run", "study.toml", "--direct", "--workers", "1")
    place.wait_for_points(STORE, 1)
    driver.kill()
    driver.communicate(timeout=60)
    assert len(list((place.folder / STORE / ".drivers").iterdir())) == 1
    code, _, err = place.run("run", "study.toml", "--direct", *MORE)
    assert code == 0, err
    assert list((place.folder / STORE / ".drivers").iterdir()) == []
