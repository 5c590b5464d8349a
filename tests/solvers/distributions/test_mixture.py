import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq

from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.distributions import Affine, Beta, Distribution, Mixture, Normal, Samples, Uniform
from solvers.empirical import asymptotic_prefactor, expected_w1, mean_deviation
from solvers.errors import DistributionError, MassLostError
from solvers.sampling import sample
from solvers.time_grid import time_grid
from solvers.transport import automatic_domain, solve_transport
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1

GAP = Mixture([1, 3], [Uniform(-2, -1), Uniform(1, 1.5)])
LAWS: dict[str, Mixture] = {
    "gap": GAP,
    "three pieces": Mixture([1, 1, 2], [Beta(0.5, 0.5, -3, -2), Beta(2, 5), Beta(0.5, 3, 1.2, 5)]),
    "overlap": Mixture([0.5, 0.5], [Beta(0.5, 0.5, -1, 1), Normal(0.2, 1)]),
    "narrow": Mixture([1, 1, 1], [Normal(-10, 1e-3), Normal(0.37, 1e-3), Normal(10, 1e-3)]),
    "nested": Mixture([1, 1], [Affine(GAP, -0.3, 9.0), Samples([5.0, 6.0, 8.0, 8.0])]),
    "one": Mixture([7], [Normal(1, 2)]),
}
EVERY = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
COMPONENTS = st.one_of(
    st.builds(
        lambda a, h: Uniform(a, a + h), st.floats(-5, 5), st.sampled_from([0.01, 0.5, 1.0, 7.0])
    ),
    st.builds(Normal, st.floats(-5, 5), st.sampled_from([0.01, 1.0, 10.0])),
    st.builds(
        lambda a, b, c: Beta(a, b, c, c + 1.0),
        st.sampled_from([0.3, 1.0, 4.0]),
        st.sampled_from([0.3, 1.0, 4.0]),
        st.floats(-5, 5),
    ),
)
MIXTURES = st.lists(
    st.tuples(st.sampled_from([1e-6, 0.1, 1.0, 3.0]), COMPONENTS), min_size=1, max_size=4
).map(lambda pairs: Mixture(*zip(*pairs, strict=True)))
LEVELS = np.concatenate([10.0 ** -np.arange(1.0, 17.0), np.linspace(0.001, 0.999, 997)])


def test_agrees_with_scipy() -> None:
    law = Mixture([2, 6], [Normal(0, 1), Beta(2, 5, 1, 4)])
    parts = [(0.25, stats.norm(0, 1)), (0.75, stats.beta(2, 5, 1, 3))]
    x = np.linspace(-8, 8, 401)
    for name in ("pdf", "cdf", "sf"):
        expected = sum(weight * getattr(part, name)(x) for weight, part in parts)
        np.testing.assert_allclose(getattr(law, name)(x), expected, rtol=2e-13)
    mean = sum(weight * part.mean() for weight, part in parts)
    second = sum(weight * part.moment(2) for weight, part in parts)
    assert law.mean == pytest.approx(mean, rel=1e-14)
    assert law.variance == pytest.approx(second - mean**2, rel=1e-13)
    for u in (1e-12, 0.01, 0.25, 0.5, 0.99):
        root = brentq(lambda y, u=u: float(law.cdf(y)) - u, -9, 9, xtol=1e-15, rtol=1e-14)
        assert law.quantile(u) == pytest.approx(root, rel=1e-10)


@EVERY
def test_moments_are_those_of_the_density(law: Mixture) -> None:
    u, weights = np.polynomial.legendre.leggauss(40)
    ends = np.unique(np.concatenate([law.breakpoints(), law.landmarks()]))
    ends = np.unique([np.linspace(a, b, 9) for a, b in itertools.pairwise(ends)])
    half = 0.5 * np.diff(ends)[:, None]
    x = ends[:-1, None] + half * (1 + u)
    mass = law.cell_averages(ends) * np.diff(ends)
    density = law.pdf(x) * half * weights
    density *= (mass / np.maximum(density.sum(axis=1), 1e-300))[:, None]  # singular ends
    assert (density * x).sum() == pytest.approx(law.mean, rel=2e-3, abs=1e-10)
    assert (density * (x - law.mean) ** 2).sum() == pytest.approx(law.variance, rel=2e-3)


@settings(max_examples=150, deadline=None)
@given(MIXTURES)
def test_quantile_inverts_cdf_to_rounding(law: Mixture) -> None:
    """To rounding of u or the mass between neighbouring x; SciPy's beta is off by 10 units."""
    for inverse, function in ((law.quantile, law.cdf), (law.isf, law.sf)):
        x = inverse(LEVELS)
        above, below = np.nextafter(x, np.inf), np.nextafter(x, -np.inf)
        step = np.abs(function(above) - function(below))
        step += 2.0**-52 * law.pdf(x) * (5 + np.abs(x))  # components are placed within ±5
        assert np.all(np.abs(function(x) - LEVELS) <= 16 * 2.0**-53 * LEVELS + 2 * step)
        assert np.all(np.diff(inverse(np.sort(LEVELS))) * (1 if function == law.cdf else -1) >= 0)


