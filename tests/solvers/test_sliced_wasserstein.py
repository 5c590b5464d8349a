import numpy as np
import ot
import pytest
from scipy.special import gamma

from solvers.errors import InputError, MeasureError, PointTimeoutError
from solvers.optimal_transport import cloud_w1
from solvers.sampling import uniforms
from solvers.sliced_wasserstein import directions, sliced_w1

KEYS = [(5, seed) for seed in range(400)]


def cloud(seed: int, points: int, dimension: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimension))


def mean_component(dimension: int) -> float:
    """E|theta_1| of a uniform unit vector."""
    return float(gamma(dimension / 2) / (np.sqrt(np.pi) * gamma((dimension + 1) / 2)))


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_directions_are_uniform(dimension: int) -> None:
    theta = directions(100_000, dimension, (0, 0))
    np.testing.assert_allclose((theta**2).sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.abs(theta).mean(axis=0), mean_component(dimension), rtol=0.01)
    np.testing.assert_allclose(theta.T @ theta / 1e5, np.eye(dimension) / dimension, atol=3e-3)
    np.testing.assert_array_equal(directions(50, dimension, (0, 0)), theta[:50])


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_translations(dimension: int) -> None:
    """Every projection is the shift's, so SW1 is the mean of |<theta, shift>|."""
    x, shift = cloud(0, 50, dimension), np.arange(1.0, dimension + 1.0)
    found = sliced_w1(x, x + shift, 20_000)
    exact = mean_component(dimension) * np.linalg.norm(shift)
    assert found.distance == pytest.approx(exact, abs=3 * found.error)
    assert found.error < 0.01 * exact
    expected = np.abs(directions(20_000, dimension, (0, 0)) @ shift)
    assert found.distance == pytest.approx(expected.mean(), rel=1e-12)
    assert found.error == pytest.approx(expected.std(ddof=1) / np.sqrt(20_000), rel=1e-12)


@pytest.mark.parametrize("dimension", [2, 3])
def test_scaled_isotropic_gaussians(dimension: int) -> None:
    """Projections of s N(0, I) are s N(0, 1): W1 = |s - r| sqrt(2/pi) along every direction."""
    x = cloud(0, 40_000, dimension)
    found = sliced_w1(x, 1.5 * x, 200)
    assert found.distance == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.01)
    assert found.error < 0.001 * found.distance


@pytest.mark.parametrize(("dimension", "points"), [(2, 60), (3, 60), (3, 200)])
def test_against_pot_with_its_own_directions(dimension: int, points: int) -> None:
    x, y = cloud(0, points, dimension), cloud(1, 60, dimension) + 0.3
    theta = directions(64, dimension, (3, 4)).T
    oracle = ot.sliced_wasserstein_distance(x, y, p=1, projections=theta)
    assert sliced_w1(x, y, 64, (3, 4)).distance == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_standard_error_is_that_of_the_projections(dimension: int) -> None:
    """It falls like L^(-1/2), and intervals of 1.96 of it hold the limit about 95 times in 100."""
    x, y = cloud(0, 40, dimension) * np.arange(1, dimension + 1), cloud(1, 40, dimension)
    truth = sliced_w1(x, y, 100_000).distance
    spread = []
    for projections in (32, 128):
        found = np.array([sliced_w1(x, y, projections, key) for key in KEYS])
        distance, error = found[:, 0], found[:, 1]
        spread.append(distance.std())
        assert np.sqrt((error**2).mean()) == pytest.approx(distance.std(), rel=0.12)
        covered = (np.abs(distance - truth) <= 1.96 * error).mean()
        assert 0.92 <= covered <= 0.98
    assert np.log2(spread[1] / spread[0]) / 2 == pytest.approx(-0.5, abs=0.1)


@pytest.mark.parametrize("dimension", [2, 3])
def test_at_most_the_exact_distance_times_its_constant(dimension: int) -> None:
    for seed in range(10):
        x, y = cloud(seed, 80, dimension), cloud(seed + 100, 80, dimension) ** 2
        found = sliced_w1(x, y, 500)
        bound = mean_component(dimension) * cloud_w1(x, y)
        assert 0 < found.distance <= bound + 3 * found.error


@pytest.mark.parametrize("dimension", [2, 3])
def test_two_samples_fall_like_the_root(dimension: int) -> None:
    sizes = [100, 1600, 25600]
    means = []
    for points in sizes:
        pairs = [
            (uniforms(points, (1, s), dimension), uniforms(points, (2, s), dimension))
            for s in range(12)
        ]
        means.append(np.mean([sliced_w1(x, y, 64, (3, s))[0] for s, (x, y) in enumerate(pairs)]))
    slope = np.polyfit(np.log(sizes), np.log(means), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.03)


def test_on_the_line_it_is_exact() -> None:
    x, y = cloud(0, 50, 1), cloud(1, 30, 1)
    assert sliced_w1(x, y) == pytest.approx((cloud_w1(x, y), 0.0), rel=1e-13)
    assert sliced_w1(x, x[:, ::-1] + 2.0) == pytest.approx((2.0, 0.0), rel=1e-13)
    assert sliced_w1(x[:, 0], y[:, 0]) == sliced_w1(x, y)


def test_it_can_be_stopped() -> None:
    def stop() -> None:
        raise PointTimeoutError("stop")

    with pytest.raises(PointTimeoutError):
        sliced_w1(cloud(0, 5, 2), cloud(1, 5, 2), poll=stop)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        sliced_w1(cloud(0, 5, 2), cloud(1, 5, 2), 1)
    with pytest.raises(MeasureError, match=r"R\^2, y one in R\^3"):
        sliced_w1(cloud(0, 5, 2), cloud(1, 5, 3))
