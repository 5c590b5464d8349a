"""Hosts that are cut apart during a run."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.services import guard
from tests.services.dask import start_scheduler, start_worker
from tests.services.network import Network
from tests.services.place import Place

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.mark.parametrize("seconds", [10.0, 90.0], ids=["blink", "loss"])
def test_run_completes_when_a_host_is_cut_off(
    seconds: float,
    running_network: Network,
    place: Place,
    assert_right: Callable[[Place, str], None],
    done: Callable[[Path], int],
) -> None:
    """A short cut goes unnoticed or not; after a long one the worker has been given up."""
    hosts = {h: replace(place, prefix=running_network.prefix(h)) for h in ("hS", "hA", "hB")}
    at = running_network.address
    scheduler, address = start_scheduler(hosts["hS"], host=at("hS"))
    for host in ("hA", "hB"):
        start_worker(hosts[host], address, name=host, host=at(host))
    run = hosts["hS"].start(
        "run", "flows.cli", "run", "study.toml", "--direct", "--json",
        "--cluster", address, "--store", "data.zarr",
    )  # fmt: skip
    store = place.folder / "data.zarr"
    while done(store) < 60:
        assert run.poll() is None, place.errors("run")
        time.sleep(0.1)
    running_network.cut("hB")
    cut = time.monotonic()
    assert done(store) < 525
    time.sleep(seconds)
    running_network.mend("hB")
    assert run.wait(240) == 0, place.errors("run")
    assert time.monotonic() - cut > seconds
    assert_right(place, "data.zarr")
    _assert_that_late_workers_do_no_harm(place, store, done)
    scheduler.terminate()
    assert guard.left(place.folder, 60.0) == []
    assert_right(place, "data.zarr")


def _assert_that_late_workers_do_no_harm(
    place: Place, store: Path, done: Callable[[Path], int]
) -> None:
    """What a worker writes that was given up is what is there."""
    before = {path: path.read_bytes() for path in store.rglob("c/*/**/*") if path.is_file()}
    time.sleep(5)
    after = {path: path.read_bytes() for path in store.rglob("c/*/**/*") if path.is_file()}
    changed = [path for path in after if after[path] != before.get(path)]
    assert [path for path in changed if "wall_seconds" not in path.parts] == []
    assert done(store) == 525
