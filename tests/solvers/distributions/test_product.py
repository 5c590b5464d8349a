import numpy as np
import pytest
from scipy import stats

from solvers.distributions import Affine, Beta, Mixture, Normal, Product, Uniform
from solvers.errors import DistributionError
from solvers.sampling import sample, uniforms

LAW = Product([Normal(1, 2), Beta(2, 5), Mixture([1, 1], [Uniform(0, 1), Uniform(2, 3)])])


def test_mean_and_covariance() -> None:
    assert LAW.dimension == LAW.draws == 3
    np.testing.assert_allclose(LAW.mean, [1, 2 / 7, 1.5], rtol=1e-14)
    np.testing.assert_allclose(LAW.covariance, np.diag([4, 10 / 392, 13 / 12]), rtol=1e-14)


def test_columns_are_the_quantiles_of_columns() -> None:
    x = sample(LAW, 1000, "iid", (3, 4))
    u = uniforms(1000, (3, 4), 3)
    for j, law in enumerate(LAW.components):
        np.testing.assert_array_equal(x[:, j], law.quantile(u[:, j]))


@pytest.mark.parametrize("sampling", ["iid", "sobol"])
def test_moments_and_marginals_of_samples(sampling: str) -> None:
    x = sample(LAW, 2**14, sampling, (0, 5))
    error = np.sqrt(np.diag(LAW.covariance) / 2**14)
    assert np.all(np.abs(x.mean(axis=0) - LAW.mean) < 4 * error)
    correlation = np.corrcoef(x.T) - np.eye(3)
    assert np.abs(correlation).max() < 4 / np.sqrt(2**14)
    for j, law in enumerate(LAW.components):
        assert stats.kstest(x[:, j], law.cdf).pvalue > 1e-4


def test_one_component_gives_one_column() -> None:
    x = sample(Product([Uniform(0, 1)]), 10, "iid", (0, 0))
    np.testing.assert_array_equal(x[:, 0], uniforms(10, (0, 0)))


def test_equal_ones_are_equal_keys() -> None:
    a = Product([Affine(Normal(0, 1), 2, 1), Uniform(0, 1)])
    b = Product((Affine(Normal(0, 1), 2, 1), Uniform(0, 1)))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Product(a.components[::-1])


@pytest.mark.parametrize(("parts", "words"), [([], "at least one"), ([1.0], "not a distribution")])
def test_invalid_components_are_named(parts: list, words: str) -> None:
    with pytest.raises(DistributionError, match=words):
        Product(parts)
