"""Changes of level in a series with noise: significant ones, where they are, and how large.

The series is split where one change fits best, if Wilcoxon's test over all nights at once is
significant, and so are its parts, as long as they split. Then each change is looked for once more
between its neighbours, and forgotten if it is not significant there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import ruptures
from scipy import ndimage, stats

from pipeline.regression.rank_test import SEED, change_p_value
from solvers.arrays import FloatArray

RESAMPLES = 200
SHORTEST = 2
"""Nights of a segment."""
CLIP = 4.0
"""So many standard deviations from the median of the nights around it a night is an outlier."""
AROUND = 5
"""Nights of that median."""
LIKELIER = 10.0
"""How many times likelier than a step a drift must be."""
EXACT = 1e-9
"""What a fit leaves that is exact, in squares a night: no series of nights is known better."""


@dataclass(frozen=True)
class Change:
    """A change in a series.

    Attributes:
        first: the position of the first value of the new level, or of the drift.
        earliest: the first position that may have been it (95 %).
        latest: the last such position.
        before: the level before.
        after: the level after.
        low: lower end of the 95 % interval of after - before.
        high: its upper end.
        p_value: of the test.
        drift: whether a slope says it better than a step.
    """

    first: int
    earliest: int
    latest: int
    before: float
    after: float
    low: float
    high: float
    p_value: float
    drift: bool = False


def changes_of_level(values: FloatArray, level: float) -> list[Change]:
    """The changes of level of a series with noise, in their order.

    Args:
        values: the series, (n,), finite.
        level: of each test.
    """
    if change_p_value(values) > level:
        return []
    series = clipped(values)
    if (drift := _drift(values, series)) is not None:
        return [drift]
    splits = [0, *_splits(values, series, 0, level), len(values)]
    found = [
        (best_split(series[a:c]) + a, change_p_value(values[a:c]), a, c)
        for a, _, c in zip(splits, splits[1:], splits[2:], strict=False)
    ]
    return [_change(values, series, first, a, c, p) for first, p, a, c in found if p <= level]


def clipped(values: FloatArray) -> FloatArray:
    """A series in units of its noise, with outliers drawn in to the nights around them.

    The noise is told by the differences from night to night, which a change of level hardly enters.
    What goes far and stays there, as a steep drift, keeps its shape.
    """
    noise = 1.4826 * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2.0)
    centred = values - np.median(values)
    if noise <= 0.0:
        return np.sign(centred)
    around = ndimage.median_filter(centred, AROUND, mode="reflect")
    return np.asarray((around + np.clip(centred - around, -CLIP * noise, CLIP * noise)) / noise)


def best_split(series: FloatArray) -> int:
    """Where the second of two segments begins that fit a series best, by least squares."""
    search = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST)
    return int(search.fit(series[:, None]).predict(n_bkps=1)[0])


def _splits(values: FloatArray, series: FloatArray, start: int, level: float) -> Iterator[int]:
    """Where significant changes of a part of the series are, the part's first position added."""
    if len(values) <= 2 * SHORTEST or change_p_value(values) > level:
        return
    k = best_split(series)
    yield from _splits(values[:k], series[:k], start, level)
    yield start + k
    yield from _splits(values[k:], series[k:], start + k, level)


def _change(
    values: FloatArray, series: FloatArray, first: int, start: int, end: int, p_value: float
) -> Change:
    """A step with the intervals of when and of how much."""
    old, new = values[start:first], values[first:end]
    earliest, latest = _when(series[start:end], first - start)
    low, high = _how_much(old, new)
    before, after = float(np.median(old)), float(np.median(new))
    return Change(first, start + earliest, start + latest, before, after, low, high, p_value)


def _when(series: FloatArray, split: int) -> tuple[int, int]:
    """The 95 % interval of the position of a step, from resampled segments."""
    rng = np.random.default_rng(SEED)
    parts = (series[:split], series[split:])
    drawn = np.hstack([rng.choice(part, (RESAMPLES, len(part))) for part in parts])
    n, k = len(series), np.arange(SHORTEST, len(series) - SHORTEST + 1)
    sums = np.cumsum(drawn - drawn.mean(axis=1, keepdims=True), axis=1)[:, k - 1]
    found = k[np.argmax(sums**2 / (k * (n - k)), axis=1)]  # the best split of each
    low, high = np.quantile(found, [0.025, 0.975])
    return min(split, math.floor(low)), max(split, math.ceil(high))


def _how_much(old: FloatArray, new: FloatArray) -> tuple[float, float]:
    """The 95 % interval of the shift between two samples, by Hodges and Lehmann (1963)."""
    pairs = np.sort(np.subtract.outer(new, old), axis=None)
    n, m = len(old), len(new)
    spread = 1.96 * math.sqrt(n * m * (n + m + 1) / 12.0)
    first = max(math.floor(n * m / 2.0 - spread), 0)
    return float(pairs[first]), float(pairs[n * m - 1 - first])


def _drift(values: FloatArray, series: FloatArray) -> Change | None:
    """A slope from some night on, where it fits much better than the best step; else None.

    Both have a night, a level and a change; their likelihoods are those of normal noise.
    """
    n, k = len(series), best_split(series)
    step = sum(float(((part - part.mean()) ** 2).sum()) for part in (series[:k], series[k:]))
    step, left = step + EXACT * n, _left_by_slopes(series) + EXACT * n
    first = int(np.argmin(left))
    if n * math.log(step / left[first]) < 2.0 * math.log(LIKELIER):
        return None
    near = np.flatnonzero(n * np.log(left / left[first]) <= stats.chi2.ppf(0.95, 1))
    fit, nights = stats.theilslopes(values[first:]), n - 1 - first
    before = float(np.median(values[first:] - fit.slope * np.arange(n - first)))
    return Change(
        first,
        int(near[0]),
        int(near[-1]),
        before,
        before + float(fit.slope) * nights,
        float(fit.low_slope) * nights,
        float(fit.high_slope) * nights,
        change_p_value(values),
        drift=True,
    )


def _left_by_slopes(series: FloatArray) -> FloatArray:
    """The squares that a level and a slope leave, by the position from which the slope is."""
    n = len(series)
    ramps = np.maximum(np.arange(n) - np.arange(n - 2 * SHORTEST)[:, None], 0.0)
    ramps -= ramps.mean(axis=1, keepdims=True)
    centred = series - series.mean()
    left = centred @ centred - (ramps @ centred) ** 2 / (ramps**2).sum(axis=1)
    return np.asarray(np.maximum(left, 0.0))
