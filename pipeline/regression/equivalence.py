"""Equivalence of means over seeds: two one-sided t tests (Schuirmann 1987).

The difference d of the means has the standard error s and, by Student or by Welch, f degrees of
freedom. With a margin m,

    larger:      H0 |δ| ≤ m,  p = P(T_f > (|d| − m)/s) + P(T_f > (|d| + m)/s)
    equivalent:  H0 |δ| ≥ m,  p = P(T_f > (m − |d|)/s)

and neither need be rejected: then more seeds are wanted. At m = 0 the first is the usual two-sided
test.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from solvers.arrays import FloatArray

LEVEL = 0.05
POWER = 0.8
MOST = 10**6


@dataclass(frozen=True, eq=False)
class Difference:
    """New mean less old, at each of n places, (n,).

    Attributes:
        value: the difference d.
        error: its standard error s; NaN where there are too few seeds.
        freedom: its degrees of freedom f.
    """

    value: FloatArray
    error: FloatArray
    freedom: FloatArray

    def larger(self, margin: FloatArray) -> FloatArray:
        """The p-values of "larger than the margin"."""
        gap = np.abs(self.value)
        return np.minimum(self._tail(gap - margin) + self._tail(gap + margin), 1.0)

    def equivalent(self, margin: FloatArray) -> FloatArray:
        """The p-values of "within the margin"."""
        return self._tail(margin - np.abs(self.value))

    def interval(self, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
        """The ends of the confidence interval of 1 - level."""
        wide = stats.t.ppf(1.0 - level / 2.0, self.freedom) * self.error
        return self.value - wide, self.value + wide

    def _tail(self, gap: FloatArray) -> FloatArray:
        """P(T > gap/s); without any scatter what is larger is so for certain."""
        with np.errstate(divide="ignore", invalid="ignore"):
            p = stats.t.sf(gap / self.error, self.freedom)
        sure = np.where(gap > 0.0, 0.0, 1.0)
        return np.where(self.error == 0.0, sure, p)


def paired(old: FloatArray, new: FloatArray) -> Difference:
    """Student's test of the differences, seed by seed.

    Args:
        old: (n, seeds); seeds that are NaN here or there are left out.
        new: (n, seeds), of the same seeds.
    """
    count, mean, variance = moments(new - old)
    return Difference(mean, np.sqrt(variance / count), count - 1.0)


def welch(old: FloatArray, new: FloatArray) -> Difference:
    """Welch's test of independent samples of any variances.

    Args:
        old: (n, seeds); NaN is left out.
        new: (n, other seeds).
    """
    (n, a, va), (m, b, vb) = moments(old), moments(new)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = va / n, vb / m
        total = first + second
        freedom = total**2 / (first**2 / (n - 1.0) + second**2 / (m - 1.0))
    freedom = np.where(total == 0.0, n + m - 2.0, freedom)
    return Difference(b - a, np.sqrt(total), freedom)


def between_intervals(
    value: FloatArray, halves: tuple[FloatArray, FloatArray], seeds: tuple[float, float]
) -> Difference:
    """Welch's test of two estimates with 95 % intervals.

    Args:
        value: new less old.
        halves: half the widths of their intervals, NaN where there is none.
        seeds: of how many seeds these are, by Student's law; 0 for those of a normal law.
    """
    freedoms = [float(n - 1) if n else math.inf for n in seeds]
    errors = [h / stats.t.ppf(1.0 - LEVEL / 2.0, f) for h, f in zip(halves, freedoms, strict=True)]
    first, second = (error**2 for error in errors)
    total = first + second
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / (first**2 / freedoms[0] + second**2 / freedoms[1])
    freedom = np.where(np.isnan(freedom), math.inf, freedom)  # without any scatter
    return Difference(value, np.sqrt(total), freedom)


def moments(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Number, mean and variance of each row without its NaN; NaN where too few are left."""
    known = ~np.isnan(values)
    count = known.sum(axis=1).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, values, 0.0).sum(axis=1) / count
        squares = np.where(known, values - mean[:, None], 0.0) ** 2
        variance = np.where(count > 1.0, squares.sum(axis=1) / (count - 1.0), np.nan)
    return count, mean, variance


def seeds_needed(value: float, error: float, seeds: int, margin: float, alpha: float) -> int | None:
    """How many seeds would decide, if difference and scatter stay as they are.

    Args:
        value: the difference.
        error: its standard error.
        seeds: how many seeds it is of.
        margin: what is allowed.
        alpha: the level of the test that would raise the alarm.

    Returns:
        The least number with a power of 80 %; None beyond a million.
    """
    gap = abs(value) - margin
    level = alpha if gap > 0.0 else LEVEL
    scatter = error * math.sqrt(seeds)

    def decides(count: int) -> bool:
        quantiles = sum(float(stats.t.ppf(q, count - 1)) for q in (1.0 - level, POWER))
        return abs(gap) * math.sqrt(count) >= scatter * quantiles

    count = max(seeds, 2)
    while not decides(count):
        count *= 2
        if count > MOST:
            return None
    low, high = max(seeds, 2), count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return high
