import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # it tells libraries to use one thread
    return importlib.import_module("harness")


@pytest.fixture
def limits(harness: ModuleType) -> ModuleType:
    return importlib.import_module("limits")


def test_a_section_replaces_the_one_with_its_heading(harness: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\nWords.\n\n## One\n\nold\n\n### Below\n\nold\n\n## One more\n\nkept\n"
    )
    harness.write_section(page, "One", r"new \1" + "\n\n")
    assert page.read_text() == "# Page\n\nWords.\n\n## One\n\nnew \\1\n\n## One more\n\nkept\n"
    harness.write_section(page, "One more", "newer")
    assert page.read_text() == "# Page\n\nWords.\n\n## One\n\nnew \\1\n\n## One more\n\nnewer\n"


def test_a_new_section_stands_at_the_end(harness: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    harness.write_section(page, "One", "1")
    harness.write_section(page, "Two (2)", "2")
    assert page.read_text() == "# Performance\n\n## One\n\n1\n\n## Two (2)\n\n2\n"


def test_a_page_without_a_folder_is_refused_before_the_measurement(
    harness: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--write", str(tmp_path / "absent" / "page.md")])
    with pytest.raises(SystemExit) as stopped:
        harness.run("A program.", "One", lambda _options: pytest.fail("it has measured"))
    assert stopped.value.code == 2
    assert f"the folder {tmp_path / 'absent'} does not exist" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["program", "--write", str(tmp_path / "page.md")])
    harness.run("A program.", "One", lambda _options: "words")
    assert "words" in (tmp_path / "page.md").read_text()


def test_functions_are_called_in_turns_after_a_first_call(
    harness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "LEAST_SECONDS", 0.0)  # one call a turn
    order: list[str] = []
    ticks = iter(range(1000))
    found = harness.turns(
        {name: lambda name=name: order.append(name) for name in "ab"}, 3, lambda: float(next(ticks))
    )
    assert order == [*"aabb", *"ababab"]
    assert {name: times.seconds.tolist() for name, times in found.items()} == {
        "a": [1.0, 1.0, 1.0],
        "b": [1.0, 1.0, 1.0],
    }


def test_numbers_and_spreads_have_three_digits(harness: ModuleType) -> None:
    assert harness.number(1234.5) == "1230"
    assert harness.number(0.0012345) == "0.00123"
    assert harness.spread([3.0, 1.0, 2.0]) == "2 [1, 3]"
    assert harness.ratio(None, harness.Times(np.ones(1))) == harness.ABSENT


def test_the_limit_is_the_longer_of_operations_and_divisions(
    harness: ModuleType, limits: ModuleType
) -> None:
    numbers = {loop: limits.operations(loop, 3) for loop in limits.ROUNDS}
    assert set(numbers.values()) == {3 * limits.CHAINS * limits.lanes()}
    made = {loop: n * numbers[loop] / 3 for loop, n in limits.ROUNDS.items()}
    times = {  # a nanosecond an operation, and 10 a division
        limits.FMA: harness.Times(1e-9 * made[limits.FMA] * np.ones(2)),
        limits.DIVISION: harness.Times(1e-8 * made[limits.DIVISION] * np.ones(2)),
    }
    assert limits.least(times, 20, 1) == pytest.approx([2e-8, 2e-8])
    assert limits.least(times, 5, 1) == pytest.approx([1e-8, 1e-8])
