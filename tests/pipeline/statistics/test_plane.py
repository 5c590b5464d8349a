"""The joint fit of sampling and grid error against planes with known terms."""

import math

import numpy as np
import pytest

from pipeline.statistics.kiefer import nested_distances
from pipeline.statistics.plane import TERMS, PlaneFit, balanced_particles, error, fit_plane

M = np.array([100, 316, 1000, 3162, 10000, 31623, 100000])
CELLS = np.array([50, 100, 200, 400])
STUDIES = 60


@pytest.fixture(scope="module")
def sampled() -> np.ndarray:
    """Sampling errors with the mean 0.5 M^(-1/2), (sizes, seeds)."""
    curves = nested_distances(M, 16 * STUDIES, key=22)
    return curves * (0.5 * M**-0.5 / curves.mean(axis=1))[:, None]


def plane(sampled: np.ndarray, prefactor: float, order: float, floor: float = 0.0) -> np.ndarray:
    """w1_pde whose means over many seeds combine by squares, (sizes, cells, seeds)."""
    grid = (prefactor * CELLS**-order)[:, None]
    found = np.sqrt(sampled[:, None] ** 2 + grid**2 + floor**2)
    truth = np.sqrt(0.25 / M[:, None, None] + grid**2 + floor**2)
    return found * truth / found.mean(axis=-1, keepdims=True)


def exact(prefactor: float, order: float, floor: float = 0.0) -> np.ndarray:
    return plane(np.repeat(0.5 * M[:, None] ** -0.5, 5, axis=1), prefactor, order, floor)


def named(fit: PlaneFit) -> str:
    return TERMS[fit.terms]


def test_terms_are_words_for_flags() -> None:
    assert len(TERMS) == 8
    assert TERMS[3] == "sampling-and-grid"
    assert not any(" " in term for term in TERMS)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_two_exact_terms_are_recovered(order: float) -> None:
    fit = fit_plane(M, CELLS, exact(0.01 * 100**order, order))
    assert named(fit) == "sampling-and-grid"
    assert fit.sampling_rate == pytest.approx(-0.5, abs=1e-5)
    assert fit.sampling_prefactor == pytest.approx(0.5, rel=1e-4)
    assert fit.grid_order == pytest.approx(order, rel=1e-4)
    assert fit.grid_prefactor == pytest.approx(0.01 * 100**order, rel=1e-3)
    assert fit.plane_floor_low == 0.0


@pytest.mark.parametrize("seeds", [4, 16])
def test_data_tell_whether_errors_add_in_squares_or_plainly(
    sampled: np.ndarray, seeds: int
) -> None:
    """And the rate of a plain sum is as good as that of squares."""
    studies = np.split(sampled[:, : 20 * seeds], 20, axis=1)
    plain = [fit_plane(M, CELLS, s[:, None] + (30.0 * CELLS**-2.0)[:, None]) for s in studies]
    squares = [fit_plane(M, CELLS, plane(s, 30.0, 2.0)) for s in studies]
    assert sum(fit.plane_power == 1 for fit in plain) >= 18
    assert sum(fit.plane_power == 2 for fit in squares) >= 18
    assert sum(fit.sampling_rate_low <= -0.5 <= fit.sampling_rate_high for fit in plain) >= 16


def test_misfit_is_the_largest_relative_residual() -> None:
    curves = exact(30.0, 2.0)
    assert fit_plane(M, CELLS, curves).plane_misfit < 1e-6
    curves[2, 1] *= 1.2
    fit = fit_plane(M, CELLS, curves)
    residual = curves.mean(axis=-1) / error(fit, M[:, None], CELLS[None, :]) - 1.0
    assert fit.plane_misfit == pytest.approx(np.abs(residual).max(), rel=1e-3)


def test_three_exact_terms_are_recovered() -> None:
    fit = fit_plane(M, CELLS, exact(30.0, 2.0, 0.002))
    assert named(fit) == "sampling-and-grid-and-floor"
    assert fit.plane_floor == pytest.approx(0.002, rel=1e-3)
    assert fit.grid_order == pytest.approx(2.0, rel=1e-3)
    at = error(fit, np.array([1000.0]), np.array([100.0]))
    assert at[0] == pytest.approx(math.sqrt(0.25e-3 + 9e-6 + 4e-6), rel=1e-4)


def test_balanced_particles_of_exact_terms() -> None:
    fit = fit_plane(M, CELLS, exact(30.0, 2.0))
    value, low, high = balanced_particles(fit, CELLS)
    np.testing.assert_allclose(value, (0.5 / (30.0 * CELLS**-2.0)) ** 2, rtol=1e-3)
    np.testing.assert_allclose(low, high, rtol=1e-6)


