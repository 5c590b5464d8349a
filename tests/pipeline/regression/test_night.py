"""A night from its runs to its record: first, without alarm, with alarms, and without a verdict."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from pipeline.errors import ClusterError, StoreError, StudyError
from pipeline.place import place_of
from pipeline.regression.history import History
from pipeline.regression.night import (
    Order,
    Ran,
    Runner,
    adopt,
    infrastructure,
    run_night,
    with_members,
)
from pipeline.regression.reference import Reference, reference
from pipeline.run import run_stages
from pipeline.session import RunFolder, open_session
from pipeline.study import Study

Make = Callable[..., Order]


def run_here(study: Study, places: RunFolder) -> Ran:
    """Run a study in this process."""
    with open_session(study, places) as session:
        summary = run_stages(session)
    return Ran(infrastructure(summary.points))


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time."""
    monkeypatch.setattr("pipeline.figures.draw_figures", lambda *_: [])


@pytest.fixture
def limit(tables: dict[str, Any]) -> dict[str, Any]:
    """A study of some milliseconds."""
    found = copy.deepcopy(tables)
    found["study"]["steps"] = ["limit"]
    found["axes"] = {"activation": ["tanh"], "cells": [30, 60]}
    return found


@pytest.fixture
def order(tmp_path: Path, limit: dict[str, Any]) -> Make:
    """Orders for nights of that study, with some tables changed."""
    history = History(place_of(tmp_path / "history"))

    def make(run: Runner = run_here, wanted: str | None = None, **changes: Any) -> Order:
        tables = {key: value | changes.get(key, {}) for key, value in limit.items()}
        study = Study(**tables, regression=changes.get("regression"))
        known = reference(history, wanted, study.name)
        return Order([study], history, known, lambda n: tmp_path / "out" / n, run, timed=False)

    return make


FASTER = {"controls": {"w": -1.001, "b": "exp(t) - 1"}}