@settings(max_examples=100, deadline=None)
@given(MIXTURES)
def test_edges_are_exact(law: Mixture) -> None:
    points = law.breakpoints()
    for function, inverse in ((law.cdf, law.quantile), (law.sf, law.isf)):
        values = function(points)
        inside = (values > 0) & (values < 1)
        found = inverse(values[inside])
        assert np.all(np.isin(found, points[inside]))  # the other end of a gap has the same value
        np.testing.assert_array_equal(function(found), values[inside])
    if law.is_compact:
        low, high = law.support()
        assert law.cdf([low, high]).tolist() == [0.0, 1.0]
        assert law.sf([low, high]).tolist() == [1.0, 0.0]
        assert law.quantile(0.0) == low
        assert law.cdf(law.quantile(1.0)) == 1.0


def test_the_quantile_jumps_over_a_gap() -> None:
    after = np.nextafter(0.25, 1)
    assert GAP.quantile([0.25, after]).tolist() == pytest.approx([-1.0, 1.0], abs=1e-15)
    assert GAP.quantile(0.25) == -1.0
    assert GAP.isf(0.75) == 1.0  # the greatest x with sf(x) >= 3/4
    np.testing.assert_array_equal(GAP.pdf([-0.999, 0.0, 0.999]), 0.0)
    np.testing.assert_array_equal(GAP.cdf([-1, 0, 1]), 0.25)
    np.testing.assert_array_equal(GAP.cell_averages([-1, 0, 1]), 0.0)


def test_tails_do_not_cancel() -> None:
    law = Mixture([1, 1e-12], [Normal(0, 1), Normal(30, 1)])
    assert law.sf(35.0) == pytest.approx(1e-12 * stats.norm.sf(5), rel=1e-11)
    assert law.isf(1e-18) == pytest.approx(30 + stats.norm.isf(1e-6), rel=1e-11)
    assert law.quantile(1e-30) == pytest.approx(stats.norm.ppf(1e-30), rel=1e-11)


def test_shapes_and_what_is_no_probability() -> None:
    assert GAP.quantile(0.5).shape == ()
    assert GAP.quantile(np.full((2, 3), 0.5)).shape == (2, 3)
    assert np.isnan(GAP.quantile([-0.1, 1.1, np.nan])).all()
    unbounded = Mixture([1, 1], [Normal(0, 1), Uniform(0, 1)])
    assert unbounded.quantile([0.0, 1.0]).tolist() == [-np.inf, np.inf]
    assert not unbounded.is_compact


def test_equal_ones_are_equal_keys() -> None:
    a = Mixture([1, 3], [Uniform(0, 1), Normal(0, 1)])
    b = Mixture((0.25, 0.75), (Uniform(0, 1), Normal(0, 1)))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Mixture([3, 1], a.components)
    assert sum(Mixture([1, 1, 1], [Normal(0, 1)] * 3).weights) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("weights", "components", "words"),
    [
        ([], [], "at least one"),
        ([1], [Uniform(0, 1), Uniform(1, 2)], "1 weights for 2 components"),
        ([1, 0], [Uniform(0, 1), Uniform(1, 2)], r"weights\[1\] = 0.0 must be positive"),
        ([1, np.nan], [Uniform(0, 1), Uniform(1, 2)], r"weights\[1\] = nan"),
        ([1], ["uniform"], "not a distribution"),
    ],
)
def test_invalid_parameters_are_named(weights: list, components: list, words: str) -> None:
    with pytest.raises(DistributionError, match=words):
        Mixture(weights, components)


