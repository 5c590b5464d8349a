"""False alarms and detection of synthetic histories, by the benchmark that measures them."""

import runpy
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "regression_power.py"


@pytest.fixture(scope="module")
def power() -> dict[str, Any]:
    """What the benchmark defines."""
    return runpy.run_path(str(FILE))


def test_few_false_alarms_and_large_steps_found(power: dict[str, Any]) -> None:
    row, upper = power["harmless"]("heavy-tailed", "one night off by 10 sd", 10, 20)
    assert upper <= 0.05, row
    row = power["planted"]("normal", "step of 5 sd", 20, 6)
    assert row[3] == "100 %", row
    assert int(row[5]) <= 7, row


def test_few_false_alarms_among_means_and_times(power: dict[str, Any]) -> None:
    assert float(power["compared"](8, 0.3, False, 10)[3].split()[0]) == 100.0
    row = power["compared"](8, 0.0, True, 40)
    assert float(row[4].split()[0]) <= 12.5, row  # five of 40 at most; 2.5 % are allowed
    row = power["timed"]("heavy-tailed", 0.05, 3.0, 40)
    assert float(row[3].split()[0]) >= 95.0, row


@pytest.mark.slow
@pytest.mark.parametrize("law", ["normal", "heavy-tailed", "lognormal"])
def test_at_most_five_per_cent_false_alarms_a_night(power: dict[str, Any], law: str) -> None:
    for name in power["HARMLESS"]:
        row, upper = power["harmless"](law, name, 10, 400)
        assert upper <= 0.05, row


@pytest.mark.slow
@pytest.mark.parametrize("law", ["normal", "heavy-tailed", "lognormal"])
@pytest.mark.parametrize(
    ("name", "share", "nights"),
    [("step of 1 sd", 60, 40), ("step of 2 sd", 90, 15), ("step of 3 sd", 98, 9)],
)
def test_steps_are_found(
    power: dict[str, Any], law: str, name: str, share: int, nights: int
) -> None:
    row = power["planted"](law, name, 20, 100)
    assert int(row[3].split()[0]) >= share, row
    assert int(row[5]) <= nights, row
