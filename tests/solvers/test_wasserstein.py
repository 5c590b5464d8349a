import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import wasserstein_distance

from solvers.absolute_cubic import absolute_difference
from solvers.distributions import Normal
from solvers.errors import MeasureError
from solvers.wasserstein import Measure, PiecewiseCdf, PiecewiseLinearCdf, PointMasses, w1

POINTS = st.lists(st.integers(-20, 20).map(lambda k: k / 4), min_size=1, max_size=30)
WEIGHTS = st.floats(1e-3, 5.0)


@st.composite
def weighted(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    points = np.array(draw(POINTS))
    weights = np.array(draw(st.lists(WEIGHTS, min_size=points.size, max_size=points.size)))
    return points, weights / weights.sum()


@settings(max_examples=200, deadline=None)
@given(weighted(), weighted())
def test_agrees_with_scipy_and_pot(mu: tuple, nu: tuple) -> None:
    value = w1(PointMasses(*mu), PointMasses(*nu))
    assert value == pytest.approx(wasserstein_distance(mu[0], nu[0], mu[1], nu[1]), abs=1e-12)
    assert value == pytest.approx(ot.wasserstein_1d(mu[0], nu[0], mu[1], nu[1], p=1), abs=1e-12)
    exact = ot.emd2_1d(mu[0], nu[0], mu[1], nu[1], metric="euclidean")
    assert value == pytest.approx(exact, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(POINTS, POINTS, st.floats(-5, 5), st.floats(0.1, 3))
def test_metric_properties(x: list[float], y: list[float], shift: float, scale: float) -> None:
    mu, nu = PointMasses(x), PointMasses(y)
    distance = w1(mu, nu)
    assert w1(nu, mu) == pytest.approx(distance, abs=1e-13)
    assert w1(mu, mu) == 0.0
    moved = w1(PointMasses(scale * np.array(x) + shift), PointMasses(scale * np.array(y) + shift))
    assert moved == pytest.approx(scale * distance, abs=1e-12)
    assert w1(mu, PointMasses(np.array(x) + 1.5)) == pytest.approx(1.5, abs=1e-12)


def test_large_samples_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=30011), rng.normal(0.01, 1, size=20000)
    assert w1(PointMasses(x), PointMasses(y)) == pytest.approx(
        wasserstein_distance(x, y), rel=1e-12
    )


def test_linear_cdf_of_averages() -> None:
    uniform = PiecewiseLinearCdf([0.0, 1.0], [1.0])
    assert w1(PointMasses([0.5]), uniform) == pytest.approx(0.25, rel=1e-15)
    assert w1(PointMasses([0.0]), uniform) == pytest.approx(0.5, rel=1e-15)
    m = 100
    midpoints = (np.arange(m) + 0.5) / m
    assert m * w1(PointMasses(midpoints), uniform) == pytest.approx(0.25, rel=1e-12)
    triangle = PiecewiseLinearCdf([0.0, 1.0, 2.0], cdf=[0.0, 0.25, 1.0])
    expected = quad(lambda x: abs(min(x, 1) - np.interp(x, [0, 1, 2], [0, 0.25, 1])), 0, 2)[0]
    assert w1(uniform, triangle) == pytest.approx(expected, rel=1e-12)


def test_averages_may_undershoot() -> None:
    edges = np.linspace(0, 1, 6)
    averages = np.array([-0.01, 1.26, 2.5, 1.26, -0.01])
    measure = PiecewiseLinearCdf(edges, averages)
    expected = quad(lambda x: float(measure.cdf(x)), 0, 0.5, points=edges[1:3])[0]
    expected = quad(lambda x: abs(float(measure.cdf(x))), 0, 0.5, limit=200)[0]
    upper = quad(lambda x: abs(1 - float(measure.cdf(x))), 0.5, 1, limit=200)[0]
    assert w1(measure, PointMasses([0.5])) == pytest.approx(expected + upper, rel=1e-8)


def cubic(law: Normal, count: int) -> PiecewiseCdf:
    x = np.linspace(*law.support(1e-16), count)
    values = law.cdf(x)
    values[[0, -1]] = 0.0, 1.0
    return PiecewiseCdf(x, values, law.pdf(x[:-1]), law.pdf(x[1:]))


def test_cubic_cdfs_of_two_normals() -> None:
    a, b = Normal(0.0, 1.0), Normal(0.3, 1.2)
    cross = -0.3 / 0.2
    f = lambda x: float(abs(a.cdf(x) - b.cdf(x)))  # noqa: E731
    expected = quad(f, -14, cross, epsabs=1e-14)[0] + quad(f, cross, 14, epsabs=1e-14)[0]
    assert w1(cubic(a, 3001), cubic(b, 2500)) == pytest.approx(expected, rel=1e-11)
    assert cubic(b, 2500).mean == pytest.approx(0.3, rel=1e-13)
    assert cubic(b, 2500).variance == pytest.approx(1.44, rel=1e-11)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_cubics_that_cross_often(seed: int) -> None:
    rng = np.random.default_rng(seed)
    measures: list[Measure] = []
    for _ in range(2):
        k = int(rng.integers(2, 7))
        x = np.cumsum(rng.random(k) * (rng.random(k) > 0.2)) + rng.normal() * 0.3
        values = np.append(np.sort(np.append(0.0, rng.random(k - 2))), 1.0)
        measures.append(PiecewiseCdf(x, values, rng.random(k - 1) * 3, rng.random(k - 1) * 3))
    knots = np.unique(np.concatenate([m.knots for m in measures]))
    low, high = knots[:-1, None], knots[1:, None]
    cells = 20000
    x = low + (high - low) * (np.arange(cells) + 0.5) / cells
    gap = np.abs(measures[0].cdf(x) - measures[1].cdf(x)).mean(axis=1)
    expected = float(gap @ np.diff(knots))
    assert w1(*measures) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_quantile_inverts() -> None:
    measure = cubic(Normal(1, 2), 500)
    u = np.linspace(0.001, 0.999, 99)
    np.testing.assert_allclose(measure.cdf(measure.quantile(u)), u, rtol=1e-13)


@pytest.mark.parametrize(
    "build",
    [
        lambda: PointMasses([]),
        lambda: PointMasses([1.0, np.nan]),
        lambda: PointMasses([1.0, np.inf]),
        lambda: PointMasses([[1.0, 2.0]]),
        lambda: PointMasses([1.0, 2.0], [1.0]),
        lambda: PointMasses([1.0, 2.0], [1.0, -0.1]),
        lambda: PointMasses([1.0, 2.0], [0.0, 0.0]),
        lambda: PointMasses([1.0, 2.0], [1.0, np.nan]),
        lambda: PointMasses([2.0, 1.0], sorted=True),
        lambda: PointMasses(["a"]),
        lambda: PiecewiseLinearCdf([0.0, 1.0], [0.9]),
        lambda: PiecewiseLinearCdf([0.0, 1.0], [1.0, 1.0]),
        lambda: PiecewiseLinearCdf([1.0, 0.0], [1.0]),
        lambda: PiecewiseLinearCdf([0.0, 1.0]),
        lambda: PiecewiseLinearCdf([0.0, 1.0], cdf=[0.5, 1.0]),
        lambda: PiecewiseLinearCdf([0.0, 1.0, 2.0], cdf=[0.0, 1.5, 1.0]),
        lambda: PiecewiseLinearCdf([0.0, 1.0], [np.nan]),
        lambda: PiecewiseCdf([0.0, 1.0], [0.0, 0.5], [1.0], [1.0]),
        lambda: PiecewiseCdf([1.0, 0.0], [0.0, 1.0], [1.0], [1.0]),
    ],
)
def test_no_measures(build: object) -> None:
    with pytest.raises(MeasureError):
        build()


def test_unequal_masses_are_refused() -> None:
    with pytest.raises(MeasureError, match="differ"):
        w1(PointMasses([1.0, 2.0], [1.0, 1.0]), PointMasses([1.0]))
    assert w1(PointMasses([1.0, 2.0], [3.0, 1.0]), PointMasses([1.0], [4.0])) == 0.25


@pytest.mark.parametrize("sizes", [(1, 1), (2, 3), (40, 40), (1000, 700)])
def test_sweeps_for_samples_have_the_bits_of_the_general_one(sizes: tuple[int, int]) -> None:
    def general(mu: Measure, nu: Measure) -> float:
        f, g = ((law.knots, law.right, law.coefficients) for law in (mu, nu))
        return float(absolute_difference(*f, *g))

    random = np.random.default_rng(sizes)
    edges = np.linspace(-2.0, 2.0, 12)
    masses = random.random(11) / np.diff(edges)
    linear = PiecewiseLinearCdf(edges, masses / (masses @ np.diff(edges)))
    cubic = PiecewiseCdf(edges, linear.cdf(edges), np.zeros(11), np.zeros(11))
    shares = random.random(12)
    uneven = PointMasses(edges, shares / shares.sum())
    for digits in (1, 12):  # many ties, and none
        x, y = (PointMasses(np.round(random.normal(size=size), digits)) for size in sizes)
        assert w1(x, y) == general(x, y)
        for law in (linear, cubic, uneven):
            assert w1(x, law) == general(x, law) == w1(law, x) == general(law, x)


def test_sorted_points_are_not_copied() -> None:
    points = np.array([0.0, 1.0, 3.0])
    assert PointMasses(points, sorted=True).knots is points
    assert not np.shares_memory(PointMasses(points).knots, points)
