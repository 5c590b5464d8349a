"""Planted faults: their texts are still in the sources, and regression runs catch them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PRODUCT = HERE.parents[1]
FAULTS = tomllib.loads((HERE / "faults.toml").read_text())["faults"]


def test_every_text_to_replace_stands_once_in_the_sources() -> None:
    edits = [(fault["name"], edit) for fault in FAULTS for edit in fault.get("edits", ())]
    counts = {
        (name, edit["file"], edit["find"]): (PRODUCT / edit["file"]).read_text().count(edit["find"])
        for name, edit in edits
    }
    assert {key: count for key, count in counts.items() if count != 1} == {}
    assert len(counts) == len(edits)


def test_every_fault_says_what_ought_to_show_it() -> None:
    names = [fault["name"] for fault in FAULTS]
    assert len(set(names)) == len(names)
    for fault in FAULTS:
        assert bool(fault.get("caught_by")) == (fault["kind"] != "rounding"), fault["name"]


@pytest.mark.slow
def test_required_faults_are_caught_and_rounding_is_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "".join(f"<!-- {k} -->\n<!-- end of {k} -->\n" for k in ("required", "rounding"))
    )
    command = [sys.executable, str(HERE / "planted_faults.py"), "--kind", "required", "rounding"]
    result = subprocess.run(
        [*command, "--jobs", "2", "--report", str(page)],
        cwd=PRODUCT, capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    table = page.read_text()
    assert table.count("| yes |") == sum(fault["kind"] == "required" for fault in FAULTS)
    assert table.count("| agrees |") == sum(fault["kind"] == "rounding" for fault in FAULTS)
