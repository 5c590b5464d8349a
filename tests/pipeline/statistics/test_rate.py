"""Rates, prefactors, windows, local slopes and means against known laws."""

import math

import numpy as np
import pytest

from pipeline.statistics.kiefer import nested_distances
from pipeline.statistics.rate import NO_FIT, fit_rate, local_rates, mean_interval
from solvers.convergence import fit_order

M = np.array([100, 316, 1000, 3162, 10000, 31623, 100000])
STUDIES = 300


def binomial(share: float) -> tuple[float, float]:
    """Where the share of so many studies lies with three standard errors."""
    wide = 3.0 * math.sqrt(share * (1.0 - share) / STUDIES)
    return share - wide, min(share + wide, 1.0)


@pytest.fixture(scope="module")
def nested() -> np.ndarray:
    """Distances with the mean 0.5 M^(-1/2), (sizes, seeds)."""
    curves = nested_distances(M, 16 * STUDIES, key=21)
    return curves * (0.5 * M**-0.5 / curves.mean(axis=1))[:, None]


def studies(curves: np.ndarray, seeds: int) -> list[np.ndarray]:
    return [curves[:, i * seeds : (i + 1) * seeds] for i in range(STUDIES)]


def test_an_exact_power_law_is_recovered() -> None:
    fit = fit_rate(M, np.repeat(0.7 * M[:, None] ** -0.5, 8, axis=1))
    assert fit.rate == pytest.approx(-0.5, abs=1e-12)
    assert fit.rate_high - fit.rate_low < 1e-12
    assert fit.prefactor == pytest.approx(0.7, rel=1e-11)
    assert fit.r_squared == pytest.approx(1.0, abs=1e-12)
    assert fit.first_particles == 100


@pytest.mark.parametrize("seeds", [4, 8, 16])
def test_intervals_hold_the_truth_as_often_as_they_say(nested: np.ndarray, seeds: int) -> None:
    fits = [fit_rate(M, curves) for curves in studies(nested, seeds)]
    low, high = binomial(0.95)
    assert low <= np.mean([f.rate_low <= -0.5 <= f.rate_high for f in fits]) <= high
    assert low <= np.mean([f.prefactor_low <= 0.5 <= f.prefactor_high for f in fits]) <= high


def test_uneven_scatter_is_weighted_and_still_covered(nested: np.ndarray) -> None:
    means = nested.mean(axis=1, keepdims=True)
    uneven = means + np.linspace(1.0, 0.2, M.size)[:, None] * (nested - means)
    fits = [fit_rate(M, curves) for curves in studies(uneven, 8)]
    low, high = binomial(0.95)
    assert low <= np.mean([f.rate_low <= -0.5 <= f.rate_high for f in fits]) <= high
    plain = [fit_order(M, curves.mean(axis=1)).order for curves in studies(uneven, 8)]
    assert np.std([f.rate for f in fits]) < 0.9 * np.std(plain)


def test_a_plain_bend_is_dropped_and_the_rest_covers(nested: np.ndarray) -> None:
    fits = [fit_rate(M, c) for c in studies(nested * (1.0 + 500.0 / M)[:, None], 16)]
    assert np.mean([f.first_particles >= 3162 for f in fits]) > 0.9
    assert max(f.first_particles for f in fits) == 10000  # three sizes remain
    low, high = binomial(0.95)
    assert low <= np.mean([f.rate_low <= -0.5 <= f.rate_high for f in fits]) <= high


def test_without_a_bend_sizes_are_dropped_as_seldom_as_the_test_says(nested: np.ndarray) -> None:
    dropped = np.mean([fit_rate(M, c).first_particles > 100 for c in studies(nested, 8)])
    low, high = binomial(0.05)
    assert low <= dropped <= high


def test_whole_curves_are_resampled() -> None:
    """A seed that is high at every M moves the prefactor, not the rate."""
    high = np.exp(0.5 * np.random.default_rng(5).standard_normal(16))
    fit = fit_rate(M, 0.7 * M[:, None] ** -0.5 * high[None, :])
    assert fit.rate_high - fit.rate_low < 1e-9
    assert fit.prefactor_high / fit.prefactor_low > 1.2


