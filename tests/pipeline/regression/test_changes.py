"""Steps in histories: without noise, with it, and what is new about them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.provenance import provenance
from pipeline.regression.changes import Night, new_steps, steps_of
from pipeline.regression.findings import Number, Step
from pipeline.regression.versions import versions

RNG = np.random.default_rng(3)


def history(
    values: Sequence[float] | np.ndarray,
    rule: str = "tolerance",
    tolerance: float = 1e-8,
    half_width: float = float("nan"),
    packages: Mapping[int, str] | None = None,
) -> list[Night]:
    """Nights of one number; from some of them on NumPy has another version."""
    nights, numpy = [], "2.3"
    for i, value in enumerate(values):
        numpy = (packages or {}).get(i, numpy)
        x = float(value)
        ends = (x - half_width, x + half_width)
        number = Number("s", "group/name", {"cells": 50.0}, x, *ends, rule, tolerance)
        nights.append(Night(f"n{i:03d}", [number], {"numpy": numpy, "python": "3.11"}))
    return nights


def steps(values: Sequence[float] | np.ndarray, **options: object) -> list[Step]:
    return steps_of(history(values, **options), 0.05)  # type: ignore[arg-type]


def test_without_noise_a_step_is_told_in_its_first_night() -> None:
    (found,) = steps([1.0] * 9 + [1.1], packages={5: "2.4", 9: "2.5"})
    assert (found.night, found.earliest, found.latest) == ("n009",) * 3
    assert (found.before, found.after, found.kind, found.p_value) == (1.0, 1.1, "step", 0.0)
    assert found.low == found.high == pytest.approx(0.1)
    assert found.alarm
    assert found.number == "s: group/name (cells = 50)"
    assert found.changed == {"numpy": ("2.4", "2.5")}


def test_rounding_and_the_tolerance_are_no_step() -> None:
    assert steps(1.0 + 1e-13 * RNG.standard_normal(20)) == []
    assert steps([1.0] * 9 + [1.009, 1.0], tolerance=0.01) == []
    assert len(steps([1.0] * 9 + [1.011], tolerance=0.01)) == 1


def test_many_small_changes_add_up() -> None:
    values = [1.0] * 5 + [1.006] * 5 + [1.012] * 5
    (found,) = steps(values, tolerance=0.01)
    assert found.night == "n010"


def test_a_number_without_a_known_tolerance_is_no_step_every_night() -> None:
    assert steps([1.0] * 9, tolerance=float("nan")) == []


def test_a_single_night_is_a_step_until_it_goes_back() -> None:
    values = [1.0] * 9 + [1.3]
    assert [step.night for step in steps(values)] == ["n009"]
    assert steps([*values, 1.0]) == []
    assert [step.night for step in steps([*values, 1.3, 1.0])] == ["n009", "n011"]


def test_two_nights_tell_nothing() -> None:
    assert steps([1.0, 2.0]) == []
    assert steps([1.0]) == []
    assert steps_of([], 0.05) == []


def test_nights_without_the_number_are_passed_over() -> None:
    nights = history([1.0] * 6 + [float("nan"), 1.0, 2.0])
    nights[3] = Night(nights[3].name, [], nights[3].versions)
    assert [step.night for step in steps_of(nights, 0.05)] == ["n008"]


@pytest.mark.parametrize(
    ("rule", "alarm"), [("ratio", False), ("not-above", False), ("order", True)]
)
def test_costs_that_fall_are_no_alarm(rule: str, alarm: bool) -> None:
    (found,) = steps([2.0] * 9 + [1.0], rule=rule)
    assert found.alarm is alarm
    (found,) = steps([1.0] * 9 + [2.0], rule=rule)
    assert found.alarm


def test_a_mean_over_seeds_alarms_beyond_its_interval() -> None:
    values = [1.0] * 9 + [1.2]
    (found,) = steps(values, tolerance=0.01, half_width=0.2)
    assert not found.alarm
    assert 0.05 < found.p_value < 0.5
    assert found.low == pytest.approx(0.2 - np.hypot(0.2, 0.2))
    (found,) = steps(values, tolerance=0.01, half_width=0.02)
    assert found.alarm
    assert found.p_value < 1e-6


def test_an_interval_on_one_side_decides_nothing() -> None:
    """As where the nights have one seed from now on, or until now."""
    nights = history([1.0] * 9, half_width=0.01)
    bare = history([1.0] * 9 + [1.2])[-1:]
    (found,) = steps_of([*nights, *bare], 0.05)
    assert not found.alarm
    (found,) = steps_of(
        [
            *history([1.0] * 9),
            replace(bare[0], numbers=history([1.2] * 10, half_width=0.01)[-1].numbers),
        ],
        0.05,
    )
    assert not found.alarm


def test_the_interval_of_few_seeds_has_heavy_tails() -> None:
    nights = history([1.0] * 9 + [1.5], half_width=0.1)
    few = [replace(n, numbers=[replace(n.numbers[0], seeds=4)]) for n in nights]
    (normal,), (student,) = steps_of(nights, 0.05), steps_of(few, 0.05)
    assert normal.p_value < 1e-9 < student.p_value < 1e-3


def test_nights_that_each_differ_after_quiet_ones() -> None:
    """A fit that leaves nothing is no reason to end without a verdict."""
    for n in range(3, 16):
        assert steps([0.0] * n + [1.0, 2.0, 3.0, 4.0]) is not None
        assert steps(np.arange(float(n))) is not None


@pytest.mark.parametrize("size", [4.0, -4.0])
def test_a_step_in_noise_is_told_with_its_intervals(size: float) -> None:
    values = RNG.standard_normal(50)
    values[30:] += size
    (found,) = steps(values, packages={30: "2.4"})
    assert found.earliest <= "n030" <= found.latest
    assert found.low < size < found.high
    assert found.kind == "step"
    assert found.p_value < 0.001
    assert found.changed["numpy"] == ("2.3", "2.4")
    assert found.alarm


def test_a_step_there_and_back() -> None:
    values = RNG.standard_normal(75)
    values[25:50] += 4.0
    up, down = steps(values, rule="ratio")
    assert up.earliest <= "n025" <= up.latest < down.earliest <= "n050" <= down.latest
    assert (up.alarm, down.alarm) == (True, False)


def test_a_drift_is_named_so() -> None:
    values = RNG.standard_normal(60)
    values[20:] += 0.2 * np.arange(40)
    (found,) = steps(values)
    assert found.kind == "drift"
    assert found.earliest <= "n021" <= found.latest  # the first that is higher
    assert found.low < 7.8 < found.high


@pytest.mark.parametrize("slope", [0.2, 0.5])
def test_a_steep_drift_is_told_once(slope: float) -> None:
    """Not again as one step after the other, as it goes on."""
    values = np.random.default_rng(6).standard_normal(80)
    values[30:] += slope * np.arange(50)
    told, known = [], list[Step]()
    for n in range(30, 81):
        found = steps(values[:n])
        told += new_steps(found, known)
        known += found
    assert len(told) == 1
    (last,) = found
    assert last.kind == "drift"


def test_outliers_and_scatter_are_no_step() -> None:
    values = RNG.standard_t(3, 60)
    values[[20, 40, 58, 59]] += 30.0
    assert steps(values) == []
    values[30:] *= 3.0
    assert steps(values) == []


def test_a_step_within_the_tolerance_is_none() -> None:
    values = RNG.standard_normal(50)
    values[25:] += 4.0
    assert steps(values, tolerance=6.0) == []


def test_noise_that_begins_or_ends_is_not_a_step_every_night() -> None:
    quiet = np.ones(20)
    noise = 1.0 + 0.1 * RNG.standard_normal(20)
    for values in (np.r_[quiet, noise], np.r_[noise, quiet]):
        alarms, known = 0, []
        for n in range(15, 29):
            found = steps(values[:n])
            alarms += len(new_steps(found, known))
            known += found
        assert alarms <= 3


def test_more_numbers_ask_for_more_evidence() -> None:
    values = RNG.standard_normal(40)
    values[35:] += 9.0
    nights = history(values)
    assert len(steps_of(nights, 0.005)) == 1
    noise = [
        [Number("s", f"other/v{k}", {}, float(RNG.normal())) for k in range(100)] for _ in nights
    ]
    more = [
        Night(night.name, [*night.numbers, *others], night.versions)
        for night, others in zip(nights, noise, strict=True)
    ]
    assert steps_of(more, 0.005) == []


def test_a_known_step_is_not_new() -> None:
    values = RNG.standard_normal(60)
    values[30:] += 4.0
    values[45:] -= 8.0
    before = steps(values[:40])
    assert [step.night for step in new_steps(before, [])] == [before[0].night]
    after = steps(values)
    assert len(after) == 2
    assert new_steps(after, before) == [after[1]]
    other = [Step(**{**vars(step), "number": "another"}) for step in before]
    assert new_steps(after, other) == after


def test_versions_are_those_that_matter() -> None:
    found = versions(provenance())
    assert {"meanfield", "numpy", "numba", "llvmlite", "python", "cpu", "kernels"} <= set(found)
    assert versions({}) == {}
