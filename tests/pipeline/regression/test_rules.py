"""A night against its baseline: every rule, on stores that were tampered with."""

import copy
import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from scipy import stats

from pipeline.alignment import Aligned, zip_label
from pipeline.errors import StoreError
from pipeline.folder import Folder
from pipeline.regression.comparison import by_interval, by_seeds
from pipeline.regression.defaults import EQUIVALENT, INTERVAL
from pipeline.regression.findings import Finding, Number
from pipeline.regression.numbers import MOST, tracked
from pipeline.regression.rules import Pair, judge
from pipeline.regression_settings import Regression
from pipeline.root import read_root, root_document, write_root
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.status import Status
from pipeline.study import Study

Change = Callable[[zarr.Group], None]


def run(document: dict[str, Any], path: Path) -> Path:
    study = Study(**copy.deepcopy(document))
    with open_session(study, run_folder(study, path), stream=io.StringIO()) as session:
        run_stages(session)
    return path


@pytest.fixture(scope="module")
def store(tables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night; not to be changed."""
    document = copy.deepcopy(tables)
    document["axes"]["seed"] = {"count": 8}
    return run(document, tmp_path_factory.mktemp("night") / "old.zarr")


@pytest.fixture
def changed(store: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """Copies of the night with some numbers changed."""

    def _changed(change: Change) -> Path:
        path = shutil.copytree(store, tmp_path / "new.zarr")
        change(zarr.open_group(path, mode="r+", use_consolidated=False))
        return path

    return _changed


def findings(old: Path, new: Path, *rules: dict[str, Any]) -> dict[str, Finding]:
    settings = Regression.model_validate({"rules": rules})
    found = judge([Pair("tiny", Folder(old), Folder(new), settings)], 0.05)
    return {finding.variable: finding for finding in found}


def alarms(found: dict[str, Finding]) -> set[str]:
    return {name for name, finding in found.items() if finding.outcome == "alarm"}


def times(path: str, factor: float) -> Change:
    def change(root: zarr.Group) -> None:
        root[path][...] = root[path][...] * factor

    return change


def test_the_same_night_agrees_in_every_variable(store: Path) -> None:
    found = findings(store, store)
    assert {finding.outcome for finding in found.values()} == {"agrees", "not-compared"}
    assert found["particles/w1"].rule == "equivalent"
    assert found["analysis/rate"].rule == "interval"
    assert found["analysis/l1_order"].rule == "order"
    assert found["limit/status"].rule == "identical"
    assert found["limit/substeps"].rule == "not-above"
    assert found["limit/cells_50/density"].rule == "tolerance"
    assert not {"limit/wall_seconds", "analysis/rate_low", "analysis/r_squared"} & set(found)


SMALL = {
    "limit/l1_error": 1.0 + 1e-12,
    "limit/cells_50/density": 1.0 - 1e-12,
    "limit/substeps": 0.5,
    "analysis/l1_order": 1.02,
    "particles/w1": 1.005,
    "analysis/rate": 1.02,
}
LARGE = {
    "limit/l1_error": 1.0 - 1e-6,
    "limit/cells_50/density": 1.0 + 1e-6,
    "limit/substeps": 1.5,
    "analysis/l1_order": 1.2,
    "particles/w1": 1.03,
    "particles/variance": 0.97,
    "analysis/rate": 4.0,
}


def all_of(factors: dict[str, float]) -> Change:
    def change(root: zarr.Group) -> None:
        for path, factor in factors.items():
            times(path, factor)(root)

    return change


def test_small_changes_and_what_the_machine_did_not_do_agree(
    store: Path, changed: Callable[[Change], Path]
) -> None:
    def change(root: zarr.Group) -> None:
        all_of(SMALL)(root)
        for seed, status in enumerate([Status.PENDING, Status.TIMEOUT, Status.OUT_OF_MEMORY]):
            root["particles/status"][0, 0, seed] = status
            root["particles/w1"][0, 0, seed] = np.nan

    found = findings(store, changed(change))
    assert {found[path].outcome for path in SMALL} == {"agrees"}
    assert alarms(found) == set()


def test_what_moved_is_told_and_nothing_else(
    store: Path, changed: Callable[[Change], Path]
) -> None:
    def change(root: zarr.Group) -> None:
        all_of(LARGE)(root)
        root["limit/w1_error"][1, 0, 1] *= 1.5

    found = findings(store, changed(change))
    assert alarms(found) == {*LARGE, "limit/w1_error"}
    for path, factor in LARGE.items():
        assert found[path].beyond > 0
        assert found[path].new / found[path].old == pytest.approx(factor, rel=1e-3)
        assert "allowed" in found[path].reason
    worst = found["limit/w1_error"]
    assert worst.at == {"activation": "tanh", "cells": 50.0, "snapshot": 0.2}
    assert (worst.compared, worst.beyond) == (8, 1)
    assert worst.reason.startswith("1 of 8 numbers beyond what is allowed; the worst differs by")
    assert np.isnan(worst.p_value)


def test_a_mean_of_few_seeds_is_undecided_and_says_how_many_would_do(
    store: Path, changed: Callable[[Change], Path]
) -> None:
    def change(root: zarr.Group) -> None:
        values = root["particles/w1"][...]
        root["particles/w1"][...] = values[:, :, ::-1]  # other seeds' numbers

    found = findings(store, changed(change))["particles/w1"]
    assert found.outcome == "undecided"
    assert "8 seeds do not tell, about " in found.reason
    assert found.low < 0.0 < found.high


def test_other_seeds_are_compared_as_samples() -> None:
    rng = np.random.default_rng(0)
    names = ["place", "seed"]
    old = xr.DataArray(rng.normal(1.0, 0.1, (3, 8)), {"seed": range(8)}, names)
    new = xr.DataArray(rng.normal(1.0, 0.1, (3, 6)), {"seed": range(50, 56)}, names)
    new[1] += 1.0
    new[2, 1:] = np.nan
    found = by_seeds(Aligned("particles/w1", old, new), EQUIVALENT)
    expected = stats.ttest_ind(new[0], old[0], equal_var=False).pvalue
    assert expected < found.p_values[0] < 1.0
    assert found.p_values[1] < 1e-6
    assert found.p_values[2] == 1.0  # of one seed
    assert not found.missing.any()
    assert found.at(1) == {"place": 1.0}


def test_one_seed_against_several(
    store: Path, tables: dict[str, Any], tmp_path: Path, changed: Callable[[Change], Path]
) -> None:
    """The one that both have is compared, or nothing is decided; means of other seeds alarm not."""
    document = copy.deepcopy(tables)
    document["axes"]["seed"] = [3]
    one = run(document, tmp_path / "one.zarr")
    for old, new in ((store, one), (one, store)):
        found = findings(old, new)
        assert alarms(found) == set()
        assert found["particles/w1"].outcome == "agrees"
    assert "particles/w1" in alarms(findings(one, changed(times("particles/w1", 1.03))))
    document["axes"]["seed"] = [99]
    other = findings(store, run(document, tmp_path / "other.zarr"))
    assert alarms(other) == set()
    assert other["particles/w1"].outcome == "undecided"
    assert "one seed does not tell" in other["particles/w1"].reason


@pytest.mark.parametrize("seeds", [4, 8])
def test_intervals_of_few_seeds_have_heavy_tails(seeds: int) -> None:
    """The p-values of true hypotheses are uniform also far out, where Holm's method needs them."""
    rng, n = np.random.default_rng(0), 200_000
    means, errors = rng.standard_normal((2, n)), rng.chisquare(seeds - 1, (2, n)) / (seeds - 1)
    half = stats.t.ppf(0.975, seeds - 1) * np.sqrt(errors)
    pair, low, high = (
        Aligned("analysis/rate", *(xr.DataArray(side, dims="place") for side in values))
        for values in (means, means - half, means + half)
    )
    found = by_interval(pair, low, high, INTERVAL, (seeds, seeds)).p_values
    for level in (1e-4, 0.05):
        assert 0.2 * level < (found <= level).mean() < 1.6 * level
    normal = by_interval(pair, low, high, INTERVAL, (0, 0)).p_values
    assert (normal <= 1e-4).mean() > 3e-4


def test_a_variable_that_is_missing_is_an_alarm(store: Path, tmp_path: Path) -> None:
    old = shutil.copytree(store, tmp_path / "more.zarr")
    with zarr.config.set({"default_zarr_format": 3}):
        root = zarr.open_group(old, mode="r+", use_consolidated=False)
        root.create_array("limit/other", shape=(2,), dtype="f8", dimension_names=["activation"])
    metadata = read_root(Folder(old))
    names = [
        name
        for name, node in metadata["consolidated_metadata"]["metadata"].items()
        if node["node_type"] == "array"
    ]
    document = root_document(Folder(old).read, metadata["attributes"], [*names, "limit/other"])
    write_root(Folder(old), document)
    assert alarms(findings(old, store)) == {"limit/other"}


def test_new_failures_and_missing_numbers_are_alarms(
    store: Path, changed: Callable[[Change], Path]
) -> None:
    def change(root: zarr.Group) -> None:
        root["limit/status"][0, 1] = Status.CFL
        root["limit/l1_error"][0, 1] = np.nan
        root["particles/status"][0, 1, 2] = Status.NOT_CONVERGED
        for path in ("limit/variance", "particles/w1", "analysis/rate"):
            root[path][0, 0] = np.nan

    new = changed(change)
    found = findings(store, new)
    missing = {"limit/variance", "particles/w1", "analysis/rate"}
    assert alarms(found) == {"limit/status", "particles/status", *missing}
    assert "1 (cfl)" in found["limit/status"].reason
    assert found["limit/status"].at == {"activation": "identity", "cells": 100.0}
    assert "1 (not-converged)" in found["particles/status"].reason
    assert all("missing on one side, here in the night" in found[p].reason for p in missing)
    assert alarms(findings(new, store)) == missing  # the failures are mended


def test_rules_of_the_study_go_first(store: Path, changed: Callable[[Change], Path]) -> None:
    new = changed(times("particles/w1", 1.03))
    wide = {"variables": "particles/w1*", "rule": "equivalent", "margin": 0.1}
    ignored = {"variables": "limit/*", "rule": "ignored"}
    found = findings(store, new, wide, ignored)
    assert alarms(found) == set()
    assert not any(path.startswith("limit/") for path in found)
    bits = {"variables": "particles/*", "rule": "identical"}
    exact = findings(store, new, bits)["particles/w1"]
    assert (exact.rule, exact.outcome, exact.allowed) == ("identical", "alarm", 0.0)


def test_what_is_no_store_says_so(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store there"):
        findings(store, tmp_path / "none.zarr")


def number(value: float) -> Number:
    return Number("tiny", "limit/wall_seconds", {}, value, rule="ratio", tolerance=0.25 * value)


def test_times_are_judged_by_earlier_nights() -> None:
    key = number(1.0).key
    past = {key: [10.0 * np.exp(0.05 * x) for x in np.random.default_rng(0).normal(size=20)]}
    (slow,) = judge([], 0.05, [number(30.0)], past)
    assert (slow.outcome, slow.rule, slow.beyond) == ("alarm", "ratio", 1)
    assert slow.old == pytest.approx(10.0, rel=0.05)
    assert slow.low < 30.0 / slow.old < slow.high
    assert [f.outcome for f in judge([], 0.05, [number(12.0)], past)] == ["agrees"]
    assert [f.outcome for f in judge([], 0.05, [number(3.0)], past)] == ["agrees"]
    (few,) = judge([], 0.05, [number(30.0)], {key: past[key][:7]})
    assert few.outcome == "undecided"
    assert few.reason == "8 earlier nights are wanted to know what is usual; there are 7"
    assert [f.outcome for f in judge([], 0.05, [number(30.0)])] == ["undecided"]


def test_alarms_are_counted_over_the_whole_night() -> None:
    rng = np.random.default_rng(0)
    numbers = [replace(number(16.0), study=f"study {i}") for i in range(50)]
    past = {n.key: list(10.0 * np.exp(0.05 * rng.normal(size=20))) for n in numbers}
    past |= {n.key: [16.0] * 20 for n in numbers[1:]}
    (alone,) = judge([], 0.05, numbers[:1], past)
    among = judge([], 0.05, numbers, past)[0]
    assert among.p_value == pytest.approx(50.0 * alone.p_value)
    assert (alone.outcome, among.outcome) == ("alarm", "agrees")


def test_tracked_numbers(store: Path) -> None:
    numbers = tracked("tiny", Folder(store), Regression(), 2.0, {"run/memory": 3.0})
    by_key = {n.key: n for n in numbers}
    assert len(by_key) == len(numbers)
    w1 = by_key["tiny: particles/w1 (activation = tanh, particles = 1000, snapshot = 0.2)"]
    stored = zarr.open_group(store, mode="r")["particles/w1"][1, 2, :, 1]
    assert w1.value == pytest.approx(stored.mean())
    assert w1.low < w1.value < w1.high
    assert w1.tolerance == pytest.approx(0.01 * w1.value)
    assert by_key["tiny: run/memory"].value == 3.0
    seconds = zarr.open_group(store, mode="r")["limit/wall_seconds"][...].sum()
    assert by_key["tiny: limit/wall_seconds"].value == pytest.approx(seconds / 2.0)
    assert by_key["tiny: limit/status (activation = tanh)"].value == 0.0
    rate = by_key["tiny: analysis/rate (activation = tanh, snapshot = 0.2)"]
    assert rate.low < rate.value < rate.high
    assert not any("density" in key for key in by_key)
    assert not any("wall_seconds" in n.key for n in tracked("tiny", Folder(store), Regression()))


def test_tracked_numbers_of_one_seed(tables: dict[str, Any], tmp_path: Path) -> None:
    document = copy.deepcopy(tables)
    document["axes"]["seed"] = [0]
    numbers = tracked("tiny", Folder(run(document, tmp_path / "one.zarr")), Regression())
    assert {n.variable for n in numbers} >= {"particles/w1", "analysis/rate"}
    assert all(np.isfinite(n.tolerance) for n in numbers)


def test_positions_of_zipped_axes_are_named_by_their_values(
    tables: dict[str, Any], tmp_path: Path
) -> None:
    """Not by their places, which another order of the study would change."""
    document = copy.deepcopy(tables)
    del document["axes"]["activation"]
    names = ["tanh", "identity"]
    controls = [{"w": -1.0, "b": "exp(t) - 1"}, {"w": 0.5, "b": "cos(3*t)"}]
    zipped = {"name": "case", "activation": names, "controls": controls}
    document["axes"]["zip"] = [zipped]
    document["problem"].pop("controls", None)
    numbers = tracked("tiny", Folder(run(document, tmp_path / "zip.zarr")), Regression())
    found = {str(n.at["case"]) for n in numbers if n.variable == "particles/w1"}
    assert {label.split(",")[0] for label in found} == set(names)
    assert zip_label(["iid", "rk4"]) == "iid, rk4"
    long = [zip_label(["iid", {"kind": "beta", "a": a, "b": 2.0 + 1e-9}]) for a in (2, 3)]
    assert len(set(long)) == 2
    assert max(map(len, long)) < 50


def test_tracked_numbers_are_few(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = tracked("tiny", Folder(store), Regression())
    assert len(every) < MOST
    monkeypatch.setattr("pipeline.regression.numbers.MOST", 40)
    fewer = tracked("tiny", Folder(store), Regression())
    assert len(fewer) <= 40
    assert {n.variable for n in fewer} == {n.variable for n in every}
