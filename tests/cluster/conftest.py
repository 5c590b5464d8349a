"""A study for real clusters, and its run on this machine to compare with."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xarray as xr

from tests.services.guard import service
from tests.services.place import Place

STUDY = """
[study]
name = "cluster"
[problem]
horizon = 0.5
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["identity", "tanh", "sigmoid"]
cells = [50]
particles = [100, 300, 1000, 3000, 10000]
seed = { count = 35 }
[cluster]
queue = "main"
interface = "lo"
memory = "1GB"
walltime = "00:10:00"
min = 2
max = 2
"""
POINTS = {"limit": 3, "particles": 525}


@pytest.fixture
def place() -> Iterator[Place]:
    """A folder with the study; whatever is started in it ends with the test."""
    with service("place") as daemons:
        (daemons.folder / "study.toml").write_text(STUDY)
        yield Place(daemons.folder)


@pytest.fixture(scope="session")
def reference() -> Iterator[Path]:
    """The store of a run on this machine, without a cluster."""
    with service("reference") as daemons:
        (daemons.folder / "study.toml").write_text(STUDY)
        code, facts, errors = Place(daemons.folder).meanfield(
            "run", "study.toml", "--direct", "--store", "data.zarr"
        )
        assert code == 0, errors
        assert {step: count["done"] for step, count in facts["points"].items()} == POINTS
        yield daemons.folder / "data.zarr"


@pytest.fixture
def assert_right(reference: Path) -> Callable[[Place, str], None]:
    """See that a store is whole, and equal to that of the run on this machine, bit for bit."""

    def check(place: Place, store: str) -> None:
        code, facts, errors = place.meanfield("verify", store)
        assert (code, facts["damaged"]) == (0, []), errors
        code, facts, errors = place.meanfield("compare", store, str(reference))
        different = [v for v in facts["variables"] if v["other_bits"] or v["only_one"]]
        assert (code, different) == (0, []), errors

    return check


@pytest.fixture
def done() -> Callable[[Path], int]:
    """How many points of the particles a local store has."""

    def count(store: Path) -> int:
        with contextlib.suppress(OSError, KeyError, ValueError):
            return int((xr.open_datatree(store)["particles/status"] == 1).sum())
        return 0

    return count
