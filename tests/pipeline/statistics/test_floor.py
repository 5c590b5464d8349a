"""The floor of w1_pde."""

import math

import numpy as np
import pytest

from pipeline.statistics.floor import fit_floor

M = np.array([100, 316, 1000, 3162, 10000])


@pytest.mark.parametrize("floor", [1e-3, 1e-2, 1e-1])
def test_the_floor_is_recovered(floor: float) -> None:
    random = np.random.default_rng(3)
    sampled = M[:, None] ** -0.5 * np.exp(0.1 * random.standard_normal((5, 200)))
    assert fit_floor(sampled, np.sqrt(sampled**2 + floor**2)) == pytest.approx(floor, rel=0.02)


def test_without_results_there_is_none() -> None:
    nothing = np.full((5, 3), np.nan)
    assert math.isnan(fit_floor(nothing, nothing))
    half = nothing.copy()
    half[:2] = 0.1
    assert fit_floor(half, half) == 0.0
    assert fit_floor(half, np.where(half > 0, math.hypot(0.1, 0.02), half)) == pytest.approx(0.02)
