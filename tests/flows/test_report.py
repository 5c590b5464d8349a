"""The verb report, on the command line."""

import json
from pathlib import Path

import pytest

from flows.cli import main
from pipeline.study import Study


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Study(
        study={"name": "small", "steps": ["particles"]},
        problem={
            "horizon": 0.2,
            "initial": {"kind": "uniform", "low": 0.0, "high": 1.0},
            "controls": {"w": 1.0, "b": 0.0},
        },
        axes={"activation": ["tanh"], "particles": [100, 300], "seed": {"count": 3}},
        numerics={"time_step": 0.1, "snapshots": [0.2]},
    ).run(tmp_path / "small.zarr")
    return tmp_path / "small.zarr"


def test_report(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(store)]) == 0
    page = store.with_name("small.zarr.run") / "report" / "index.html"
    assert capsys.readouterr().out.split() == ["wrote", str(page)]
    assert page.read_text().startswith("<!doctype html>")
    assert main(["report", str(store), "--with", str(store), "--folder", "both", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["report"] == "both/index.html"
    assert facts["points"]["particles"]["done"] == 6
    assert {"b-w1-against-m.pdf", "w1-against-m.csv"} <= {p.name for p in Path("both").rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.zarr"], "nothing.zarr: no store there"),
        (["small.zarr", "--with", "nothing.zarr"], "nothing.zarr: no store there"),
        (["small.zarr", "--with", "s3://x"], "--with s3://x: not a place for a store"),
        (["small.zarr", "--folder", "small.zarr/zarr.json"], "cannot write there"),
    ],
)
def test_bad_input_is_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["report", *arguments]) == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith("meanfield: ")
    assert said in complaint
