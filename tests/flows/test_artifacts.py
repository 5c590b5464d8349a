"""What a run shows on a Prefect server: keys, the page of failures, the state it ends in."""

import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import artifacts
from flows.sweep import _outcome
from pipeline.place import place_of
from pipeline.plan import Count
from pipeline.report.facts import Failed
from pipeline.session import RunFolder, Summary
from pipeline.status import redone


def session(store: str | Path, name: str = "My_Study.2", **more: Any) -> Any:
    places = RunFolder(Path("runs/x"), place_of(store))
    return SimpleNamespace(study=SimpleNamespace(name=name), places=places, **more)


def test_keys_are_what_prefect_allows_and_stay_the_same() -> None:
    key = artifacts.artifact_key("rates", session("a.zarr"))
    assert re.fullmatch(r"rates-my-study-2-[0-9a-f]{8}", key)
    assert key == artifacts.artifact_key("rates", session(Path("a.zarr").resolve()))
    assert key != artifacts.artifact_key("rates", session("b.zarr"))


def test_page_of_failures() -> None:
    failed = [
        Failed("particles seed=1", "error", "a | b\n" + "x" * 500, "meanfield point a seed=1"),
        *[Failed(f"particles seed={i}", "timeout", "", f"meanfield point {i}") for i in range(99)],
    ]
    page = artifacts.failures_page(session("a.zarr"), 300, failed, 200)
    rows = [line for line in page.splitlines() if line.startswith("| particles")]
    assert len(rows) == artifacts.LISTED_FAILURES
    assert "a \\| b x" in rows[0]
    assert "`meanfield point a seed=1`" in rows[0]
    assert all(len(row) < 500 for row in rows)
    assert f"{300 - artifacts.LISTED_FAILURES} more" in page
    assert "`meanfield retry a.zarr --failed`" in page


def ended(points: Count, *, problem: str = "", stopped: bool = False) -> Any:
    stop = threading.Event()
    if stopped:
        stop.set()
    run = session("a.zarr", problem=problem, monitor=SimpleNamespace(stop=stop))
    return _outcome(run, Summary("run", "a.zarr", "s", {"particles": points}))


def test_state_that_a_run_ends_in() -> None:
    assert ended(Count(total=3, done=3))["exit"] == 0
    incomplete = ended(Count(total=3, done=2, failed={"6": 1}))
    assert (incomplete.type, incomplete.name) == ("COMPLETED", "Incomplete")
    assert "1 points failed" in incomplete.message
    assert ended(Count(total=3), stopped=True).type == "CANCELLED"
    failed = ended(Count(total=3), stopped=True, problem="no workers")
    assert (failed.type, failed.message.partition(";")[0]) == ("FAILED", "no workers")


@pytest.mark.parametrize(("word", "codes"), [("none", []), ("failed", [6, 7, 8, 9])])
def test_what_is_computed_again(word: str, codes: list[int]) -> None:
    assert sorted(redone(word)) == codes
    assert sorted(redone("all")) == list(range(2, 10))
