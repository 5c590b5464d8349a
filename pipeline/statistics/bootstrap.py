"""Confidence intervals from resampled seeds.

With common random numbers the results of one seed at different M, cells or snapshots are not
independent, but the seeds are: whole seed curves are resampled with replacement. The percentile
interval of n curves is too narrow by sqrt((n - 1)/n), the spread of a resample, and by Student's t
over the normal quantile, so it is stretched about the estimate. Distances are skewed to the right,
and resamples of few seeds do not know how much: the longer arm of the percentile interval is taken
on both sides. Positive quantities are treated through their logarithms.

``benchmarks/interval_coverage.py`` measures how often such intervals hold the truth.

Reference: T. C. Hesterberg, "What teachers should know about the bootstrap", The American
Statistician 69 (2015) 371-386, section 4.
"""

import functools
import math

import numpy as np
import scipy

RESAMPLES = 2000
LEVEL = 0.95
FEWEST = 3  # seeds: two say too little about their own scatter


@functools.lru_cache(maxsize=16)
def shares(seeds: int) -> np.ndarray:
    """The share of each seed in each resample, (resamples, seeds), from a fixed stream."""
    random = np.random.Generator(np.random.Philox(key=0))
    counts = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    drawn = counts / seeds
    drawn.setflags(write=False)
    return drawn


def resampled_logs(curves: np.ndarray) -> np.ndarray:
    """Log means over resampled seeds, (resamples, …), of curves (…, seeds); of 0 it is -inf."""
    with np.errstate(divide="ignore"):
        return np.log(np.tensordot(shares(curves.shape[-1]), curves, axes=(1, curves.ndim - 1)))


def half_width(
    resampled: np.ndarray, estimate: np.ndarray | float, seeds: int, level: float = LEVEL
) -> np.ndarray:
    """Half the width of the interval about an estimate, (…); NaN for fewer than three seeds.

    Args:
        resampled: the estimates from the resamples, (resamples, …).
        estimate: the estimate from all seeds, (…).
        seeds: their number.
        level: of the interval.
    """
    if seeds < FEWEST:
        return np.full(np.shape(estimate), math.nan)
    stretch = math.sqrt(seeds / (seeds - 1)) * scipy.special.stdtrit(seeds - 1, (1 + level) / 2)
    stretch /= scipy.special.ndtri((1 + level) / 2)
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(resampled, [50 * (1 - level), 50 * (1 + level)], axis=0)
    return np.asarray(stretch * np.maximum(high - estimate, estimate - low))