@pytest.mark.parametrize("seeds", [4, 16])
def test_intervals_hold_the_truth(sampled: np.ndarray, seeds: int) -> None:
    distances = plane(sampled, 30.0, 2.0)
    truths = {"sampling_rate": -0.5, "sampling_prefactor": 0.5}
    truths |= {"grid_order": 2.0, "grid_prefactor": 30.0}
    held: dict[str, list[bool]] = {name: [] for name in (*truths, "balanced")}
    for study in range(STUDIES):
        fit = fit_plane(M, CELLS, distances[..., study * seeds : (study + 1) * seeds])
        if fit.terms & 3 != 3:
            continue
        for name, truth in truths.items():
            held[name].append(getattr(fit, f"{name}_low") <= truth <= getattr(fit, f"{name}_high"))
        _, low, high = balanced_particles(fit, CELLS)
        held["balanced"].append(low[1] <= (0.5 / (30.0 * 100.0**-2)) ** 2 <= high[1])
    for name, outcomes in held.items():
        assert len(outcomes) >= 0.97 * STUDIES
        assert np.mean(outcomes) >= 0.95 - 3.5 * math.sqrt(0.0475 / STUDIES), name
    assert np.mean(list(held.values())) < 0.995


def test_a_floor_that_may_be_missed_is_in_the_interval_of_the_rate(sampled: np.ndarray) -> None:
    """With 8 seeds about half of the fits have no floor; their rates are not covered without it."""
    distances = plane(sampled, 30.0, 2.0, 0.002)
    fits = [fit_plane(M, CELLS, distances[..., 8 * i : 8 * i + 8]) for i in range(STUDIES)]
    without = [fit for fit in fits if not fit.terms & 4]
    assert 0.2 < len(without) / STUDIES < 0.8
    assert np.mean([fit.sampling_rate for fit in without]) > -0.48
    held = [fit.sampling_rate_low <= -0.5 <= fit.sampling_rate_high for fit in fits]
    assert np.mean(held) >= 0.95 - 3.0 * math.sqrt(0.0475 / STUDIES)


def test_grid_error_hidden_under_sampling_error_is_not_told(sampled: np.ndarray) -> None:
    fit = fit_plane(M, CELLS, plane(sampled, 0.05, 2.0)[..., :16])
    assert named(fit) == "sampling"
    assert math.isnan(fit.grid_order)
    assert math.isnan(fit.grid_prefactor_high)
    assert fit.sampling_rate_low <= -0.5 <= fit.sampling_rate_high
    assert np.isnan(balanced_particles(fit, CELLS)).all()
    assert np.isnan(error(fit, M, CELLS[:1])).all()
    assert 0.0 == fit.plane_floor_low < fit.plane_floor_high < 0.005


def test_sampling_error_hidden_under_grid_error_is_not_told(sampled: np.ndarray) -> None:
    grid = 30.0 * CELLS[:, None] ** -2.0
    fit = fit_plane(M, CELLS, np.hypot(1e-12 * sampled[:, None, :16], grid))
    assert named(fit) in {"grid", "grid-and-floor"}
    assert math.isnan(fit.sampling_rate)
    assert fit.grid_order == pytest.approx(2.0, abs=0.01)


def test_one_number_of_cells_gives_no_order(sampled: np.ndarray) -> None:
    distances = plane(sampled, 30.0, 2.0)[:, 1:2, :16]
    fit = fit_plane(M, CELLS[1:2], distances)
    assert named(fit) == "sampling-and-floor"
    assert math.isnan(fit.grid_order)
    assert fit.plane_floor_low <= 30.0 * 100.0**-2 <= fit.plane_floor_high


def test_two_numbers_of_cells_give_no_floor(sampled: np.ndarray) -> None:
    fit = fit_plane(M, CELLS[:2], plane(sampled, 30.0, 2.0)[:, :2, :16])
    assert named(fit) == "sampling-and-grid"
    assert math.isnan(fit.plane_floor)


def test_noise_alone_tells_nothing() -> None:
    noise = np.exp(0.3 * np.random.default_rng(3).standard_normal((7, 4, 8)))
    assert named(fit_plane(M, CELLS, noise)) in {"none", "floor"}


def test_what_is_missing_is_left_out(sampled: np.ndarray) -> None:
    distances = plane(sampled, 30.0, 2.0)[..., :12]
    whole = fit_plane(M[:5], CELLS[:3], distances[:5, :3, :10])
    distances[5:] = np.nan
    distances[:, 3] = np.nan
    distances[2, 1, 10:] = np.nan
    assert fit_plane(M, CELLS, distances) == whole


def test_too_little_gives_nan(sampled: np.ndarray) -> None:
    distances = plane(sampled, 30.0, 2.0)
    for fit in (
        fit_plane(M, CELLS, np.full((7, 4, 3), np.nan)),
        fit_plane(M[:1], CELLS[:1], distances[:1, :1, :8]),
        fit_plane(np.array([100, 100]), CELLS, distances[:2, :, :8]),
    ):
        assert named(fit) == "none"
        assert np.isnan([fit.sampling_rate, fit.grid_order, fit.plane_floor]).all()
        assert np.isnan(balanced_particles(fit, CELLS)).all()


def test_few_seeds_give_values_without_intervals(sampled: np.ndarray) -> None:
    fit = fit_plane(M, CELLS, plane(sampled, 30.0, 2.0)[..., :2])
    assert fit.terms & 3 == 3
    assert math.isfinite(fit.grid_order)
    assert np.isnan([fit.sampling_rate_low, fit.grid_order_high, fit.plane_floor_high]).all()
    value, low, _ = balanced_particles(fit, CELLS)
    assert np.isfinite(value).all()
    assert np.isnan(low).all()
