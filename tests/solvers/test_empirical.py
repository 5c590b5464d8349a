import numpy as np
import pytest
from scipy.stats import binom

from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.distributions import Beta, Distribution, Normal, Uniform
from solvers.empirical import asymptotic_prefactor, expected_w1, mean_deviation
from solvers.errors import InputError
from solvers.sampling import sample
from solvers.wasserstein import PointMasses, w1

LAWS = [Uniform(-0.5, 1.5), Normal(1, 0.1), Beta(2, 5), Beta(0.5, 0.5)]
STILL = Controls.of(0, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 77, 1000])
def test_de_moivre_against_the_sum(count: int) -> None:
    p = np.array([1e-9, 1e-3, 0.1, 1 / 3, 0.5, 0.77, 0.999, 1 - 1e-7])
    k = np.arange(count + 1)
    expected = [np.dot(binom.pmf(k, count, q), np.abs(k / count - q)) for q in p]
    np.testing.assert_allclose(mean_deviation(count, p), expected, rtol=1e-11)
    np.testing.assert_array_equal(mean_deviation(count, np.array([0.0, 1.0])), [0.0, 0.0])


def test_large_counts_do_not_lose_digits() -> None:
    p = np.array([1e-6, 0.01, 0.3, 0.5, 0.9])
    m = np.floor(10**8 * p) + 1
    expected = 2 * (1 - p) * m / 10**8 * binom.pmf(m, 10**8, p)
    np.testing.assert_allclose(mean_deviation(10**8, p), expected, rtol=1e-10)


def test_uniform_in_closed_form() -> None:
    assert expected_w1(Uniform(0, 1), 1) == pytest.approx(1 / 3, rel=1e-14)
    prefactor = np.sqrt(2 / np.pi) * np.pi / 8
    assert asymptotic_prefactor(Uniform(0, 1)) == pytest.approx(prefactor, rel=1e-12)
    assert expected_w1(Normal(0, 1), 1) == pytest.approx(2 / np.sqrt(np.pi), rel=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_tends_to_the_asymptotic_law(law: Distribution) -> None:
    ratios = [
        expected_w1(law, m) * np.sqrt(m) / asymptotic_prefactor(law) for m in (10**2, 10**4, 10**6)
    ]
    off = np.abs(np.array(ratios) - 1)
    assert off[0] > off[1] > off[2]
    assert off[2] < 2e-4
    near = expected_w1(law, 20000) / expected_w1(law, 20001)
    assert near == pytest.approx(np.sqrt(20001 / 20000), rel=2e-6)


@pytest.mark.parametrize("law", LAWS[:3])
@pytest.mark.parametrize("particles", [10, 1000])
def test_mean_over_seeds_is_within_four_standard_errors(law: Distribution, particles: int) -> None:
    exact = reference(law, ACTIVATIONS["identity"], STILL, [0.0]).measure(0)
    seeds = 300
    found = [
        w1(PointMasses(sample(law, particles, "iid", (11, seed)), sorted=True), exact)
        for seed in range(seeds)
    ]
    error = np.std(found) / np.sqrt(seeds)
    assert abs(np.mean(found) - expected_w1(law, particles)) < 4 * error


def test_a_snapshot_is_a_law_too() -> None:
    controls = Controls.of(1.0, 2.0)
    exact = reference(Normal(0, 1), ACTIVATIONS["identity"], controls, [1.0]).measure(0)
    assert expected_w1(exact, 50) == pytest.approx(np.e * expected_w1(Normal(0, 1), 50), rel=1e-10)
    prefactor = np.e * asymptotic_prefactor(Normal(0, 1))
    assert asymptotic_prefactor(exact) == pytest.approx(prefactor, rel=1e-7)


@pytest.mark.parametrize(("law", "share"), [(Uniform(-0.5, 1.5), 1e-9), (Beta(2, 5), 0.1)])
def test_midpoint_quantiles_on_a_compact_support(law: Distribution, share: float) -> None:
    """M W1 tends to a quarter of the support, slowly where the density vanishes."""
    low, high = law.support()
    exact = reference(law, ACTIVATIONS["identity"], STILL, [0.0]).measure(0)
    scaled = [m * w1(PointMasses(sample(law, m, "quantile")), exact) for m in (100, 1000, 10000)]
    off = np.abs(np.array(scaled) / ((high - low) / 4) - 1)
    assert off[2] < share
    assert np.all(np.diff(off) <= 1e-9)


def test_bad_count() -> None:
    with pytest.raises(InputError):
        expected_w1(Uniform(0, 1), 0)
