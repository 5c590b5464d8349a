import numpy as np
import pytest

from pipeline.expected_rates import expected_rate, expected_sliced_rate, upper_bound_rate
from solvers.optimal_transport import cloud_w1
from solvers.sampling import sobol, uniforms
from solvers.sliced_wasserstein import sliced_w1
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1

DRAW = {"iid": uniforms, "sobol": sobol}
OTHER = 1 << 63
SIZES = np.array([64, 256, 1024])


def slope(distances: list[list[float]], sizes: np.ndarray = SIZES) -> float:
    return float(np.polyfit(np.log(sizes), np.log(np.mean(distances, axis=1)), 1)[0])


def clouds(sampling: str, dimension: int, points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = DRAW[sampling]
    return draw(points, (7, seed), dimension), draw(points, (7, seed ^ OTHER), dimension)


@pytest.mark.parametrize(
    ("sampling", "dimension"),
    [("iid", 1), ("iid", 3), ("sobol", 1), ("sobol", 2), ("sobol", 3)],
)
def test_uniform_clouds_fall_at_the_expected_rate(sampling: str, dimension: int) -> None:
    seeds = range(400 if dimension == 1 else 24)  # on the line they scatter more
    distances = [[cloud_w1(*clouds(sampling, dimension, m, seed)) for seed in seeds] for m in SIZES]
    assert slope(distances) == pytest.approx(expected_rate(sampling, dimension, SIZES), abs=0.05)


def test_in_the_plane_there_is_a_logarithm() -> None:
    """M W1² grows like log M, and the exponent lies between -1/2 and that of sqrt(log M / M)."""
    distances = [[cloud_w1(*clouds("iid", 2, m, seed)) for seed in range(48)] for m in SIZES]
    assert (
        -0.485 < slope(distances) < expected_rate("iid", 2, SIZES) == pytest.approx(-0.41, abs=0.01)
    )
    scaled = SIZES * np.mean(distances, axis=1) ** 2
    growth = np.diff(scaled) / np.log(4)
    assert (growth > 0.05).all()
    assert growth[1] == pytest.approx(growth[0], rel=0.3)


@pytest.mark.parametrize("dimension", [2, 3, 4])
@pytest.mark.parametrize("sampling", DRAW)
def test_sliced_distances_fall_at_the_expected_rate(sampling: str, dimension: int) -> None:
    sizes = np.array([64, 1024, 8192])
    distances = [
        [sliced_w1(*clouds(sampling, dimension, m, s), 32, (1, s)).distance for s in range(24)]
        for m in sizes
    ]
    expected = expected_sliced_rate(sampling, dimension)
    assert slope(distances, sizes) == pytest.approx(expected, abs=0.04)


def test_midpoints_of_quantiles() -> None:
    law = PiecewiseLinearCdf([0.0, 1.0], [1.0])
    distances = [[w1(PointMasses((np.arange(m) + 0.5) / m), law)] for m in SIZES]
    assert slope(distances) == pytest.approx(expected_rate("quantile", 1, SIZES), abs=1e-9)
    assert expected_sliced_rate("quantile", 1) == -1.0


def test_logarithms_fade_and_the_bound_is_above() -> None:
    local = [expected_rate("iid", 2, [m, 2 * m]) for m in (1e2, 1e4, 1e8)]
    exact = [-0.5 + 0.5 / np.log(m) for m in (1e2, 1e4, 1e8)]
    np.testing.assert_allclose(local, exact, atol=0.01)
    assert expected_rate("iid", 2, [1, 10, 100]) == expected_rate("iid", 2, [10, 100])
    assert np.isnan(expected_rate("iid", 2, [100]))
    assert upper_bound_rate(2, SIZES) > expected_rate("iid", 2, SIZES)
    for dimension, rate in ((1, -1 / 2), (3, -1 / 3), (5, -1 / 5)):
        assert expected_rate("iid-sorted", dimension, SIZES) == rate
        assert upper_bound_rate(dimension, SIZES) == rate
