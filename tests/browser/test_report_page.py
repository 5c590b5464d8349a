"""The page of a report in a real browser, cut off from every network."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.folder import Folder
from pipeline.report.page import write_report
from pipeline.store import create, open_store
from pipeline.study import Study
from tests.browser.chromium import Browser

pytestmark = pytest.mark.browser
COORDINATES = ("snapshot", "x", "time")
DATA = """
const spec = JSON.parse(document.querySelector('script[data-for="w1-against-m"]').textContent);
return Object.values(spec.datasets)[0]
"""
MARKS = """
return [...document.querySelectorAll(arguments[0] + ' .mark-symbol path')]
  .map(p => p.getAttribute('transform') + p.getAttribute('fill'))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "page.zarr"
    Study(
        study={"name": "page", "seed": 3, "steps": ["limit", "particles"]},
        problem={
            "horizon": 0.4,
            "initial": {"kind": "beta", "a": 3, "b": 3},
            "target": {"kind": "normal", "mean": 0.5, "std": 0.2},
            "controls": {"w": -1.0, "b": "exp(t) - 1"},
        },
        axes={
            "activation": ["identity", "relu", "sigmoid", "tanh", "gcu"],
            "cells": [50, 100, 200],
            "particles": [100, 300, 1000],
            "seed": {"count": 4},
        },
        numerics={"time_step": 0.05, "snapshots": [0.0, 0.2, 0.4]},
    ).run(path)
    return path


@pytest.fixture(scope="module")
def page(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(Folder(store), tmp_path_factory.mktemp("page") / "report")


def test_opens_offline_without_complaints(browser: Browser, page: Path) -> None:
    browser.complaints()
    browser.open(page)
    assert browser.complaints() == []
    requests = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in requests if not name.startswith(("data:", "blob:"))] == []
    assert browser.run("return document.querySelectorAll('.chart svg').length") == 8


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_its_window(
    browser: Browser, page: Path, width: int, theme: str, tmp_path: Path
) -> None:
    browser.open(page, width, theme)
    assert browser.run("return document.documentElement.scrollWidth") == width
    shown = browser.run("return getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", shown)[0])
    assert (red < 60) == (theme == "dark")
    picture = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {})
    (tmp_path / "page.png").write_bytes(base64.b64decode(picture["data"]))
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    widths = browser.run(
        "return [...document.querySelectorAll('.chart')]"
        ".map(c => c.querySelector('svg').getBoundingClientRect().width - c.clientWidth)"
    )
    assert max(widths) <= 1


