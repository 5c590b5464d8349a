"""How many seeds, and which numbers of particles, tell one rate of convergence from another.

For independent samples in one dimension the rate fitted to the mean over seeds is, to first order,
a mean of independent terms, one from each seed's curve. A simulation of the Kiefer process gives
the standard deviation of these terms, hence the half width of the interval and, by the noncentral
t distribution, the probability that it leaves out another rate.

Reference: N. L. Johnson, B. L. Welch, "Applications of the non-central t-distribution", Biometrika
31 (1940) 362-389.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import scipy

from pipeline.statistics.bootstrap import FEWEST, LEVEL
from pipeline.statistics.kiefer import nested_distances
from pipeline.statistics.line import slope_functional

RATES = (-1 / 2, -1 / 3)
POWER = 0.8
CURVES, STREAM = 4000, 1
MOST_SEEDS, LARGEST = 4096, 10**9


def is_underpowered(rate_low: float, rate_high: float) -> bool:
    """Whether an interval is too wide to tell -1/2 from -1/3: it could hold both; so too NaN."""
    return not rate_high - rate_low <= RATES[1] - RATES[0]


@functools.lru_cache(maxsize=256)
def _deviation(particles: tuple[float, ...]) -> float:
    """The standard deviation of one seed's share in the fitted rate."""
    curves = nested_distances(particles, CURVES, STREAM)
    functional = slope_functional(np.log(particles), np.ones(len(particles)))
    return float((functional / curves.mean(axis=1) @ curves).std())


def expected_half_width(particles: Sequence[float], seeds: int, level: float = LEVEL) -> float:
    """Half the width that the confidence interval of the rate will have on average, about.

    Args:
        particles: the numbers M of the study.
        seeds: their number.
        level: of the interval.

    Returns:
        NaN for fewer than three seeds or two sizes.
    """
    sizes = _sizes(particles)
    if seeds < FEWEST or len(sizes) < 2:
        return math.nan
    # the mean of a sample's standard deviation is less than the deviation by this factor
    mean = math.exp(
        scipy.special.gammaln(seeds / 2) - scipy.special.gammaln((seeds - 1) / 2)
    ) * math.sqrt(2 / (seeds - 1))
    stretch = float(scipy.special.stdtrit(seeds - 1, (1 + level) / 2))
    return stretch * mean * _deviation(sizes) / math.sqrt(seeds)


def seeds_to_tell(
    particles: Sequence[float],
    rates: tuple[float, float] = RATES,
    level: float = LEVEL,
    power: float = POWER,
) -> int | None:
    """The fewest seeds whose interval leaves out the second rate when the first is true.

    Args:
        particles: the numbers M of the study.
        rates: the true rate and the other.
        level: of the interval.
        power: the probability with which the interval leaves out the other rate.

    Returns:
        None for fewer than two sizes, or if more than 4096 seeds were needed.
    """
    sizes = _sizes(particles)
    if len(sizes) < 2:
        return None
    low, high = FEWEST, MOST_SEEDS
    if _power(sizes, high, rates, level) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        if _power(sizes, middle, rates, level) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def range_to_tell(
    seeds: int,
    smallest: float,
    per_decade: float = 2.0,
    rates: tuple[float, float] = RATES,
    level: float = LEVEL,
    power: float = POWER,
) -> int | None:
    """The least largest M for which some seeds tell two rates apart.

    Args:
        seeds: their number.
        smallest: the smallest M.
        per_decade: how many M there are per factor of ten.
        rates: the true rate and the other.
        level: of the interval.
        power: the probability with which the interval leaves out the other rate.

    Returns:
        None for fewer than three seeds, or if M above 10⁹ were needed.
    """
    sizes = [float(smallest)]
    while seeds >= FEWEST and sizes[-1] < LARGEST:
        sizes.append(float(round(smallest * 10 ** (len(sizes) / per_decade))))
        if _power(tuple(sizes), seeds, rates, level) >= power:
            return int(sizes[-1])
    return None


def _power(sizes: tuple[float, ...], seeds: int, rates: tuple[float, float], level: float) -> float:
    """The probability that a t interval about an estimate of one rate leaves out the other."""
    shift = abs(rates[1] - rates[0]) * math.sqrt(seeds) / _deviation(sizes)
    return 1.0 - float(
        scipy.special.nctdtr(seeds - 1, shift, scipy.special.stdtrit(seeds - 1, (1 + level) / 2))
    )


def _sizes(particles: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted({float(m) for m in particles}))
