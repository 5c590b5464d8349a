"""A short form of the chaos: a kill of each sort; `make chaos` is the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("chaos.py")


@pytest.mark.slow
def test_short_chaos(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "reliability.md"
    short = ("--seed", "1", "--kills", "4", "--damages", "0", "--seeds", "1")
    result = subprocess.run(
        [sys.executable, str(PROGRAM), *short, "--report", str(page)],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {"trials": 4, "faults": 0}
    text = page.read_text()
    for word in ("driver, `run --direct`", "nanny, `run --cluster`", "| **all** | 4 | 4 | 4 | 4 |"):
        assert word in text
