"""Rates of convergence: distance = prefactor · M^rate, with confidence intervals.

The mean over the seeds is fitted by weighted least squares in log-log from the first M on that a
power law holds for; intervals come from resampled seed curves.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.statistics.bootstrap import LEVEL, half_width, resampled_logs
from pipeline.statistics.line import slope_functional, value_functional
from pipeline.statistics.weights import scatter_weights
from pipeline.statistics.window import first_asymptotic, resampled_firsts


@dataclass(frozen=True)
class RateFit:
    """distance = prefactor · M^rate, with intervals (NaN where there are too few seeds).

    Attributes:
        r_squared: the share of the weighted variance of the log means that the line explains.
        first_particles: the smallest M of the fit; smaller ones are pre-asymptotic.
    """

    rate: float
    rate_low: float
    rate_high: float
    prefactor: float
    prefactor_low: float
    prefactor_high: float
    r_squared: float
    first_particles: float


NO_FIT = RateFit(*(math.nan,) * 8)


@dataclass(frozen=True)
class LocalRates:
    """Slopes between each M and the next smaller one, (sizes,), with intervals; the first NaN."""

    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def fit_rate(particles: np.ndarray, distances: np.ndarray, level: float = LEVEL) -> RateFit:
    """Fit the rate of convergence in M.

    Values of M without any result and then seeds without a result at some M are left out. There is
    no fit where an M occurs twice, as on a zipped axis: these are different problems.

    Args:
        particles: the numbers M, increasing, (sizes,).
        distances: (sizes, seeds); NaN where there is no result.
        level: of the confidence intervals; they are NaN for fewer than three seeds.
    """
    particles = np.asarray(particles, dtype=float)
    if len(set(particles.tolist())) < particles.size:
        return NO_FIT
    sizes = ~np.isnan(distances).all(axis=1)
    curves = distances[sizes][:, ~np.isnan(distances[sizes]).any(axis=0)]
    if sizes.sum() < 2 or curves.shape[1] < 1 or not (curves.mean(axis=1) > 0.0).all():
        return NO_FIT
    particles = particles[sizes]
    weights = scatter_weights(np.log(particles), curves)
    return _line(particles, curves, weights, level)


def _line(particles: np.ndarray, curves: np.ndarray, weights: np.ndarray, level: float) -> RateFit:
    x, y = np.log(particles), np.log(curves.mean(axis=1))
    first = first_asymptotic(x, curves, weights)
    functional = _functional(x, weights, first)
    rate, constant = estimate = functional @ y
    resampled = resampled_logs(curves)
    wide = half_width(resampled @ functional.T, estimate, curves.shape[1], level)
    if first > 0:
        firsts = resampled_firsts(x, curves, weights)
        every = np.array([_functional(x, weights, i) for i in range(firsts.max() + 1)])
        chosen = np.einsum("rps,rs->rp", every[firsts], resampled)
        wide = np.maximum(wide, half_width(chosen, estimate, curves.shape[1], level))
    used, share = y[first:], weights[first:]
    variance = share @ (used - np.average(used, weights=share)) ** 2
    left = share @ (used - constant - rate * x[first:]) ** 2
    return RateFit(
        float(rate),
        float(rate - wide[0]),
        float(rate + wide[0]),
        *_exponentials(constant, wide[1]),
        float(1.0 - left / variance) if variance > 0.0 and used.size > 2 else math.nan,
        float(particles[first]),
    )


def _functional(x: np.ndarray, weights: np.ndarray, first: int) -> np.ndarray:
    """The matrix that takes log means to rate and log prefactor of the sizes from first on."""
    x, weights = x[first:], weights[first:]
    rows = [slope_functional(x, weights), value_functional(x, weights, 0.0)]
    return np.hstack([np.zeros((2, first)), rows])


def _exponentials(log: float, wide: float) -> tuple[float, float, float]:
    """A number and the ends of its interval from those of its log."""
    with np.errstate(over="ignore"):
        return float(np.exp(log)), float(np.exp(log - wide)), float(np.exp(log + wide))


def local_rates(particles: np.ndarray, distances: np.ndarray, level: float = LEVEL) -> LocalRates:
    """The slope of the log mean between each M and the next smaller one.

    Args:
        particles: the numbers M, increasing, (sizes,).
        distances: (sizes, seeds); NaN where there is no result. The seeds that have both sizes
            count.
        level: of the confidence intervals.
    """
    found = np.full((3, len(particles)), math.nan)
    steps = np.diff(np.log(np.asarray(particles, dtype=float)))
    if (steps > 0.0).all():
        for i, step in enumerate(steps):
            pair = distances[i : i + 2]
            ends = _log_means(pair[:, ~np.isnan(pair).any(axis=0)], level)
            found[:, i + 1] = np.array(ends) / step
    return LocalRates(*found)


def mean_interval(
    distances: np.ndarray, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean over the seeds at each size and the ends of its interval, (sizes,) each.

    Args:
        distances: not negative, (sizes, seeds); NaN where there is no result.
        level: of the confidence intervals.
    """
    found = np.full((3, len(distances)), math.nan)
    for i, values in enumerate(distances):
        with np.errstate(over="ignore"):
            found[:, i] = np.exp(_log_means(values[None, ~np.isnan(values)], level))
    return found[0], found[1], found[2]


def _log_means(curves: np.ndarray, level: float) -> tuple[float, float, float]:
    """The increment of the log mean between two sizes, or the log mean of one, with its interval.

    NaN without results or where a mean is zero.
    """
    seeds = curves.shape[1]
    if seeds < 1 or not (curves.mean(axis=1) > 0.0).all():
        return math.nan, math.nan, math.nan
    signs = np.array([-1.0, 1.0])[-len(curves) :]
    log = float(signs @ np.log(curves.mean(axis=1)))
    wide = float(half_width(resampled_logs(curves) @ signs, log, seeds, level))
    return log, log - wide, log + wide
