"""Power before a study runs, against real samples."""

import math

import numpy as np
import pytest

from pipeline.statistics.kiefer import nested_distances
from pipeline.statistics.power import (
    expected_half_width,
    is_underpowered,
    range_to_tell,
    seeds_to_tell,
)
from pipeline.statistics.rate import fit_rate
from solvers.distributions import Uniform
from solvers.empirical import expected_w1
from solvers.sampling import uniforms
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1

M = (100, 200, 400, 800, 1600, 3200)


@pytest.fixture(scope="module")
def curves() -> np.ndarray:
    """W1 of nested uniform samples to the uniform law, (sizes, seeds)."""
    law = PiecewiseLinearCdf([0.0, 1.0], [1.0])
    pool = [uniforms(M[-1], (3, seed)) for seed in range(2400)]
    return np.array([[w1(PointMasses(u[:m]), law) for u in pool] for m in M])


def test_the_process_has_the_moments_and_correlations_of_samples(curves: np.ndarray) -> None:
    simulated = nested_distances(M, 4000, key=5)
    means = [expected_w1(Uniform(0.0, 1.0), m) for m in M]
    np.testing.assert_allclose(simulated.mean(axis=1), means, rtol=0.03)
    deviations = curves.std(axis=1) / curves.mean(axis=1)
    np.testing.assert_allclose(
        simulated.std(axis=1) / simulated.mean(axis=1), deviations, rtol=0.08
    )
    np.testing.assert_allclose(np.corrcoef(simulated), np.corrcoef(curves), atol=0.07)


@pytest.mark.parametrize("seeds", [6, 12])
def test_the_expected_half_width_is_that_of_fits(curves: np.ndarray, seeds: int) -> None:
    parts = np.split(curves, curves.shape[1] // seeds, axis=1)
    found = [fit_rate(np.array(M), part) for part in parts]
    widths = [(fit.rate_high - fit.rate_low) / 2 for fit in found if fit.first_particles == M[0]]
    assert np.mean(widths) == pytest.approx(expected_half_width(M, seeds), rel=0.1)


def test_so_many_seeds_tell_the_rates_apart_and_fewer_do_not(curves: np.ndarray) -> None:
    needed = seeds_to_tell(M)
    assert needed is not None
    shares = []
    for seeds in (needed, needed // 2):
        parts = [curves[:, i : i + seeds] for i in range(0, curves.shape[1] - seeds + 1, seeds)]
        fits = [fit_rate(np.array(M), part) for part in parts]
        shares.append(np.mean([not fit.rate_low <= -1 / 3 <= fit.rate_high for fit in fits]))
    assert shares[0] == pytest.approx(0.8, abs=0.1)
    assert shares[1] < 0.65


def test_more_of_anything_helps() -> None:
    widths = [expected_half_width(M, seeds) for seeds in (3, 6, 12, 100)]
    assert (np.diff(widths) < 0.0).all()
    assert widths[3] / widths[2] == pytest.approx(
        0.3464 * 1.984 / 2.201 * 0.9975 / 0.9776, rel=1e-3
    )
    assert expected_half_width((*M, 10**5), 8) < expected_half_width(M, 8)
    few, many = seeds_to_tell(M, power=0.5), seeds_to_tell(M, power=0.99)
    assert few is not None
    assert many is not None
    assert few < seeds_to_tell(M) < many


def test_the_range_is_the_least_that_tells() -> None:
    largest = range_to_tell(8, 100)
    assert largest is not None
    sizes = [100, 316, 1000, 3162, 10000, 31623, 100000]
    at = sizes.index(largest) + 1
    assert seeds_to_tell(sizes[:at]) <= 8
    assert seeds_to_tell(sizes[: at - 1]) > 8
    assert range_to_tell(64, 100) < largest
    assert range_to_tell(2, 100) is None


def test_nothing_to_tell_from() -> None:
    assert math.isnan(expected_half_width(M, 2))
    assert math.isnan(expected_half_width([100], 16))
    assert seeds_to_tell([100]) is None
    assert seeds_to_tell([100, 101]) is None  # some 10^5 seeds


@pytest.mark.parametrize(
    ("low", "high", "weak"),
    [
        (-0.58, -0.42, False),
        (-0.59, -0.42, True),
        (math.nan, math.nan, True),
        (-0.5, math.nan, True),
    ],
)
def test_an_interval_that_may_hold_both_rates_is_underpowered(
    low: float, high: float, weak: bool
) -> None:
    assert is_underpowered(low, high) is weak
