"""Steps in the history of tracked numbers: when a number moved, by how much, and what else changed.

Most numbers have no noise: from night to night they keep their bits, or differ by rounding. There
every change beyond the number's tolerance is a step, on the first night. Numbers with noise, such
as times, are tested (:mod:`pipeline.regression.levels`). Of a number with an interval of its own,
a mean over seeds, a step raises an alarm where it is beyond what the intervals allow.

The probability of a false alarm in a night is kept by Bonferroni's bound over all numbers whose
steps chance decides.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.regression.defaults import ROUNDING
from pipeline.regression.equivalence import between_intervals
from pipeline.regression.findings import Number, Step
from pipeline.regression.levels import Change, changes_of_level
from pipeline.regression.versions import changed
from solvers.arrays import FloatArray

SHARE = 0.5
"""Of the false alarms that a night may raise, what steps may; comparisons have the rest."""
NEWEST = 100
"""Nights in which steps of a number with noise are looked for; older ones are in the verdicts."""
QUIET = 1e-9
"""Relative changes that are rounding."""
STILL = 3
"""Nights without noise that make a number one without noise."""
ONLY_RISES = ("not-above", "ratio")


@dataclass(frozen=True)
class Night:
    """A night as the history keeps it.

    Attributes:
        name: its name; names sort by time.
        numbers: its tracked numbers.
        versions: what its provenance says, by name.
    """

    name: str
    numbers: Sequence[Number]
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _History:
    """One number over the nights that have it.

    Attributes:
        nights: these nights.
        numbers: the number in each of them.
        values: its values, (n,).
        still: where the nights without noise begin that it ends with; their end if there are none.
    """

    nights: Sequence[Night]
    numbers: Sequence[Number]
    values: FloatArray
    still: int

    @property
    def tolerance(self) -> float:
        """A change that is no larger is no step."""
        known = [n.tolerance for n in self.numbers if math.isfinite(n.tolerance)]
        return float(np.median(known)) if known else 0.0

    @property
    def by_chance(self) -> bool:
        """Whether chance may decide whether there is an alarm."""
        return self.still == len(self.values) or bool(np.isfinite(self.numbers[-1].low))


def steps_of(nights: Sequence[Night], false_alarms: float) -> list[Step]:
    """The steps in the history of every number that the last night has.

    Args:
        nights: all nights that count, oldest first; the last is tonight.
        false_alarms: the probability of any false alarm in a night; steps may take half of it.
    """
    histories = list(_histories(nights))
    count = max(sum(history.by_chance for history in histories), 1)
    level = SHARE * false_alarms / count
    return [step for history in histories for step in _steps(history, level, count)]


def new_steps(steps: Sequence[Step], known: Iterable[Step]) -> list[Step]:
    """The steps that no earlier night has told.

    A step is known if one of the same number and direction was told whose interval of nights
    touches its own; a drift, if one was told since it began.

    Args:
        steps: those that tonight's history has.
        known: those of earlier verdicts.
    """
    told: dict[str, list[Step]] = {}
    for step in known:
        told.setdefault(step.number, []).append(step)
    return [
        step for step in steps if not any(_same(step, old) for old in told.get(step.number, ()))
    ]


def _same(step: Step, old: Step) -> bool:
    direction = (step.after > step.before) == (old.after > old.before)
    touches = old.earliest <= step.latest or step.kind == "drift"
    return direction and step.earliest <= old.latest and touches


def _histories(nights: Sequence[Night]) -> Iterator[_History]:
    """The numbers of tonight with all their nights."""
    if not nights:
        return
    by_key = [{number.key: number for number in night.numbers} for night in nights]
    for key in by_key[-1]:
        there = [i for i, numbers in enumerate(by_key) if key in numbers]
        numbers = [by_key[i][key] for i in there]
        values = np.array([number.value for number in numbers])
        known = np.flatnonzero(np.isfinite(values))
        yield _History(
            [nights[there[i]] for i in known],
            [numbers[i] for i in known],
            values[known],
            _still_from(values[known]),
        )


def _still_from(values: FloatArray) -> int:
    """Where the nights without noise begin: after the last three in a row that all differ."""
    if len(values) < STILL:
        return len(values)
    moves = np.abs(np.diff(values)) > ROUNDING + QUIET * np.abs(values[1:])
    noisy = [i for i in range(len(moves) - 2) if moves[i : i + 3].all()]
    start = noisy[-1] + 3 if noisy else 0
    quiet = len(moves[start:]) - int(moves[start:].sum())
    return start if quiet >= STILL - 1 else len(values)


def _steps(history: _History, level: float, count: int) -> list[Step]:
    """The steps of one number."""
    if history.still < len(history.values):
        return [_step(history, change, count, level) for change in _jumps(history)]
    start = max(len(history.values) - NEWEST, 0)
    window = replace(history, nights=history.nights[start:], values=history.values[start:])
    return [
        _step(window, change, count, level)
        for change in changes_of_level(window.values, level)
        if abs(change.after - change.before) > history.tolerance
    ]


def _jumps(history: _History) -> Iterator[Change]:
    """Every change beyond the tolerance of a number without noise.

    A single night after which the number is back is none, unless that night is tonight.
    """
    values, allowed = history.values, history.tolerance + ROUNDING
    runs = [[history.still]]
    for i in range(history.still + 1, len(values)):
        if abs(values[i] - values[runs[-1][0]]) <= allowed:
            runs[-1].append(i)
        elif (
            len(runs) > 1 and len(runs[-1]) == 1 and abs(values[i] - values[runs[-2][0]]) <= allowed
        ):
            runs.pop()
            runs[-1].append(i)
        else:
            runs.append([i])
    for old, new in pairwise(runs):
        yield _jump(history.numbers[old[-1]], history.numbers[new[0]], new[0])


def _jump(old: Number, new: Number, first: int) -> Change:
    """A change from one night to the next; its interval is that of the two numbers'.

    A number without an interval is no sample: its change is certain. Where only one of the two
    nights has an interval, as of one seed and of several, nothing is.
    """
    jump = new.value - old.value
    halves = [(number.high - number.low) / 2.0 for number in (old, new)]
    if not np.isfinite(halves).any():
        return Change(first, first, first, old.value, new.value, jump, jump, 0.0)
    if not np.isfinite(halves).all():
        return Change(first, first, first, old.value, new.value, math.nan, math.nan, 1.0)
    one, other = (np.array([half]) for half in halves)
    test = between_intervals(np.array([jump]), (one, other), (old.seeds, new.seeds))
    (low,), (high,) = test.interval()
    p_value = float(test.larger(np.array([new.tolerance]))[0])
    return Change(first, first, first, old.value, new.value, float(low), float(high), p_value)


def _step(history: _History, change: Change, count: int, level: float) -> Step:
    """A change as people are told of it."""
    rule = history.numbers[-1].rule
    nights, last_before = history.nights, max(change.earliest - 1, 0)
    return Step(
        history.numbers[-1].key,
        nights[change.first].name,
        change.before,
        change.after,
        change.low,
        change.high,
        nights[change.earliest].name,
        nights[change.latest].name,
        "drift" if change.drift else "step",
        p_value=min(change.p_value * count, 1.0),
        alarm=change.p_value <= level and (change.after > change.before or rule not in ONLY_RISES),
        changed=changed(nights[last_before].versions, nights[change.latest].versions),
    )