def test_the_menu_of_time_changes_the_marks(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = browser.run(MARKS, "#w1-against-m")
    browser.change("w1-against-m", "time t", "0")
    after = browser.run(MARKS, "#w1-against-m")
    assert len(before) == len(after) > 0
    assert before != after


def test_a_checkbox_hides_an_activation(browser: Browser, page: Path) -> None:
    browser.open(page)
    drawn = "return document.querySelectorAll('#w1-against-m .mark-symbol.role-mark path').length"
    assert browser.run(drawn) == 5 * 3
    browser.change("w1-against-m", "tanh", None)
    assert browser.run(drawn) == 4 * 3
    browser.change("w1-against-m", "tanh", None)
    assert browser.run(drawn) == 5 * 3


def test_the_slider_moves_time(browser: Browser, page: Path) -> None:
    browser.open(page)
    clock = (
        "return [...document.querySelectorAll('#densities .mark-text.role-mark text')]"
        ".map(t => t.textContent).join()"
    )
    lines = "document.querySelectorAll('#densities .mark-line path')"
    curve = f"return [...{lines}].at(-1).getAttribute('d')"
    assert browser.run(clock) == "t = 0.4"
    before = browser.run(curve)
    browser.change("densities", "time t", "1")
    assert browser.run(clock) == "t = 0.2"
    assert browser.run(curve) != before


def test_numbers_are_those_of_the_store(browser: Browser, page: Path, store: Path) -> None:
    browser.open(page)
    tree = xr.open_datatree(store)
    points = browser.run(DATA)
    assert len(points) == 5 * 3 * 3
    for point in points:
        place = {key: point[key] for key in ("activation", "snapshot")}
        w1 = tree["particles/w1"].sel({**place, "particles": point["particles"]})
        assert point["mean"] == pytest.approx(float(w1.mean()), rel=1e-12)
        assert point["rate"] == float(tree["analysis/rate"].sel(place))
    cells = browser.run(
        "return [...document.querySelectorAll('table[data-table=rates] tbody tr')]"
        ".map(r => [...r.children].map(c => c.dataset.value ?? c.textContent))"
    )
    for activation, time_, rate, *_ in cells:
        place = {"activation": activation, "snapshot": float(time_)}
        assert float(rate) == float(tree["analysis/rate"].sel(place))


def test_theme_can_be_changed_and_charts_follow(browser: Browser, page: Path) -> None:
    browser.open(page)
    colours = """
      const fill = e => getComputedStyle(e).fill;
      const [text, mark] = ['.role-axis-label text', '.mark-symbol.role-mark path']
        .map(s => document.querySelector('#w1-against-m ' + s));
      return [fill(text), fill(mark)]
    """
    light = browser.run(colours)
    browser.run("document.getElementById('theme').click()")
    dark = browser.run(colours)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert browser.complaints() == []
    browser.run("localStorage.clear()")


def test_keyboard_reaches_everything(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    seen = []
    for _ in range(60):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(
            browser.run(
                "const e = document.activeElement;"
                "return [e.tagName, e.className, getComputedStyle(e).outlineStyle]"
            )
        )
    assert seen[0][:2] == ["A", "skip"]
    assert {"A", "BUTTON", "SELECT", "INPUT"} <= {tag for tag, _, _ in seen}
    assert all(outline != "none" for _, _, outline in seen)
    unnamed = browser.run(
        "return [...document.querySelectorAll('select, input')]"
        ".filter(e => !e.labels.length && !e.ariaLabel).length"
    )
    assert unnamed == 0


def test_prints_on_white_with_every_chart(browser: Browser, page: Path) -> None:
    browser.open(page, theme="dark")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = browser.run(
        "return [getComputedStyle(document.body).backgroundColor,"
        "getComputedStyle(document.querySelector('nav')).display,"
        "getComputedStyle(document.querySelector('#w1-against-m .role-axis-label text')).fill]"
    )
    assert shown == ["rgb(255, 255, 255)", "none", "rgb(31, 41, 51)"]
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_two_stores(browser: Browser, store: Path, tmp_path: Path) -> None:
    both = write_report(Folder(store), tmp_path / "report", compare_with=Folder(store))
    browser.complaints()
    browser.open(both)
    left, right = browser.run(
        "return ['w1-against-m', 'b-w1-against-m']"
        ".map(id => document.getElementById(id).getBoundingClientRect().toJSON())"
    )
    assert left["top"] == right["top"]
    assert left["right"] <= right["left"]
    assert browser.complaints() == []
    browser.open(both, 400)
    assert browser.run("return document.documentElement.scrollWidth") == 400


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 10⁵ points, filled with made-up results."""
    path = tmp_path_factory.mktemp("large") / "large.zarr"
    study = Study(
        study={"name": "large", "steps": ["limit", "particles"]},
        problem={
            "horizon": 0.4,
            "initial": {"kind": "uniform", "low": 0.0, "high": 1.0},
            "controls": {"w": 1.0, "b": 0.0},
        },
        axes={
            "activation": ["identity", "relu", "sigmoid", "tanh", "gcu"],
            "cells": [50, 100, 200, 400],
            "particles": {"from": 1e1, "to": 1e4, "per_decade": 3},
            "seed": {"count": 1000},
            "sampling": ["iid", "quantile"],
        },
        numerics={"time_step": 0.05, "snapshots": [0.0, 0.1, 0.2, 0.3, 0.4]},
    )
    create(Folder(path), study)
    store, random = open_store(Folder(path), study), np.random.default_rng(0)
    for name, array in _arrays(store):
        if name.endswith(("status", "status_pde")):
            array[...] = np.ones(array.shape, dtype=array.dtype)
        elif array.dtype.kind == "f" and name.rsplit("/", 1)[1] not in COORDINATES:
            array[...] = np.exp(random.normal(-4.0, 0.3, array.shape))
    return path


def _arrays(store: Any) -> Iterator[tuple[str, Any]]:
    for group, node in store.root.groups():
        for name, array in node.arrays():
            yield f"{group}/{name}", array
        for inner, child in node.groups():
            for name, array in child.arrays():
                yield f"{group}/{inner}/{name}", array


@pytest.mark.slow
def test_a_hundred_thousand_points(browser: Browser, large: Path, tmp_path: Path) -> None:
    tree = xr.open_datatree(large)
    assert tree["particles/status"].size == 100_000
    report = write_report(Folder(large), tmp_path / "report")
    assert report.stat().st_size < 10e6
    browser.complaints()
    opened = browser.open(report)
    assert opened < 3.0
    assert browser.complaints() == []
    assert len(browser.run(DATA)) == 5 * 10 * 2 * 5
