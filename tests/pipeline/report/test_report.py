"""The page of a store: whole, safe, and with the store's numbers."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from pipeline.errors import StoreError
from pipeline.figures.catalogue import FIGURES
from pipeline.folder import Folder
from pipeline.report.charts import THEME, embedded, script, themed
from pipeline.report.facts import facts_of
from pipeline.report.page import write_report
from pipeline.report.recompute import recompute
from pipeline.report.tables import number
from pipeline.root import read_root, write_root
from pipeline.session import folder_of
from pipeline.steps.particles import follow
from pipeline.store import open_store, stored_study
from pipeline.upstream import Results

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Reads a page: its elements, what they load, its texts and its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.images = 0
        self.cells: list[tuple[str, float]] = []
        self._table = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.images += tag == "img"
        self.handlers += [name for name in known if name.startswith("on")]
        self.loads += [known[name] or "" for name in ("src", "data", "poster") if name in known]
        if tag == "link":
            self.loads.append(known.get("href") or "")
        if tag == "a":
            self.links.append(known.get("href") or "")
        if "id" in known:
            self.ids.append(known["id"] or "")
        if tag == "table":
            self._table = known.get("data-table") or ""
        if tag == "td" and "data-value" in known:
            self.cells.append((self._table, float(known["data-value"] or "nan")))
        if tag == "script":
            self.scripts.append((known, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)


@pytest.fixture(scope="module")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(Folder(store), tmp_path_factory.mktemp("page") / "report")


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_page_is_whole_and_loads_nothing(page: Page, report: Path) -> None:
    assert page.loads == []
    assert page.handlers == []
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (report.parent / link).is_file()
    assert not re.search(r"@import|url\(", report.read_text().split("</style>")[0])
    assert "default-src 'none'" in report.read_text()


def test_figures_are_there_with_their_files(page: Page, report: Path) -> None:
    charts = {a["data-for"] for a, _ in page.scripts if "data-for" in a}
    expected = {"w1-against-m", "local-rates", "error-against-cells", "plane", "densities"}
    assert expected | {"controls", "status", "timings"} == charts
    for name in charts:
        for end in ("png", "svg", "pdf", "csv"):
            assert (report.parent / "figures" / f"{name}.{end}").stat().st_size > 100


def test_numbers_are_those_of_the_store(page: Page, store: Path) -> None:
    tree = xr.open_datatree(store)
    shown = [value for table, value in page.cells if table == "rates"]
    for name in ("rate", "prefactor", "r_squared", "prefactor_expected"):
        for value in tree["analysis"][name].to_numpy().ravel():
            assert float(value) in shown
    orders = [value for table, value in page.cells if table == "orders"]
    known = tree["analysis/l1_order"].to_numpy()
    assert all(float(value) in orders for value in known[np.isfinite(known)])
    counts = [value for table, value in page.cells if table == "counts"]
    assert counts == [4, 4, 24, 24, 48, 48]


def test_specifications_take_their_colours_from_the_page(page: Page) -> None:
    for attributes, text in page.scripts:
        if "data-for" in attributes:
            specification = json.loads(text)
            assert "config" not in specification
            assert specification["description"]
            assert not set(re.findall(r'"(#\w{6})"', text)) & set(THEME)


@pytest.mark.parametrize("text", [HOSTILE, "<!-- <script> -->", "a & b", "\u2028"])
def test_json_cannot_end_its_element(text: str) -> None:
    written = embedded({"values": [text]})
    assert not set("<>&") & set(written)
    assert json.loads(written) == {"values": [text]}


def test_program_cannot_end_its_element() -> None:
    text, digest = script("a = '</script>'; b = '<!--'")
    assert "</script" not in text
    assert "<!--" not in text
    assert digest.startswith("'sha256-")


def test_untrusted_texts_are_escaped(store: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.zarr"
    shutil.copytree(store, hostile)
    root = read_root(Folder(hostile))
    document = json.loads(root["attributes"]["study"])
    document["study"]["name"] = HOSTILE
    document["problem"]["controls"]["b"] = HOSTILE
    document["axes"]["activation"][1] = HOSTILE
    root["attributes"]["study"] = json.dumps(document)
    _write_label(hostile, root, 1, HOSTILE)
    _fail(hostile, "particles/status", (0, 1, 2))
    folder = folder_of(Folder(hostile), "tiny")
    logs = folder / "logs"
    logs.mkdir(parents=True)
    values = {"activation": "identity", "particles": 300, "seed": 2}
    (logs / "x.txt").write_text(
        f"step: particles\nstatus: 8 error\nparameters: {json.dumps(values)}\n"
        f"reason: {HOSTILE}\nreproduce: {HOSTILE}\n\n{HOSTILE}"
    )
    (folder / "run.json").write_text(
        json.dumps({"provenance": {"host": HOSTILE, "command": HOSTILE}})
    )
    text = write_report(Folder(hostile), tmp_path / "report").read_text()
    page = Page(text)
    assert page.images == 0
    assert page.handlers == []
    executed = [body for a, body in page.scripts if a.get("type") != "application/json"]
    assert len(executed) == 2
    assert not any("alert(1)" in body for body in executed)
    assert "alert(1)" in text  # it is shown, as text


def _write_label(path: Path, root: dict[str, Any], position: int, label: str) -> None:
    """Change a value of the axis activation in every group, and commit."""
    for name, node in root["consolidated_metadata"]["metadata"].items():
        if name.endswith("/activation") and node["node_type"] == "array":
            zarr.open_array(path / name)[position] = label
    from pipeline.root import _digest

    root["attributes"]["digest"] = _digest(root)
    write_root(Folder(path), root)


def _fail(path: Path, array: str, index: tuple[int, ...]) -> None:
    zarr.open_array(path / array)[index] = 8


def test_failures_come_with_reason_and_command(store: Path, tmp_path: Path) -> None:
    failed = tmp_path / "failed.zarr"
    shutil.copytree(store, failed)
    _fail(failed, "particles/status", (1, 0, 3))
    logs = tmp_path / "failed.zarr.run" / "logs"
    logs.mkdir(parents=True)
    values = {"activation": "tanh", "particles": 100, "seed": 3}
    log = f"step: particles\nparameters: {json.dumps(values)}\nreason: it broke\nreproduce: x\n\n"
    (logs / "particles.txt").write_text(log)
    (logs / "stale.txt").write_text(log.replace("100", "300"))
    tree = xr.open_datatree(failed)
    facts = facts_of(tree, Folder(failed), tmp_path / "failed.zarr.run")
    (failure,) = facts.failures
    assert failure.reason == "it broke"
    assert failure.status == "error"
    command = f"meanfield point {failed} particles activation=tanh particles=100 seed=3"
    assert failure.command == command
    assert facts.headline[0] == ("points done", "27 of 28", "1 error")


def test_histograms_are_those_of_the_study(store: Path) -> None:
    found = recompute(Folder(store))
    assert found.notes == []
    opened = open_store(Folder(store), stored_study(Folder(store)))
    values = {"activation": "tanh", "particles": 1000, "seed": 0}
    paths = follow(Results(opened).case("particles", values), lambda: None)
    chosen = found.densities.query("activation == 'tanh' and kind == 'particles'")
    for time, particles in zip((0.0, 0.1, 0.2), paths.snapshots, strict=True):
        curve = chosen[np.isclose(chosen["snapshot"], time)]
        assert curve["x"].min() == particles.min()
        assert curve["x"].max() == particles.max()
        area = np.trapezoid(curve["density"], curve["x"])
        assert area == pytest.approx(1, rel=1e-9)
    target = found.densities.query("kind == 'g' and activation == 'tanh' and snapshot == 0")
    assert np.trapezoid(target["density"], target["x"]) == pytest.approx(1, abs=1e-3)
    b = found.controls.query("control == 'b'")
    assert b["value"].to_numpy() == pytest.approx(np.exp(b["time"].to_numpy()) - 1)


def test_a_lost_data_file_is_a_note(tmp_path: Path) -> None:
    from pipeline.study import Study

    data = tmp_path / "data.csv"
    pd.DataFrame({"x": np.linspace(-0.5, 0.5, 50)}).to_csv(data, index=False)
    store = tmp_path / "lost.zarr"
    Study(
        study={"name": "lost", "steps": ["particles"]},
        problem={
            "horizon": 0.1,
            "initial": {"kind": "samples", "file": "data.csv", "column": "x"},
            "controls": {"w": 1.0, "b": 0.0},
        },
        axes={"activation": ["tanh"], "particles": [100, 200], "seed": {"count": 3}},
        numerics={"time_step": 0.05, "snapshots": [0.1]},
        folder=tmp_path,
    ).run(store)
    data.unlink()
    page = write_report(Folder(store), tmp_path / "report").read_text()
    assert "Histograms of particles are left out" in page
    assert 'data-for="w1-against-m"' in page


def test_two_stores_side_by_side(store: Path, other: Path, tmp_path: Path) -> None:
    path = write_report(Folder(store), tmp_path / "report", compare_with=Folder(other))
    page = Page(path.read_text())
    charts = {a["data-for"] for a, _ in page.scripts if "data-for" in a}
    assert {"w1-against-m", "b-w1-against-m"} <= charts
    one, two = (xr.open_datatree(p)["analysis/rate"].to_numpy().ravel() for p in (store, other))
    compared = [value for table, value in page.cells if table == "compared"]
    assert compared[0::3] == one.tolist()
    assert compared[1::3] == two.tolist()
    assert compared[2::3] == (two - one).tolist()


def test_what_cannot_be_read_or_written(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store there"):
        write_report(Folder(tmp_path / "nothing.zarr"), tmp_path / "report")
    with pytest.raises(StoreError, match="no store there"):
        write_report(Folder(store), tmp_path / "report", Folder(tmp_path / "nothing.zarr"))
    assert not (tmp_path / "report").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write there"):
        write_report(Folder(store), tmp_path / "file" / "report")


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.5, "−0.500"), (0.0, "0.000"), (1.5e-5, "1.5e−05"), (np.nan, "–"), (None, "–")],
)
def test_numbers_in_words(value: float | None, text: str) -> None:
    assert number(value).text == text


def test_themed_leaves_data_alone() -> None:
    specification = {
        "config": {},
        "data": {"values": [{"name": "white"}]},
        "mark": {"color": "white"},
    }
    found = themed(specification, FIGURES[0])
    assert found["data"]["values"] == [{"name": "white"}]
    assert found["mark"]["color"] == "var(--card)"
