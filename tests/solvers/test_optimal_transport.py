import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance, wasserstein_distance_nd

from solvers.errors import MeasureError, NotOptimalError
from solvers.optimal_transport import cloud_w1
from solvers.wasserstein import PointMasses, w1


def cloud(seed: int, points: int, dimension: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimension))


def assignment(x: np.ndarray, y: np.ndarray) -> float:
    costs = cdist(x, y)
    return float(costs[linear_sum_assignment(costs)].mean())


@pytest.mark.parametrize("dimension", [2, 3, 7])
@pytest.mark.parametrize("points", [1, 2, 17, 400])
def test_equal_weights_are_an_assignment(dimension: int, points: int) -> None:
    x, y = cloud(0, points, dimension), cloud(1, points, dimension) + 0.1
    assert cloud_w1(x, y) == pytest.approx(assignment(x, y), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e12, 1e100])
def test_the_scale_does_not_matter(scale: float) -> None:
    x, y = cloud(0, 300, 2), cloud(1, 300, 2)
    assert cloud_w1(scale * x, scale * y) == pytest.approx(scale * assignment(x, y), rel=1e-11)


def test_far_from_the_origin() -> None:
    x, y = 1e6 + 1e-3 * cloud(0, 200, 2), 1e6 + 1e-3 * cloud(1, 200, 2)
    assert cloud_w1(x, y) == pytest.approx(assignment(x - 1e6, y - 1e6), rel=1e-9)


def test_coinciding_points() -> None:
    x, y = np.repeat(cloud(0, 5, 2), 60, axis=0), np.repeat(cloud(1, 5, 2), 60, axis=0)
    assert cloud_w1(x, y) == pytest.approx(assignment(x[::60], y[::60]), rel=1e-12)
    assert cloud_w1(np.ones((9, 3)), np.ones((4, 3))) == 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 4))
def test_metric_properties(seed: int, points: int, dimension: int) -> None:
    x, y, z = (cloud(seed + i, points + i, dimension) for i in range(3))
    xy, yz, xz = cloud_w1(x, y), cloud_w1(y, z), cloud_w1(x, z)
    assert cloud_w1(y, x) == pytest.approx(xy, rel=1e-12)
    assert cloud_w1(x, x[::-1]) <= 1e-15 * np.abs(x).max()
    assert xz <= (xy + yz) * (1 + 1e-12)
    shift = np.arange(1.0, dimension + 1.0)
    assert cloud_w1(x, x + shift) == pytest.approx(np.linalg.norm(shift), rel=1e-12)


def test_weights_against_scipy() -> None:
    x, y = cloud(0, 12, 3), cloud(1, 9, 3)
    a, b = np.arange(12.0), np.linspace(3.0, 1.0, 9)  # one of the weights is 0
    assert cloud_w1(x, y, a, b) == pytest.approx(wasserstein_distance_nd(x, y, a, b), rel=1e-9)
    assert cloud_w1(x, y, 7e5 * a, b) == pytest.approx(cloud_w1(x, y, a, b), rel=1e-13)
    doubled = np.repeat(x, 2, axis=0)
    assert cloud_w1(doubled, y, None, b) == pytest.approx(cloud_w1(x, y, None, b), rel=1e-12)


def test_on_the_line_it_is_the_distance_by_quantiles() -> None:
    x, y = cloud(0, 300, 1), cloud(1, 70, 1)
    exact = w1(PointMasses(x[:, 0]), PointMasses(y[:, 0]))
    assert cloud_w1(x, y) == pytest.approx(exact, rel=1e-13)
    assert cloud_w1(x[:, 0], y[:, 0]) == cloud_w1(x, y)
    a, b = np.arange(1.0, 301.0), np.ones(70)
    expected = wasserstein_distance(x[:, 0], y[:, 0], a, b)
    assert cloud_w1(x, y, a, b) == pytest.approx(expected, rel=1e-11)
    on_a_line = np.linalg.norm([1, 2]) * cloud_w1(x, y)
    assert cloud_w1(x * [[1, 2]], y * [[1, 2]]) == pytest.approx(on_a_line, rel=1e-11)


def test_a_simplex_that_is_stopped_is_no_result() -> None:
    x, y = cloud(0, 300, 2), cloud(1, 300, 2)
    with (
        pytest.warns(UserWarning, match="numItermax"),
        pytest.raises(NotOptimalError, match="50 pivots allowed"),
    ):
        cloud_w1(x, y, max_pivots=50)


def test_pairs_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _: 1000)  # a megabyte
    x, y = cloud(0, 160, 2), cloud(1, 160, 2)
    with pytest.raises(MemoryError, match="160 and 160 points"):
        cloud_w1(x, y)
    assert cloud_w1(x[:150], y[:150]) > 0


@pytest.mark.parametrize(
    ("x", "y", "weights", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 3)), None, r"x is a cloud in R\^2, y one in R\^3"),
        (np.ones((0, 2)), np.ones((3, 2)), None, "x must have shape"),
        (np.ones((2, 2, 2)), np.ones((3, 2)), None, "x must have shape"),
        (np.ones((3, 2)), [[1.0, np.nan]], None, r"y\[0\] = .* is not finite"),
        (np.ones((3, 2)), np.ones((3, 2)), [1, 1], "2 weights for 3 points"),
        (np.ones((3, 2)), np.ones((3, 2)), [1, -1, 1], "must not be negative"),
        (np.ones((3, 2)), np.ones((3, 2)), [0, 0, 0], "sum must be positive"),
        (np.ones((3, 2)), np.ones((3, 2)), [0, np.inf, 0], r"x_weights\[1\] = inf"),
        ([[-1e308, 0.0]], [[1e308, 0.0]], None, "overflow"),
    ],
)
def test_what_is_no_pair_of_clouds(x: object, y: object, weights: object, message: str) -> None:
    with pytest.raises(MeasureError, match=message):
        cloud_w1(x, y, weights)
