"""Time and memory, as ratios to a calibration kernel, against those of earlier nights.

Machines differ from night to night by a factor, so the logarithm is judged. Its median over the
earlier nights and their scatter (1.4826 times the median absolute deviation, which single slow
nights do not move) say what is to be expected tonight; a night that is slower than that by more
than the margin has

    p = P(T_f > (x − median − log(1 + margin)) / (scatter √(1 + 1/n))).

Few degrees of freedom f stand for the heavy tails of times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST = 8
"""Earlier nights that are needed."""
NEWEST = 30
"""Earlier nights that count: machines change."""
FREEDOM = 4
CONSISTENT = 1.4826
"""Standard deviations of a normal law in its median absolute deviation."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of tonight, and what was to be expected.

    Attributes:
        expected: the median of the earlier nights; NaN if they are too few.
        low: lower end of the 95 % interval of tonight's ratio over the expected one.
        high: its upper end.
        p_value: of the test whether tonight's is larger by more than the margin.
        nights: how many earlier nights there are.
    """

    expected: float
    low: float
    high: float
    p_value: float
    nights: int


def judge_ratio(value: float, past: Sequence[float], margin: float) -> Ratio:
    """Judge a ratio.

    Args:
        value: tonight's, positive.
        past: those of earlier nights, oldest first; NaN and what is not positive do not count.
        margin: how much larger it may be, relative to the expected one.
    """
    logs = np.array([math.log(x) for x in past if math.isfinite(x) and x > 0.0][-NEWEST:])
    if logs.size < FEWEST or not value > 0.0:
        return Ratio(math.nan, math.nan, math.nan, math.nan, logs.size)
    centre = float(np.median(logs))
    scatter = CONSISTENT * float(np.median(np.abs(logs - centre)))
    error = scatter * math.sqrt(1.0 + 1.0 / logs.size)
    rise = math.log(value) - centre
    beyond = rise - math.log1p(margin)
    if error > 0.0:
        p_value = float(stats.t.sf(beyond / error, FREEDOM))
    else:
        p_value = 0.0 if beyond > 0.0 else 1.0
    wide = float(stats.t.ppf(0.975, FREEDOM)) * error
    low, high = (math.exp(min(end, 700.0)) for end in (rise - wide, rise + wide))
    return Ratio(math.exp(centre), low, high, p_value, logs.size)