def test_nights_one_after_another(order: Make) -> None:
    first = run_night(order())
    history = order().history
    assert (first.outcome, first.exit, first.findings) == ("first", 0, ())
    assert f"meanfield baseline set main {first.night}" in first.reason
    history.set_baseline("main", first.night)
    same = run_night(order())
    assert (same.outcome, same.exit, same.baseline) == ("agrees", 0, "main")
    assert same.baseline_night == first.night
    assert {f.outcome for f in same.findings} == {"agrees"}
    run_night(order())
    moved = run_night(order(problem=FASTER))
    assert (moved.outcome, moved.exit) == ("alarms", 1)
    assert {"limit/mean", "limit/variance"} <= {f.variable for f in moved.alarms}
    assert moved.findings[: len(moved.alarms)] == moved.alarms
    assert {step.night for step in moved.new_steps} == {moved.night}
    again = run_night(order(problem=FASTER))
    assert again.alarms
    assert again.steps
    assert not again.new_steps  # they were news the night before
    records, _ = history.records()
    assert [r.outcome for r in records] == ["first", "agrees", "agrees", "alarms", "alarms"]
    assert all(r.numbers for r in records)
    assert records[3].verdict == json.loads(moved.text())


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Ran("workers are missing"), "workers are missing"),
        (ClusterError("no worker came"), "no worker came"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_trouble_of_the_machine_is_no_regression(
    order: Make, trouble: Ran | BaseException, reason: str
) -> None:
    night = run_night(order())
    order().history.set_baseline("main", night.night)

    def fail(study: Study, places: RunFolder) -> Ran:
        if isinstance(trouble, BaseException):
            raise trouble
        run_here(study, places)
        return trouble

    verdict = run_night(order(fail))
    assert (verdict.outcome, verdict.exit, verdict.findings) == ("no-verdict", 2, ())
    assert reason in verdict.reason
    history = order().history
    (_, kept), problems = history.records()
    assert (kept.outcome, kept.numbers, problems) == ("no-verdict", (), [])
    assert not history.place.keys(f"nights/{kept.night}/tiny.zarr")
    assert history.has_store(night.night, "tiny")
    assert run_night(order()).outcome == "agrees"


def test_points_without_time_are_no_verdict(order: Make) -> None:
    verdict = run_night(order(numerics={"time_step": 0.02, "point_timeout": 1e-9}))
    assert verdict.outcome == "no-verdict"
    assert "timeout" in verdict.reason


def test_finished_store_is_judged(order: Make, tmp_path: Path) -> None:
    night = run_night(order())
    history = order().history
    history.set_baseline("main", night.night)
    place = place_of(tmp_path / "given.zarr")
    run_here(order().study, RunFolder(tmp_path / "run", place))
    verdict = run_night(replace(order(), given=place))
    assert verdict.outcome == "agrees"
    assert verdict.findings
    assert any("not timed" in note for note in verdict.notes)
    copied = history.store(verdict.night, "tiny")
    assert copied.keys("") == {k for k in place.keys("") if not k.startswith(".drivers")}
    assert all(copied.read(key) == place.read(key) for key in copied.keys(""))


def test_store_becomes_a_baseline(order: Make, tmp_path: Path) -> None:
    place = place_of(tmp_path / "given.zarr")
    run_here(order().study, RunFolder(tmp_path / "run", place))
    history = order().history
    night = adopt(history, place)
    history.set_baseline("given", night)
    assert run_night(order()).baseline == "given"
    assert run_night(order(wanted=str(place))).outcome == "agrees"


def test_store_of_another_version_is_judged(
    order: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline outlives the version that made it; what it was made with is known beside it."""
    place = place_of(tmp_path / "runs" / "data.zarr")
    monkeypatch.setattr("pipeline.study.NUMERICS_VERSION", 0)
    run_here(order().study, RunFolder(tmp_path / "runs", place))
    monkeypatch.undo()
    monkeypatch.setattr("pipeline.figures.draw_figures", lambda *_: [])
    made_with = {"provenance": {"packages": {"numpy": "1.0"}}}
    (tmp_path / "runs" / "run.json").write_text(json.dumps(made_with))
    history = order().history
    history.set_baseline("old", adopt(history, place))
    verdict = run_night(order())
    assert verdict.outcome == "agrees"
    assert any("numerics_version was 0" in note for note in verdict.notes)
    assert verdict.changed["numpy"][0] == "1.0"
    given = run_night(replace(order(), given=place))
    assert given.outcome == "agrees"
    assert given.changed == {}


def test_what_is_not_compared_is_said(order: Make) -> None:
    night = run_night(order())
    order().history.set_baseline("main", night.night)
    fewer = run_night(order(axes={"cells": [30]}))
    assert fewer.outcome == "agrees"
    assert fewer.notes[0] == "tiny: only the baseline has cells = 60"
    others = run_night(order(axes={"activation": ["sigmoid"]}))
    assert others.outcome == "alarms"
    assert "limit/mean" in {finding.variable for finding in others.alarms}
    longer = run_night(order(problem={"horizon": 0.4}, numerics={"snapshots": [0.0, 0.2, 0.4]}))
    assert any("problem.horizon was 0.2, is 0.4" in note for note in longer.notes)
    rules = {"rules": [{"variables": "limits/*", "rule": "ignored"}]}
    typo = run_night(order(regression=rules))
    assert any("no variable fits 'limits/*'" in note for note in typo.notes)


def test_baseline_of_another_study(order: Make, limit: dict[str, Any]) -> None:
    night = run_night(order()).night
    history = order().history
    history.set_baseline("main", night)
    assert reference(history, None, "other") == Reference()
    with pytest.raises(StoreError, match="'main' is of tiny, and has nothing of other"):
        reference(history, "main", "other")


def test_store_that_is_not_complete_is_no_baseline(order: Make, tmp_path: Path) -> None:
    place = place_of(tmp_path / "given.zarr")
    study = order(numerics={"time_step": 0.02, "point_timeout": 1e-9}).study
    run_here(study, RunFolder(tmp_path / "run", place))
    with pytest.raises(StudyError, match="not a baseline: 2 points failed with the status timeout"):
        adopt(order().history, place)


def test_old_results_are_removed(order: Make) -> None:
    nights = [run_night(order(regression={"keep_nights": 1})).night for _ in range(3)]
    history = order().history
    assert [history.has_store(night, "tiny") for night in nights] == [False, False, True]
    assert len(history.records()[0]) == 3


def test_results_beside_a_step_told_long_ago_are_kept(order: Make) -> None:
    """Also where the number of that step is not tracked any more."""
    keep = {"keep_nights": 1}
    nights = [run_night(order(regression=keep)).night for _ in range(3)]
    nights.append(run_night(order(regression=keep, problem=FASTER)).night)
    ignored = keep | {"rules": [{"variables": "*", "rule": "ignored"}]}
    nights += [run_night(order(regression=ignored)).night for _ in range(2)]
    history = order().history
    assert [history.has_store(n, "tiny") for n in nights] == [False, False, True, True, False, True]


def test_what_it_is_compared_with(order: Make, tmp_path: Path) -> None:
    history = order().history
    assert reference(history, "main", "tiny") == Reference()  # there is nothing yet
    night = run_night(order()).night
    with pytest.raises(StoreError, match="no baseline 'main'; there is none yet"):
        reference(history, "main", "tiny")
    history.set_baseline("a", night)
    history.set_baseline("b", night)
    assert reference(history, "b", "tiny").name == "b"
    with pytest.raises(StudyError, match="allowed: a, b, or a store"):
        reference(history, None, "tiny")
    with pytest.raises(StoreError, match="no store there"):
        reference(history, str(tmp_path / "none.zarr"), "tiny")
    history.remove_baseline("b")
    history.place.child(f"nights/{night}/tiny.zarr").clear()
    with pytest.raises(StoreError, match="results of the baseline 'a' are not there any more"):
        reference(history, None, "tiny")


def test_damaged_baseline_is_no_verdict(order: Make) -> None:
    night = run_night(order()).night
    history = order().history
    history.set_baseline("main", night)
    for key in history.place.keys(f"nights/{night}/tiny.zarr/limit/mean/c"):
        history.place.write(key, b"damaged")
    verdict = run_night(order())
    assert verdict.outcome == "no-verdict"
    assert "cannot be compared" in verdict.reason


def test_members_are_run_and_judged(order: Make, limit: dict[str, Any], tmp_path: Path) -> None:
    member = copy.deepcopy(limit)
    member["study"]["name"] = "other"
    (tmp_path / "other.toml").write_text(tomli_w.dumps(member))
    night = run_night(order()).night
    order().history.set_baseline("main", night)
    alone = order(regression={"members": ["other.toml"]})
    verdict = run_night(replace(alone, studies=with_members(alone.study)))
    assert verdict.studies == ("tiny", "other")
    assert "the baseline has nothing of other: not compared" in verdict.notes
    order().history.set_baseline("main", verdict.night)
    again = order(regression={"members": ["other.toml"]})
    verdict = run_night(replace(again, studies=with_members(again.study)))
    assert {finding.study for finding in verdict.findings} == {"tiny", "other"}
    assert verdict.outcome == "agrees"
    (tmp_path / "other.toml").write_text(tomli_w.dumps(limit))
    with pytest.raises(StudyError, match="two studies are named 'tiny'"):
        with_members(again.study)
