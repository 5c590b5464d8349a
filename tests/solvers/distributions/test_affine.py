import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from solvers.distributions import Affine, Beta, Distribution, Mixture, Normal, Samples, Uniform
from solvers.errors import DistributionError

ORACLES: list[tuple[Distribution, object]] = [
    (Affine(Uniform(0, 1), -3.0, 1.0), stats.uniform(-2, 3)),
    (Affine(Normal(1.0, 2.0), -0.5, 4.0), stats.norm(3.5, 1.0)),
    (Affine(Normal(0, 1), 1e-3, 7), stats.norm(7, 1e-3)),
    (Affine(Beta(2, 5), -4, 1), stats.beta(5, 2, -3, 4)),
    (Affine(Beta(0.5, 1.5), 3, -1), stats.beta(0.5, 1.5, -1, 3)),
]


@pytest.mark.parametrize(("law", "oracle"), ORACLES)
def test_agrees_with_scipy(law: Distribution, oracle: stats.rv_continuous) -> None:
    x = np.linspace(*oracle.ppf([1e-9, 1 - 1e-9]), 301)[1:-1]
    np.testing.assert_allclose(law.pdf(x), oracle.pdf(x), rtol=1e-11)
    np.testing.assert_allclose(law.cdf(x), oracle.cdf(x), rtol=1e-11)
    np.testing.assert_allclose(law.sf(x), oracle.sf(x), rtol=1e-11)
    u = np.linspace(0.001, 0.999, 99)
    np.testing.assert_allclose(law.quantile(u), oracle.ppf(u), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(law.isf(u), oracle.isf(u), rtol=1e-12, atol=1e-14)
    assert law.mean == pytest.approx(oracle.mean(), rel=1e-14)
    assert law.variance == pytest.approx(oracle.var(), rel=1e-14)


SCALES = st.floats(0.01, 100).map(lambda a: round(a, 3)).flatmap(lambda a: st.sampled_from([a, -a]))
SHIFTS = st.floats(-100, 100).map(lambda c: round(c, 3))
LAWS: list[Distribution] = [
    Uniform(-0.3, 0.7),
    Beta(2, 0.5, -1, 3),
    Samples([1.0, 2.0, 2.0, 5.0, 5.5]),
    Mixture([1, 2], [Uniform(0, 1), Beta(2, 5, 3, 4)]),
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(LAWS), SCALES, SHIFTS)
def test_ends_and_breakpoints_are_exact(law: Distribution, scale: float, shift: float) -> None:
    image = Affine(law, scale, shift)
    points = image.breakpoints()
    low, high = image.support()
    assert (points[0], points[-1]) == (low, high)
    assert image.quantile([0.0, 1.0]).tolist() == [low, high]
    assert image.isf([1.0, 0.0]).tolist() == [low, high]
    assert image.cdf([low, high]).tolist() == [0.0, 1.0]
    assert image.sf([low, high]).tolist() == [1.0, 0.0]
    outside = np.array([np.nextafter(low, -np.inf), np.nextafter(high, np.inf)])
    assert image.pdf(outside).tolist() == [0.0, 0.0]
    back = law.breakpoints()[:: int(np.sign(scale))]
    original = law.cdf(back) if scale > 0 else law.sf(back)
    np.testing.assert_array_equal(image.cdf(points), original)
    for side in (-np.inf, np.inf):
        near = law.pdf(np.nextafter(back, side * np.sign(scale)))
        found = image.pdf(np.nextafter(points, side))
        np.testing.assert_array_equal(found > 0, near > 0)
        if isinstance(law, (Uniform, Samples)):
            np.testing.assert_array_equal(found, near / abs(scale))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(LAWS), SCALES, SHIFTS, st.lists(st.floats(0.001, 0.999), min_size=1))
def test_quantile_inverts_cdf(law: Distribution, scale: float, shift: float, u: list) -> None:
    image = Affine(law, scale, shift)
    for function, inverse in ((image.cdf, image.quantile), (image.sf, image.isf)):
        x = inverse(u)
        ends = [law.quantile(0), law.quantile(1)]
        rounding = 4e-16 * (abs(shift) + np.abs(scale * np.array(ends)).max()) * image.pdf(x)
        assert np.all(np.abs(function(x) - u) <= 1e-14 + rounding)


@given(SCALES, SHIFTS, SCALES, SHIFTS)
def test_nested_ones_collapse(a: float, b: float, c: float, d: float) -> None:
    twice = Affine(Affine(Normal(1, 2), a, b), c, d)
    once = Affine(Normal(1, 2), c * a, c * b + d)
    assert twice == once
    assert hash(twice) == hash(once)
    assert isinstance(twice.of, Normal)


def test_a_gap_is_mirrored() -> None:
    law = Affine(Mixture([1, 3], [Uniform(0, 1), Uniform(2, 3)]), -1, 0)
    assert law.quantile(0.75) == -2.0  # the least x with cdf(x) >= 3/4
    assert law.isf(0.25) == -1.0  # the greatest x with sf(x) >= 1/4
    np.testing.assert_array_equal(law.cdf([-2, -1.5, -1]), [0.75, 0.75, 0.75])


@pytest.mark.parametrize(
    ("of", "scale", "shift", "words"),
    [
        (Uniform(0, 1), 0.0, 1.0, "must not be 0"),
        (Uniform(0, 1), 1e-200, 1.0, "square"),
        (Uniform(0, 1), np.inf, 1.0, "scale = inf"),
        (Uniform(0, 1), 1.0, "a", "shift must be a number"),
        (Uniform(0, 1), 1e-20, 1.0, "told apart"),
        (Affine(Uniform(0, 1), 1e150, 0), 1e150, 0.0, "infinite"),
        (1.0, 1.0, 1.0, "not a distribution"),
    ],
)
def test_invalid_parameters_are_named(of: object, scale: float, shift: float, words: str) -> None:
    with pytest.raises(DistributionError, match=words):
        Affine(of, scale, shift)
