import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from solvers.distributions import Beta, Normal, Product, SampleVectors, Uniform
from solvers.errors import InputError
from solvers.sampling import (
    SAMPLINGS,
    TILE,
    VECTOR_SAMPLINGS,
    sample,
    sobol,
    sorted_uniforms,
    uniforms,
)
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1


def test_a_particle_owns_a_counter_block() -> None:
    philox = np.random.Philox(counter=0, key=np.array([3, 7], dtype=np.uint64))
    raw = philox.random_raw(40)[::4]
    expected = ((raw >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52
    np.testing.assert_array_equal(uniforms(10, (3, 7)), expected)


def test_nested_in_m_and_across_tiles() -> None:
    many = uniforms(2 * TILE + 17, (0, 1))
    for count in (1, 2, 1000, TILE, TILE + 1):
        np.testing.assert_array_equal(uniforms(count, (0, 1)), many[:count])


def test_open_interval_and_independent_streams() -> None:
    u, v = uniforms(200000, (0, 0)), uniforms(200000, (0, 1))
    assert 0.0 < u.min() < u.max() < 1.0
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)
    assert abs(np.corrcoef(u, v)[0, 1]) < 4 / np.sqrt(u.size)
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / np.sqrt(u.size)


@pytest.mark.parametrize("law", [Uniform(-1, 2), Normal(0, 1), Beta(0.5, 2)])
def test_samples_are_sorted_and_nested(law: object) -> None:
    few, many = sample(law, 100, "iid", (1, 2)), sample(law, 200, "iid", (1, 2))
    assert np.all(np.diff(few) >= 0)
    assert np.isin(few, many).all()


def test_midpoint_quantiles() -> None:
    np.testing.assert_allclose(sample(Uniform(0, 1), 4, "quantile"), [0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize("particles", [0, -1, 1.5, True])
def test_particles_are_a_positive_integer(particles: object) -> None:
    with pytest.raises(InputError, match="particles"):
        uniforms(particles, (0, 0))


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="iid, quantile"):
        sample(Uniform(0, 1), 3, "halton")
    with pytest.raises(InputError, match="key"):
        uniforms(3, (-1, 0))


SQUARE = Product([Uniform(0, 1), Normal(0, 1)])


class TestDimensions:
    def test_a_block_has_four_dimensions(self) -> None:
        u = uniforms(5, (3, 7), 6)
        for block, columns in ((0, slice(0, 4)), (1, slice(4, 6))):
            philox = np.random.Philox(
                counter=[0, block, 0, 0], key=np.array([3, 7], dtype=np.uint64)
            )
            raw = philox.random_raw(20).reshape(5, 4)[:, : columns.stop - columns.start]
            expected = ((raw >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52
            np.testing.assert_array_equal(u[:, columns], expected)

    def test_nested_in_m_and_in_d(self) -> None:
        many = uniforms(TILE + 17, (0, 1), 9)
        for count, d in ((1, 1), (100, 4), (TILE, 5), (TILE + 1, 9)):
            np.testing.assert_array_equal(uniforms(count, (0, 1), d), many[:count, :d])
        np.testing.assert_array_equal(uniforms(TILE + 17, (0, 1)), many[:, 0])

    def test_dimensions_are_independent(self) -> None:
        u = uniforms(100_000, (5, 5), 6)
        assert np.abs(np.corrcoef(u.T) - np.eye(6)).max() < 4.5 / np.sqrt(100_000)
        for column in u.T:
            assert stats.kstest(column, "uniform").pvalue > 1e-4

    @pytest.mark.parametrize("sampling", VECTOR_SAMPLINGS)
    @pytest.mark.parametrize("law", [SQUARE, SampleVectors([[0.0, 1.0], [2.0, 3.0], [5.0, 4.0]])])
    def test_samples_are_nested(self, sampling: str, law: object) -> None:
        many = sample(law, 2 * TILE + 5, sampling, (2, 3))
        assert many.shape == (2 * TILE + 5, 2)
        for count in (1, 77, TILE + 1):
            np.testing.assert_array_equal(sample(law, count, sampling, (2, 3)), many[:count])

    @pytest.mark.parametrize("sampling", sorted(set(SAMPLINGS) - set(VECTOR_SAMPLINGS)))
    def test_what_needs_an_order_is_refused(self, sampling: str) -> None:
        with pytest.raises(InputError, match=f"'{sampling}' is one-dimensional.*iid or sobol"):
            sample(SQUARE, 10, sampling)


class TestSobol:
    def test_the_scrambling_is_the_key_and_nothing_else(self) -> None:
        many = sobol(2 * TILE + 3, (4, 1))
        for count in (1, 1000, TILE, TILE + 1):
            np.testing.assert_array_equal(sobol(count, (4, 1)), many[:count])
        for other in ((4, 2), (5, 1), (1, 4)):
            assert not np.isin(sobol(1000, other), many).any()
        assert 0.0 < many.min() < many.max() < 1.0
        assert np.unique(many).size == many.size

    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_one_point_in_each_dyadic_interval(self, d: int) -> None:
        u = sobol(1024, (0, 9), d)
        for column in u.T:
            for m in (1, 16, 64, 1024):
                counts = np.bincount((column[:m] * m).astype(int), minlength=m)
                assert counts.tolist() == [1] * m

    def test_discrepancy_is_far_below_that_of_random_points(self) -> None:
        found = qmc.discrepancy(sobol(1024, (1, 2), 3))
        assert found < 0.02 * qmc.discrepancy(uniforms(1024, (1, 2), 3))

    def test_w1_falls_like_one_over_m(self) -> None:
        law = PiecewiseLinearCdf([0.0, 1.0], [1.0])
        for m in (64, 1024, 2**14):
            found = [
                w1(PointMasses(sample(Uniform(0, 1), m, "sobol", (0, seed))), law)
                for seed in range(20)
            ]
            # one point uniformly distributed in each of m intervals: the mean of m W1 is 1/3
            assert m * np.mean(found) == pytest.approx(1 / 3, rel=0.1)

    def test_the_mean_over_scramblings_is_unbiased(self) -> None:
        found = [sobol(3, (8, seed)).mean() for seed in range(2000)]
        assert abs(np.mean(found) - 0.5) < 4 * np.std(found) / np.sqrt(2000)

    def test_a_billion_points_are_not_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """SciPy's default of 30 bits ends at 2^30 points; ours does not."""
        made = []
        original = qmc.Sobol.__init__

        def recording(self: qmc.Sobol, *arguments: object, **options: object) -> None:
            original(self, *arguments, **options)
            made.append(self)

        monkeypatch.setattr(qmc.Sobol, "__init__", recording)
        sobol(3, (0, 0))
        assert made[0].maxn >= 10**15

    def test_too_many_dimensions(self) -> None:
        with pytest.raises(InputError, match="at most 21201"):
            sobol(3, (0, 0), 30_000)


class TestSortedUniforms:
    def test_sums_of_exponentials(self) -> None:
        e = -np.log(uniforms(101, (6, 6)))
        expected = np.cumsum(e)[:-1] / e.sum()
        np.testing.assert_allclose(sorted_uniforms(100, (6, 6)), expected, rtol=1e-14)

    def test_sorted_inside_the_unit_interval_across_tiles(self) -> None:
        u = sorted_uniforms(3 * TILE + 7, (0, 0))
        assert 0.0 < u[0] <= u[-1] < 1.0
        assert np.all(np.diff(u) >= 0.0)
        e = -np.log(uniforms(3 * TILE + 8, (0, 0)))
        np.testing.assert_allclose(u, np.cumsum(e)[:-1] / e.sum(), rtol=1e-12)

    def test_each_has_the_law_of_an_order_statistic(self) -> None:
        draws = np.array([sorted_uniforms(9, (1, seed)) for seed in range(3000)])
        for k in range(9):
            assert stats.kstest(draws[:, k], stats.beta(k + 1, 9 - k).cdf).pvalue > 1e-4
        covariance = np.cov(draws.T)
        k = np.arange(1, 10)
        exact = np.minimum.outer(k, k) * (10 - np.maximum.outer(k, k)) / (100 * 11)
        np.testing.assert_allclose(covariance, exact, atol=4 * 0.025 / np.sqrt(3000))

    @pytest.mark.parametrize("particles", [1, 10, 200])
    def test_w1_has_the_law_of_independent_samples(self, particles: int) -> None:
        law = PiecewiseLinearCdf([0.0, 1.0], [1.0])
        found = [
            [
                w1(PointMasses(sample(Uniform(0, 1), particles, sampling, (1, seed))), law)
                for seed in range(1000)
            ]
            for sampling in ("iid", "iid-sorted")
        ]
        assert stats.ks_2samp(*found).pvalue > 1e-4

    def test_not_nested(self) -> None:
        few, many = sorted_uniforms(100, (0, 0)), sorted_uniforms(200, (0, 0))
        assert not np.isin(few, many).any()


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("law", [Uniform(-1, 2), Normal(0, 1), Beta(0.5, 2)])
def test_every_sampling_gives_sorted_finite_particles(sampling: str, law: object) -> None:
    x = sample(law, 1000, sampling, (1, 2))
    assert x.shape == (1000,)
    assert np.isfinite(x).all()
    assert np.all(np.diff(x) >= 0)
    assert abs(x.mean() - law.mean) < 4.5 * np.sqrt(law.variance / 1000)
