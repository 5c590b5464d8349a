"""Round trips: what is put into a store is read back bit for bit, however the store has grown."""

import copy
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import store as store_module
from pipeline.axes import label
from pipeline.errors import StoreError
from pipeline.folder import Folder
from pipeline.plan import plan_step
from pipeline.shards import Reader, put, read_block, shards_of, write_block
from pipeline.status import Status
from pipeline.store import Store, create, open_and_grow, open_store, open_stored
from pipeline.study import Study
from pipeline.verify import verify
from solvers import NUMERICS_VERSION

ACTIVATIONS = ["identity", "tanh", "relu", "sigmoid", "gcu"]
VALUES = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1e308, 0.1, -1 / 3]
Model = dict[tuple[str, tuple[Any, ...]], bytes]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, list[Any]]]:
    """The axes of a study as it grows: each later one has further values, and may lack old ones."""
    pools = {
        "activation": draw(st.permutations(ACTIVATIONS)),
        "cells": draw(st.lists(st.integers(10, 400), min_size=3, max_size=4, unique=True)),
        "particles": draw(st.lists(st.integers(1, 10**6), min_size=3, max_size=6, unique=True)),
        "seed": draw(st.lists(st.integers(0, 999), min_size=3, max_size=9, unique=True)),
    }
    grids = []
    for _ in range(draw(st.integers(1, 4))):
        chosen = {k: draw(st.sets(st.sampled_from(p), min_size=1)) for k, p in pools.items()}
        grids.append({k: [v for v in p if v in chosen[k]] for k, p in pools.items()})
    return grids


def study_of(axes: dict[str, list[Any]]) -> Study:
    return Study(
        study={"name": "round", "seed": 1, "steps": ["limit", "particles"]},
        problem={
            "horizon": 0.2,
            "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
            "controls": {"w": -1.0, "b": 0.0},
        },
        axes=copy.deepcopy(axes),
        numerics={"time_step": 0.1, "snapshots": [0.0, 0.2]},
    )


@settings(max_examples=6, deadline=None)
@given(
    grids=histories(),
    lengths=st.tuples(*[st.integers(1, 4)] * 3),
    draws=st.randoms(use_true_random=False),
)
def test_what_is_put_is_read_back(
    grids: list[dict[str, list[Any]]], lengths: tuple[int, int, int], draws: Any
) -> None:
    """Values go in shard by shard as a worker writes them, some shards at each stage of growth."""
    chunk = dict(zip(("activation", "particles", "seed"), lengths, strict=True))
    model: Model = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(store_module, "shard_shape", lambda _, step: shape_of(step, chunk)),
    ):
        path = Path(folder) / "store.zarr"
        for axes in grids:
            study = study_of(axes)
            create(Folder(path), study)
            store = open_and_grow(Folder(path), study)
            fill(store, draws, model)
            check(store, path, model)
        assert all(damage.problem == "incomplete" for damage in verify(Folder(path)))


def shape_of(step: Any, chunk: dict[str, int]) -> dict[str, int]:
    return {"activation": 1, "cells": 1} if step.name == "limit" else chunk


def fill(store: Store, draws: Any, model: Model) -> None:
    """Put random numbers at random points of the study, and note their bits by their labels."""
    step = store.study.step("particles")
    tables = step.tables_in(store.study.header.steps)
    for shard in shards_of(store, step):
        if draws.random() < 0.5:
            continue
        for table in tables:
            block = read_block(store, step, table, shard, frozenset())
            wanted = store.wanted(block.axes)[block.region]
            for offset in map(tuple, np.argwhere(wanted).tolist()):
                if draws.random() < 0.3:
                    continue
                outputs = {
                    name: np.array(
                        draws.choices(VALUES, k=int(np.prod(v.shape[len(offset) :])))
                    ).reshape(v.shape[len(offset) :])
                    for name, v in block.data.items()
                }
                put(block, offset, outputs, Status.DONE)
                at = place(store, block.axes, block.index(offset))
                for name, values in outputs.items():
                    model[name, at] = values.tobytes()
                model[table.status, at] = np.int8(Status.DONE).tobytes()
            if block.changed:
                write_block(store, step, block)


def place(store: Store, axes: Any, index: tuple[int, ...]) -> tuple[Any, ...]:
    """The labels of a stored position."""
    values = store.values_at(axes, index) or {}
    return tuple(label(values[key]) for axis in axes for key in axis.keys)


def check(store: Store, path: Path, model: Model) -> None:
    """Compare everything that is stored, old values included, with the model."""
    step = store.study.step("particles")
    with xr.open_datatree(path, engine="zarr") as tree:
        dataset = tree["particles"].to_dataset()
        for table in step.tables_in(store.study.header.steps):
            names = [axis.name for axis in store.table_axes(table)]
            for variable in [table.status, *(v.name for v in table.variables)]:
                whole = Reader(store).read(f"{step.name}/{variable}", (slice(None),))
                assert whole is not None
                assert whole.tobytes() == dataset[variable].values.tobytes()
                assert list(dataset[variable].dims[: len(names)]) == names
                for index, at in positions(dataset, names):
                    found = np.asarray(dataset[variable].values[index])
                    assert found.tobytes() == model.get((variable, at), empty(found)), variable


def positions(dataset: xr.Dataset, names: list[str]) -> Iterator[tuple[Any, Any]]:
    """Every stored position, with its labels as plain xarray reads them."""
    labels = [dataset[name].values.tolist() for name in names]
    for index in itertools.product(*(range(len(values)) for values in labels)):
        yield index, tuple(values[i] for values, i in zip(labels, index, strict=True))


def empty(like: np.ndarray) -> bytes:
    """What was never put: pending, or not a number."""
    return np.full_like(like, 0 if like.dtype.kind == "i" else np.nan).tobytes()


def test_store_of_an_older_version_is_read_but_not_computed_on(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Folder(Path("data.zarr"))
    with monkeypatch.context() as older:
        older.setattr("pipeline.study.NUMERICS_VERSION", NUMERICS_VERSION - 1)
        create(place, Study(**copy.deepcopy(tiny)))
    store = open_stored(place)
    assert sum(plan_step(store, step).count.pending for step in store.study.steps) > 0
    for use in (open_store, open_and_grow):
        with pytest.raises(StoreError, match="another version of meanfield made the store"):
            use(place, store.study)
