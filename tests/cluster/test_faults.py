"""The program that breaks things: what it plans, and a short form of it."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.faults import KINDS, schedule
from tests.services.s3 import S3
from tests.services.slurm import Slurm


@pytest.mark.parametrize("number", [10, 50, 123])
def test_schedule_has_every_kind_and_repeats(number: int) -> None:
    names = schedule(number, random.Random(1))
    assert len(names) == number
    assert set(names) == set(KINDS)
    assert names == schedule(number, random.Random(1))
    ways = [KINDS[name].way for name in names]
    assert sum(a is not b for a, b in itertools.pairwise(ways)) == len(set(ways)) - 1


@pytest.mark.cluster
@pytest.mark.slow
def test_short_form(running_slurm: Slurm, running_s3: S3, tmp_path: Path) -> None:
    """The services are asked for to skip this where they are missing; it starts its own."""
    page = tmp_path / "docs" / "faults.md"
    kinds = ("kill -9 of a worker", "kill -9 of the driver", "full disk")
    only = [option for kind in kinds for option in ("--only", kind)]
    program = Path(__file__).with_name("faults.py")
    result = subprocess.run(
        [sys.executable, str(program), "--faults", "3", *only, "--report", str(page)],
        cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["failed"] == 0
    assert "| **all** | 3 |" in page.read_text()
