"""The page of the regression runs in a real browser, cut off from every network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.place import place_of
from pipeline.regression.evidence import write_evidence
from pipeline.regression.history import History
from pipeline.regression.night import Order, Ran, run_night
from pipeline.regression.page import write_history
from pipeline.regression.reference import reference
from pipeline.regression.verdict import Verdict
from pipeline.run import run_stages
from pipeline.session import RunFolder, open_session
from pipeline.study import Study
from tests.browser.chromium import Browser

pytestmark = pytest.mark.browser
REQUESTS = "return performance.getEntriesByType('resource').map(e => e.name)"
HOVER = """
const chart = document.querySelector('figure[data-alarm] .chart');
const point = [...chart.querySelectorAll('.mark-symbol path')].pop();
const box = point.getBoundingClientRect();
const at = {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true};
for (const kind of ['pointerover', 'mouseover', 'pointermove', 'mousemove'])
  point.dispatchEvent(new MouseEvent(kind, at));
"""
FLAGS = "return [...document.querySelectorAll('figure')].map(f => 'alarm' in f.dataset)"
COMMANDS = "return [...document.querySelectorAll('#alarms pre')].map(p => p.textContent)"
RULES = "figure[data-alarm] .mark-rule line"
TOOLTIP = "return document.getElementById('vg-tooltip-element')?.textContent || ''"


def run_here(study: Study, places: RunFolder) -> Ran:
    with open_session(study, places) as session:
        run_stages(session)
    return Ran()


def night(folder: Path, b: str) -> tuple[Order, Verdict]:
    """A night of a study of some milliseconds, with such controls."""
    study = Study(
        study={"name": "nightly", "steps": ["limit"]},
        problem={
            "horizon": 0.2,
            "initial": {"kind": "beta", "a": 3, "b": 3},
            "controls": {"w": -1.0, "b": b},
        },
        axes={"activation": ["identity", "tanh"], "cells": [30, 60]},
        numerics={"time_step": 0.1},
    )
    history = History(place_of(folder / "history"))
    known = reference(history, None, study.name)
    order = Order([study], history, known, lambda n: folder / n, run_here, timed=False)
    return order, run_night(order)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Verdict]]:
    """The page of a night whose numbers moved, after five without a change."""
    folder = tmp_path_factory.mktemp("nightly")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("pipeline.figures.draw_figures", lambda *_: [])
        order, first = night(folder, "exp(t) - 1")
        order.history.set_baseline("main", first.night)
        for _ in range(4):
            night(folder, "exp(t) - 1")
        order, verdict = night(folder, "exp(t) - 0.99")
        out = folder / "out"
        stores = order.reference.stores["nightly"], order.history.store(verdict.night, "nightly")
        evidence = [
            write_evidence(alarm, order.study, *stores, out / "evidence" / str(i))
            for i, alarm in enumerate(verdict.alarms[:2], start=1)
        ]
        yield write_history(verdict, order.history.records()[0], evidence, out), verdict


def test_opens_offline_without_complaints(browser: Browser, made: tuple[Path, Verdict]) -> None:
    browser.complaints()
    browser.open(made[0])
    assert browser.complaints() == []
    assert [n for n in browser.run(REQUESTS) if not n.startswith(("data:", "blob:"))] == []
    drawn = browser.run("return document.querySelectorAll('.chart svg').length")
    assert drawn == browser.run("return document.querySelectorAll('.chart').length") > 0


def test_alarms_come_first(browser: Browser, made: tuple[Path, Verdict]) -> None:
    page, verdict = made
    browser.open(page)
    assert (
        browser.run("return document.querySelector('[data-outcome]').dataset.outcome") == "alarms"
    )
    flags = browser.run(
        "return [...document.querySelectorAll('figure')].map(f => 'alarm' in f.dataset)"
    )
    assert flags == sorted(flags, reverse=True)
    assert sum(flags) >= len({alarm.variable for alarm in verdict.alarms} & {"limit/mean"}) == 1
    order = browser.run(
        "return ['alarms', 'history', 'comparisons', 'nights']"
        ".map(id => document.getElementById(id).getBoundingClientRect().top)"
    )
    assert order == sorted(order)


def test_evidence_is_at_hand(browser: Browser, made: tuple[Path, Verdict]) -> None:
    page, _ = made
    browser.open(page)
    links = browser.run("return [...document.querySelectorAll('#alarms a')].map(a => a.href)")
    assert links
    assert all(Path(link.removeprefix("file://")).is_file() for link in links)
    commands = browser.run(
        "return [...document.querySelectorAll('#alarms pre')].map(p => p.textContent)"
    )
    assert all(command.startswith("meanfield regress ") for command in commands)


def test_hovering_shows_versions_and_steps_are_marked(
    browser: Browser, made: tuple[Path, Verdict]
) -> None:
    page, verdict = made
    browser.open(page)
    browser.run(HOVER)
    browser.wait(lambda: "numba" in browser.run(TOOLTIP), "tooltip", 10.0)
    text = browser.run(TOOLTIP)
    assert verdict.night in text
    assert verdict.new_steps
    marks = browser.run(
        "return document.querySelectorAll('figure[data-alarm] .mark-rule line').length"
    )
    assert marks >= len({step.number for step in verdict.new_steps}) > 0


@pytest.mark.parametrize("width", [400, 1400])
def test_fits_its_window(browser: Browser, made: tuple[Path, Any], width: int) -> None:
    browser.open(made[0], width)
    assert browser.run("return document.documentElement.scrollWidth") == width