def fine_quadrature(law: Distribution, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes between all kinks of E|Bin/M - F|, graded to both ends of each piece."""
    parts = [law.breakpoints(), law.landmarks(), law.quantile(np.arange(1, count) / count)]
    ends = np.unique(np.concatenate(parts))
    shares = 2.0 ** -np.arange(1, 60)
    width = np.diff(ends)[:, None]
    graded = [(ends[:-1, None] + width * shares).ravel(), (ends[1:, None] - width * shares).ravel()]
    ends = np.unique(np.concatenate([ends, *graded]))
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half = 0.5 * np.diff(ends)[:, None]
    return (ends[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()


@EVERY
def test_expected_w1(law: Mixture) -> None:
    """From the law itself and from the reference's table of it."""
    start = reference(law, ACTIVATIONS["identity"], Controls.of(0, 0), [0.0]).measure(0)
    for count in (3, 40):
        x, weights = fine_quadrature(law, count)
        expected = float(weights @ mean_deviation(count, law.cdf(x)))
        assert expected_w1(law, count) == pytest.approx(expected, rel=1e-10)
        assert expected_w1(start, count) == pytest.approx(expected, rel=1e-8)
    f = np.clip(law.cdf(x), 0, 1)
    expected = float(np.sqrt(2 / np.pi) * weights @ np.sqrt(f * (1 - f)))
    assert asymptotic_prefactor(law) == pytest.approx(expected, rel=1e-8)
    assert asymptotic_prefactor(start) == pytest.approx(expected, rel=2e-7)


def test_two_uniforms_in_closed_form() -> None:
    """One sample: E W1 = int 2 F (1 - F) dx, the gap included."""
    left = 0.25 / 2 - 1 / 16 / 3
    gap = 2 * 0.25 * 0.75
    right = 0.5 * (0.75 / 2 - 9 / 16 / 3)
    assert expected_w1(GAP, 1) == pytest.approx(2 * (left + gap + right), rel=1e-13)


@EVERY
def test_the_reference_is_right_across_gaps(law: Mixture) -> None:
    """For the identity everything is known: x = a y + c."""
    exact = reference(law, ACTIVATIONS["identity"], Controls.of(-1.5, 2.0), [0.0, 1.0])
    a, c = np.exp(-1.5), -2.0 / 1.5 * np.expm1(-1.5)
    y = np.linspace(*law.support(1e-14), 2003)[1:-1]
    edges = np.append(law.breakpoints(), 99.0)
    away = np.abs(y[:, None] - edges).min(axis=1) > 1e-5
    gap = np.abs(exact.cdf(1, a * y + c) - law.cdf(y))
    assert gap[away].max() < 2e-9
    assert np.dot(gap[1:], np.diff(y)) < 1e-11 * np.ptp(y)
    u = np.linspace(0.01, 0.99, 77)
    np.testing.assert_allclose(exact.quantile(1, u), a * law.quantile(u) + c, atol=1e-12)
    assert exact.mean(1) == pytest.approx(a * law.mean + c, abs=1e-11)
    assert exact.variance(1) == pytest.approx(a * a * law.variance, rel=1e-10)
    image = reference(Affine(law, a, c), ACTIVATIONS["identity"], Controls.of(0, 0), [0.0])
    assert w1(exact.measure(1), image.measure(0)) < 1e-11 * np.ptp(exact.range(1))


def test_flat_pieces_in_w1() -> None:
    start = reference(GAP, ACTIVATIONS["tanh"], Controls.of(0, 0), [0.0]).measure(0)
    for x in (-1.0, 0.0, 0.3, 1.0):
        expected = quad(lambda u, x=x: abs(float(GAP.quantile(u)) - x), 0, 1, points=[0.25])[0]
        assert w1(PointMasses([x]), start) == pytest.approx(expected, rel=1e-12)
    assert start.quantile(0.25) == 1.0
    other = Mixture([1, 1], [Uniform(-2, -1), Uniform(1, 1.5)])
    second = reference(other, ACTIVATIONS["tanh"], Controls.of(0, 0), [0.0]).measure(0)
    between = quad(lambda x: abs(float(GAP.cdf(x) - other.cdf(x))), -2, 1.5, points=[-1, 1])[0]
    assert w1(start, second) == pytest.approx(between, rel=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gcu"])
@pytest.mark.parametrize(("law", "order"), [(GAP, 1.5), (LAWS["three pieces"], 1.05)])
def test_the_pde_converges_to_the_reference(name: str, law: Mixture, order: float) -> None:
    """As for a single law with jumps, and for one with a singular end, where the order is lower."""
    sigma, controls = ACTIVATIONS[name], Controls.of("sin(3*t)", "cos(4*t)")
    times, last = time_grid(1.0, 1e-2, snapshots=[1.0])
    domain = automatic_domain(law, sigma, controls, times)
    exact = reference(law, sigma, controls, [1.0])
    assert domain[0] < exact.range(0)[0] < exact.range(0)[1] < domain[1]
    errors = []
    for cells in (200, 400, 800):
        found = solve_transport(law, sigma, controls, domain, cells, times, last)
        assert found.mass_error.max() < 1e-13
        errors.append(w1(PiecewiseLinearCdf(found.edges, found.density[0]), exact.measure(0)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, order, atol=0.15)


@pytest.mark.parametrize(
    ("low", "high", "b", "side", "amount"),
    [
        (-4, 2, 0.75, "right", 0.375),  # inside the second piece
        (-4, 2, 2, "right", 0.75),  # inside the gap
        (-4, 2, 3.4, "right", 0.75 + 0.25 * 0.4),  # inside the first piece
        (-3, 4, -3, "left", 0.25),
        (-2, 4, -3.25, "left", 0.25 + 0.75 * 0.5),
    ],
)
def test_mass_that_the_flow_takes_out_is_measured_across_the_gap(
    low: float, high: float, b: float, side: str, amount: float
) -> None:
    times, last = time_grid(1.0, 1e-2, snapshots=[1.0])
    with pytest.raises(MassLostError) as caught:
        solve_transport(
            GAP, ACTIVATIONS["identity"], Controls.of(0, b), (low, high), 50, times, last
        )
    assert caught.value.boundary == side
    assert caught.value.amount == pytest.approx(amount, rel=1e-9)


def test_mean_over_seeds_is_within_four_standard_errors() -> None:
    exact = reference(GAP, ACTIVATIONS["identity"], Controls.of(0, 0), [0.0]).measure(0)
    found = [w1(PointMasses(sample(GAP, 100, "iid", (2, seed))), exact) for seed in range(300)]
    assert abs(np.mean(found) - expected_w1(GAP, 100)) < 4 * np.std(found) / np.sqrt(300)
