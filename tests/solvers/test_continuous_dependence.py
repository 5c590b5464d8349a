import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.activations import ACTIVATIONS
from solvers.characteristics import Reference, characteristics, reference
from solvers.continuous_dependence import integral_bound, supremum_bound
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.distributions import Beta, Distribution, Mixture, Normal, Samples, Uniform
from solvers.errors import InputError
from solvers.wasserstein import w1

TIMES = [0.0, 0.4, 1.0]
COMPACT: list[Distribution] = [
    Uniform(-0.5, 0.5),
    Beta(2, 5),
    Beta(0.5, 0.5, -1, 2),
    Mixture([1, 3], [Uniform(-2, -1), Uniform(1, 1.5)]),
    Samples([-1.0, 0.0, 0.5, 0.5, 2.0]),
]
UNBOUNDED: list[Distribution] = [Normal(0.3, 0.7), Mixture([1, 2], [Normal(0, 1), Normal(4, 0.1)])]


def distances(a: Reference, b: Reference) -> np.ndarray:
    return np.array([w1(a.measure(s), b.measure(s)) for s in range(a.times.size)])


def hull(a: Reference, b: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Return the hull of both supports up to each snapshot, from a dense set of times."""
    times = np.unique(np.concatenate([np.linspace(0, 1, 1001), TIMES]))
    paths = [
        characteristics(each.y[[0, -1]], each.activation, each.controls, times)[0]
        for each in (a, b)
    ]
    low = np.minimum.accumulate(np.minimum(*(path[:, 0] for path in paths)))
    high = np.maximum.accumulate(np.maximum(*(path[:, 1] for path in paths)))
    index = np.searchsorted(times, TIMES)
    return low[index] - 1e-5, high[index] + 1e-5


def random_controls(rng: np.random.Generator, base: Controls | None, size: float) -> Controls:
    grid = np.linspace(0, 1, 5)
    w, b = base.evaluate(grid) if base else (np.zeros(5), np.zeros(5))
    w, b = w + size * rng.normal(size=5), b + size * rng.normal(size=5)
    return Controls(PiecewiseLinearControl(grid, w), PiecewiseLinearControl(grid, b))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from(COMPACT + UNBOUNDED),
    st.integers(0, 10**6),
    st.sampled_from([1e-3, 0.1, 1.0]),
)
def test_no_pair_of_controls_exceeds_the_bounds(
    name: str, law: Distribution, seed: int, size: float
) -> None:
    rng = np.random.default_rng(seed)
    sigma = ACTIVATIONS[name]
    other = random_controls(rng, None, 1.0)
    controls = random_controls(rng, other, size)
    f, g = (reference(law, sigma, each, TIMES) for each in (controls, other))
    measured = distances(f, g)
    slack = 1e-11 * np.ptp(law.support())
    integral, mirrored = integral_bound(g, controls), integral_bound(f, other)
    quadrature = 1e-6 * np.array([integral[-1], mirrored[-1]])
    assert np.all(measured <= integral + quadrature[0] + slack)
    assert np.all(measured <= mirrored + quadrature[1] + slack)
    if law.is_compact:
        sup = supremum_bound(sigma, controls, other, hull(f, g), TIMES)
        assert np.all(measured <= sup + slack)
        assert np.all(integral <= sup + quadrature[0])


@pytest.mark.parametrize("law", COMPACT)
@pytest.mark.parametrize("w", [-2.0, 0.0, 0.7])
def test_the_bounds_are_attained(law: Distribution, w: float) -> None:
    """Identity, equal constant w >= 0 and constant b - b': a translation by (e^(wt) - 1)/w."""
    sigma, delta = ACTIVATIONS["identity"], 0.25
    controls, other = Controls.of(w, "sin(t)"), Controls.of(w, f"sin(t) - {delta}")
    f, g = (reference(law, sigma, each, TIMES) for each in (controls, other))
    t = np.array(TIMES)
    exact = delta * (np.expm1(w * t) / w if w else t)
    np.testing.assert_allclose(distances(f, g), exact, atol=1e-11 * np.ptp(law.support()))
    if w >= 0.0:
        np.testing.assert_allclose(integral_bound(g, controls), exact, rtol=1e-11)
        sup = supremum_bound(sigma, controls, other, (-9.0, 9.0), TIMES)
        np.testing.assert_allclose(sup, exact, rtol=1e-12)


def test_the_printed_estimate_is_violated() -> None:
    """Equation (12) as printed, e^(Lt - 1)/L times the distance of the controls, is no bound."""
    sigma, delta, w = ACTIVATIONS["identity"], 0.25, 1.0
    controls, other = Controls.of(w, delta), Controls.of(w, 0.0)
    t = np.array([0.3, 0.46, 0.6, 1.0, 2.0])
    f, g = (reference(Uniform(0, 1), sigma, each, t) for each in (controls, other))
    measured = distances(f, g)
    printed = np.exp(w * t - 1.0) / w * delta
    np.testing.assert_array_equal(measured > printed, [False, True, True, True, True])
    assert measured[3] / printed[3] == pytest.approx(np.e - 1.0, rel=1e-9)
    threshold = -np.log1p(-np.exp(-1.0))
    assert np.expm1(threshold) == pytest.approx(np.exp(threshold - 1.0), rel=1e-14)
    assert threshold == pytest.approx(0.4587, abs=1e-4)


def test_unbounded_support() -> None:
    """Normal law, w - w' = d: |v - v'| = d |x| has no supremum, but the mean d sqrt(2/pi)."""
    sigma, d = ACTIVATIONS["identity"], 1e-3
    g = reference(Normal(0, 1), sigma, Controls.of(0, 0), [0.5, 1.0])
    bound = integral_bound(g, Controls.of(d, 0))
    t = np.array([0.5, 1.0])
    np.testing.assert_allclose(bound, np.sqrt(2 / np.pi) * np.expm1(d * t), rtol=1e-6)
    f = reference(Normal(0, 1), sigma, Controls.of(d, 0), [0.5, 1.0])
    np.testing.assert_allclose(distances(f, g), bound, rtol=1e-6)


def test_equal_controls_give_zero() -> None:
    controls = Controls.of("sin(t)", "t")
    g = reference(Beta(2, 5), ACTIVATIONS["gcu"], controls, TIMES)
    assert integral_bound(g, controls).tolist() == [0.0] * 3
    sup = supremum_bound(ACTIVATIONS["gcu"], controls, controls, (-1, 2), TIMES)
    assert sup.tolist() == [0.0] * 3


def test_gcu_needs_the_range_of_the_supports() -> None:
    controls, other = Controls.of(1, 0), Controls.of(1, 0.1)
    sigma = ACTIVATIONS["gcu"]
    near = supremum_bound(sigma, controls, other, (-0.1, 0.1), [1.0])[0]
    far = supremum_bound(sigma, controls, other, (-3.0, 3.0), [1.0])[0]
    constant = sigma.lipschitz(-3.0, 3.1)
    assert far == pytest.approx(constant * 0.1 * np.expm1(constant) / constant, rel=1e-12)
    assert near < 0.2 * far


def test_bad_arguments() -> None:
    c = Controls.of(1, 0)
    sigma = ACTIVATIONS["tanh"]
    for supports, times in (((1.0, 0.0), [1.0]), ((np.nan, 1.0), [1.0]), ((0.0, 1.0), [1.0, 0.5])):
        with pytest.raises(InputError):
            supremum_bound(sigma, c, c, supports, times)
    assert supremum_bound(sigma, c, Controls.of(2, 1), (0, 1), [0.0]).tolist() == [0.0]
