"""What follows from a comparison: agreement, an alarm, or that more seeds are wanted; in words."""

import math

import numpy as np

from pipeline.regression.comparison import Comparison
from pipeline.regression.defaults import is_status
from pipeline.regression.equivalence import seeds_needed
from pipeline.regression.findings import Finding, Number, Outcome
from pipeline.regression.ratios import FEWEST, Ratio
from pipeline.regression_settings import Rule
from pipeline.status import Status
from solvers.arrays import FloatArray


def not_compared(study: str, path: str, rule: Rule, reason: str) -> Finding:
    """A variable that cannot be compared."""
    return Finding(study, path, {}, rule.rule, "not-compared", reason=reason)


def conclude(
    study: str, found: Comparison, adjusted: FloatArray, level: float, tests: int
) -> Finding:
    """The finding about one variable, shown at its worst number.

    Args:
        study: the study's name.
        found: its comparison.
        adjusted: p-values of its tests, adjusted over the night; NaN where the number decides.
        level: at which they alarm.
        tests: how many tests the night has.
    """
    known = ~(np.isnan(found.old) | np.isnan(found.new)) & ~found.missing
    if not (known | found.missing).any():
        return not_compared(study, found.path, found.rule, "no number is in both")
    beyond = known & ~found.within & ~(adjusted > level)  # by the test, if there is one
    undecided = known & ~beyond & ~found.within
    alarm = bool((beyond | found.missing).any())
    outcome: Outcome = "alarm" if alarm else "undecided" if undecided.any() else "agrees"
    rank = np.where(found.missing, 4, np.where(beyond, 3, np.where(undecided, 2, known)))
    worst = _worst(found, rank, adjusted)
    ends = found.test.interval() if found.test else (np.full(found.old.shape, math.nan),) * 2
    return Finding(
        study,
        found.path,
        found.at(worst),
        found.rule.rule,
        outcome,
        old=float(found.old[worst]),
        new=float(found.new[worst]),
        low=float(ends[0][worst]),
        high=float(ends[1][worst]),
        allowed=float(found.allowed[worst]),
        p_value=float(adjusted[worst]),
        compared=int((known | found.missing).sum()),
        beyond=int((beyond | found.missing).sum()),
        reason=_reason(found, rank, worst, level / max(tests, 1)),
    )


def _worst(found: Comparison, rank: np.ndarray, adjusted: FloatArray) -> int:
    """The number to show: of the highest rank, then of the least p-value, then the most beyond."""
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.nan_to_num(np.where(found.gap > 0.0, found.gap / found.allowed, 0.0), nan=-1.0)
    return int(np.lexsort((-excess, np.nan_to_num(adjusted, nan=0.0), -rank))[0])


def _reason(found: Comparison, rank: np.ndarray, worst: int, alpha: float) -> str:
    """What is to be said, in one sentence."""
    number, all_of = int((rank == rank[worst]).sum()), int((rank > 0).sum())
    some = f"{number} of {all_of} numbers" if all_of > 1 else "the number"
    match int(rank[worst]):
        case 4:
            side = "night" if math.isnan(found.new[worst]) else "baseline"
            return f"{some} missing on one side, here in the {side}"
        case 3 if is_status(found.places):
            names = ", ".join(_meaning(code) for code in sorted(set(found.new[rank == 3])))
            return f"points that did not fail in the baseline, or otherwise: {number} ({names})"
        case 3:
            return f"{some} beyond what is allowed; the worst {_gap(found, worst)}"
        case 2:
            return f"{some} undecided; {_undecided(found, worst, alpha)}"
    if np.array_equal(found.old, found.new, equal_nan=True):
        return "the same" if found.test is None else "the same means"
    if is_status(found.places):
        return "no point fails that did not fail in the baseline"
    if found.rule.rule == "interval" and not found.rule.margin:
        return "no difference is significant"
    return f"the worst {_gap(found, worst)}"


def _meaning(code: float) -> str:
    known = int(code) in set(Status)
    return Status(int(code)).meaning if known else f"unknown status {code:g}"


def _gap(found: Comparison, worst: int) -> str:
    old, gap = found.old[worst], found.gap[worst]
    relative = f" ({100.0 * abs(gap / old):.2g} %)" if old else ""
    verb = "rises by" if found.rule.rule == "not-above" else "differs by"
    return f"{verb} {gap:.3g}{relative}, {found.allowed[worst]:.3g} allowed"


def _undecided(found: Comparison, worst: int, alpha: float) -> str:
    if found.test is None or not found.seeds:
        return "intervals are too wide to tell"
    if math.isnan(found.test.error[worst]):
        return f"the worst {_gap(found, worst)}; one seed does not tell"
    count = seeds_needed(
        float(found.test.value[worst]),
        float(found.test.error[worst]),
        found.seeds,
        float(found.allowed[worst]),
        alpha,
    )
    wanted = "no number of seeds is likely to" if count is None else f"about {count} would"
    return f"the worst {_gap(found, worst)}; {found.seeds} seeds do not tell, {wanted}"


def conclude_ratio(number: Number, ratio: Ratio, adjusted: float, level: float) -> Finding:
    """The finding about a time or another cost of the night."""
    margin = number.tolerance / number.value if number.value else math.nan
    known = not math.isnan(adjusted)
    alarm = known and adjusted <= level
    outcome: Outcome = "alarm" if alarm else "agrees" if known else "undecided"
    times = number.value / ratio.expected
    return Finding(
        number.study,
        number.variable,
        number.at,
        "ratio",
        outcome,
        old=ratio.expected,
        new=number.value,
        low=ratio.low,
        high=ratio.high,
        allowed=margin,
        p_value=adjusted,
        compared=1,
        beyond=int(alarm),
        reason=f"{times:.3g} times what the last {ratio.nights} nights lead to expect; up to "
        f"{1.0 + margin:.3g} times allowed"
        if known
        else f"{FEWEST} earlier nights are wanted to know what is usual; there are {ratio.nights}",
    )
