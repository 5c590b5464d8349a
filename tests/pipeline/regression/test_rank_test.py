"""The test for a change of level at any night."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from pipeline.regression import rank_test
from pipeline.regression.rank_test import SHORTEST, change_p_value, ranks_of


@pytest.mark.parametrize("n", [10, 17])
def test_wilcoxon_is_exact(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    table, ranks = rank_test._wilcoxon(n), ranks_of(values)
    for k in range(1, n):
        expected = stats.mannwhitneyu(values[:k], values[k:], method="exact").pvalue
        assert table[k, ranks[:k].sum()] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("law", ["normal", "cauchy", "ties"])
def test_p_values_are_those_of_exchangeable_values(law: str) -> None:
    rng = np.random.default_rng(1)
    draw = {
        "normal": rng.normal,
        "cauchy": rng.standard_cauchy,
        "ties": lambda size: rng.integers(3, size=size),
    }[law]
    found = np.array([change_p_value(np.asarray(draw(size=20), dtype=float)) for _ in range(2000)])
    for level in (0.5, 0.1, 0.02):
        assert abs((found <= level).mean() - level) < 4.0 * np.sqrt(level * (1 - level) / 2000)


@settings(max_examples=30, deadline=None)
@given(arrays(float, st.integers(0, 2 * SHORTEST - 1), elements=st.floats(-1e3, 1e3)))
def test_few_nights_tell_nothing(values: np.ndarray) -> None:
    assert change_p_value(values) == 1.0


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(20)))
def test_only_the_order_of_the_values_counts(order: list[int]) -> None:
    values = np.array(order, dtype=float)
    p = change_p_value(values)
    assert change_p_value(np.exp(values / 7.0)) == p
    assert change_p_value(-values) == p
    assert sorted(ranks_of(values)) == list(range(1, 21))


def test_a_clear_step_is_as_unlikely_as_it_can_be() -> None:
    values = np.r_[np.random.default_rng(2).normal(size=30), 20.0 + np.arange(10)]
    assert change_p_value(values) < 2e-4
    values[30:38] = values[:8]
    assert change_p_value(values) > 0.02  # two outliers at the end