def test_sizes_without_results_and_then_seeds_with_holes_are_left_out(nested: np.ndarray) -> None:
    curves = nested[:, :12].copy()
    whole = fit_rate(M[:5], curves[:5, :10])
    curves[5:] = np.nan
    curves[2, 10:] = np.nan
    assert fit_rate(M, curves) == whole


def test_too_little_gives_nan(nested: np.ndarray) -> None:
    nothing = [vars(NO_FIT)[name] for name in vars(NO_FIT)]
    for particles, curves in (
        (M, np.full((7, 3), np.nan)),
        (M[:1], nested[:1, :4]),
        (np.array([100, 100, 200]), nested[:3, :4]),
        (M, np.zeros((7, 4))),
    ):
        np.testing.assert_array_equal(list(vars(fit_rate(particles, curves)).values()), nothing)
    two = fit_rate(M, nested[:, :2])
    assert math.isfinite(two.rate)
    assert math.isnan(two.rate_low)
    assert math.isnan(two.prefactor_high)


def test_local_rates_are_slopes_between_neighbours(nested: np.ndarray) -> None:
    found = [local_rates(M, curves) for curves in studies(nested, 8)]
    assert all(np.isnan([f.rate[0], f.low[0], f.high[0]]).all() for f in found)
    means = nested[:, :8].mean(axis=1)
    np.testing.assert_allclose(found[0].rate[1:], np.diff(np.log(means)) / np.diff(np.log(M)))
    held = [(f.low <= -0.5) & (f.high >= -0.5) for f in found]
    low, high = binomial(0.95)
    assert low <= np.mean(held, axis=0)[1:].mean() <= high
    twice = local_rates(np.array([100, 100]), nested[:2, :8])
    assert np.isnan(twice.rate).all()


@pytest.mark.parametrize("seeds", [4, 16])
def test_mean_intervals(nested: np.ndarray, seeds: int) -> None:
    held = []
    for curves in studies(nested, seeds):
        mean, low, high = mean_interval(curves)
        np.testing.assert_allclose(mean, curves.mean(axis=1))
        held.append((low <= 0.5 * M**-0.5) & (high >= 0.5 * M**-0.5))
    below, above = binomial(0.95)
    assert below <= np.mean(held) <= above


def test_a_mean_has_an_interval_from_the_seeds_that_it_has(nested: np.ndarray) -> None:
    curves = nested[:, :8].copy()
    curves[0, 4:] = np.nan
    curves[1, 2:] = np.nan
    curves[2] = np.nan
    mean, low, high = mean_interval(curves)
    assert (mean[0], low[0], high[0]) == tuple(v[0] for v in mean_interval(nested[:1, :4]))
    assert math.isfinite(mean[1])
    assert math.isnan(low[1])
    assert math.isnan(mean[2])
    assert (low[3:] < mean[3:]).all()
    assert (mean[3:] < high[3:]).all()


def test_a_narrower_level_is_narrower(nested: np.ndarray) -> None:
    wide, narrow = fit_rate(M, nested[:, :16]), fit_rate(M, nested[:, :16], level=0.5)
    ratio = (narrow.rate_high - narrow.rate_low) / (wide.rate_high - wide.rate_low)
    assert ratio == pytest.approx(0.69 / 2.13, rel=0.15)  # quantiles of t with 15 degrees


def test_distances_of_zero_do_no_harm(nested: np.ndarray) -> None:
    curves = nested[:, :3].copy()
    curves[4, 0] = 0.0
    fit = fit_rate(M, curves)
    assert math.isfinite(fit.rate)
    assert not fit.rate_high - fit.rate_low < 0.3  # one in 27 resamples has no mean
    mean, low, _ = mean_interval(curves)
    assert mean[4] > 0.0
    assert not low[4] > 0.0
    assert np.isnan(local_rates(M, np.zeros((7, 4))).rate).all()
