import numpy as np
import pytest

from solvers.distributions import SampleVectors
from solvers.errors import DistributionError
from solvers.sampling import sample, uniforms

POINTS = np.random.default_rng(0).normal(size=(7, 3)) @ np.array([[1, 2, 0], [0, 1, 3], [0, 0, 1]])
LAW = SampleVectors(POINTS)


def test_mean_and_covariance_are_those_of_the_rows() -> None:
    assert (LAW.dimension, LAW.draws) == (3, 1)
    np.testing.assert_allclose(LAW.mean, POINTS.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(LAW.covariance, np.cov(POINTS.T, bias=True), rtol=1e-12, atol=1e-14)


def test_rows_are_drawn_as_they_are_and_equally_often() -> None:
    x = sample(LAW, 70_000, "iid", (1, 1))
    rows = np.argmin(np.abs(x[:, None, 0] - POINTS[:, 0]), axis=1)
    np.testing.assert_array_equal(x, POINTS[rows])
    np.testing.assert_array_equal(rows, np.floor(uniforms(70_000, (1, 1)) * 7))
    counts = np.bincount(rows, minlength=7)
    assert np.abs(counts - 10_000).max() < 4 * np.sqrt(10_000)


def test_sobol_points_draw_every_row_equally_often() -> None:
    law = SampleVectors(np.arange(16.0).reshape(8, 2))
    x = sample(law, 1024, "sobol", (1, 1))
    assert np.unique(x[:, 0], return_counts=True)[1].tolist() == [128] * 8


def test_the_last_row_is_the_last() -> None:
    for n in (3, 5, 7, 2**20 + 1):
        assert np.floor((1 - 2.0**-53) * n) == n - 1
    np.testing.assert_array_equal(LAW.from_uniforms(np.array([[1 - 2.0**-53]])), POINTS[-1:])


def test_the_data_are_copied_and_equal_ones_are_equal_keys() -> None:
    points = POINTS.copy()
    law = SampleVectors(points)
    points[0] = 99.0
    assert law == LAW
    assert hash(law) == hash(LAW)
    assert law != SampleVectors(POINTS[::-1])
    assert law != SampleVectors(POINTS.reshape(3, 7))


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([1.0, 2.0], "table"),
        (np.ones((0, 2)), "table"),
        (np.ones((5, 2)), "two distinct rows"),
        ([[1.0, np.nan], [1.0, 2.0]], "not finite"),
    ],
)
def test_invalid_data_are_refused(points: object, words: str) -> None:
    with pytest.raises(DistributionError, match=words):
        SampleVectors(points)
