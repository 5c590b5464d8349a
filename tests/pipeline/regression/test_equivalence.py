"""Two one-sided tests against SciPy's t tests."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.regression.equivalence import LEVEL, POWER, paired, seeds_needed, welch

RNG = np.random.default_rng(0)
OLD = RNG.lognormal(0.0, 0.4, (5, 12))
NEW = 1.02 * OLD + 0.1 * RNG.standard_normal((5, 12))
OTHER = 1.02 * RNG.lognormal(0.0, 0.8, (5, 7))


def test_without_a_margin_it_is_the_two_sided_test() -> None:
    none = np.zeros(5)
    expected = stats.ttest_rel(NEW, OLD, axis=1).pvalue
    np.testing.assert_allclose(paired(OLD, NEW).larger(none), expected, rtol=1e-12)
    expected = stats.ttest_ind(OTHER, OLD, axis=1, equal_var=False).pvalue
    np.testing.assert_allclose(welch(OLD, OTHER).larger(none), expected, rtol=1e-12)


def test_equivalence_is_two_one_sided_tests() -> None:
    for margin in (0.01, 0.1, 1.0):
        above = stats.ttest_1samp(NEW - OLD, -margin, axis=1, alternative="greater").pvalue
        below = stats.ttest_1samp(NEW - OLD, margin, axis=1, alternative="less").pvalue
        found = paired(OLD, NEW).equivalent(np.full(5, margin))
        np.testing.assert_allclose(found, np.maximum(above, below), rtol=1e-12)


def test_interval_is_that_of_the_means() -> None:
    low, high = welch(OLD, OTHER).interval()
    for i in range(5):
        expected = stats.ttest_ind(OTHER[i], OLD[i], equal_var=False).confidence_interval()
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high))


def test_missing_seeds_are_left_out() -> None:
    old, new = OLD.copy(), NEW.copy()
    old[0, 3] = new[0, 5] = np.nan
    keep = [i for i in range(12) if i not in (3, 5)]
    expected = stats.ttest_rel(NEW[0, keep], OLD[0, keep]).pvalue
    assert paired(old, new).larger(np.zeros(5))[0] == pytest.approx(expected)


def test_without_scatter_the_number_decides() -> None:
    old = np.ones((3, 4))
    new = np.array([1.0, 1.005, 1.02])[:, None] * old
    found = paired(old, new)
    margin = np.full(3, 0.01)
    assert (found.larger(margin) > 0.5).tolist() == [True, True, False]
    assert (found.equivalent(margin) < LEVEL).tolist() == [True, True, False]
    assert np.isnan(paired(old[:, :1], new[:, :1]).larger(margin)).all()


@settings(max_examples=40, deadline=None)
@given(
    gap=st.floats(0.0, 3.0),
    scatter=st.floats(0.01, 3.0),
    seeds=st.integers(2, 50),
    alpha=st.sampled_from([1e-5, 1e-3, 0.05]),
)
def test_so_many_seeds_and_no_fewer_decide(
    gap: float, scatter: float, seeds: int, alpha: float
) -> None:
    margin = 1.0
    count = seeds_needed(gap, scatter / math.sqrt(seeds), seeds, margin, alpha)

    def decides(n: int) -> bool:
        level = alpha if gap > margin else LEVEL
        wanted = stats.t.ppf(1.0 - level, n - 1) + stats.t.ppf(POWER, n - 1)
        return bool(abs(gap - margin) * math.sqrt(n) >= scatter * wanted)

    if count is None:
        assert not decides(10**6)
    else:
        assert decides(count)
        assert count == seeds or count == 2 or not decides(count - 1)


def test_no_number_of_seeds_tells_a_difference_as_large_as_the_margin() -> None:
    assert seeds_needed(1.0, 0.1, 8, 1.0, 0.05) is None
