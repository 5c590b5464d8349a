import numpy as np
import pytest
from scipy.integrate import quad

from solvers.activations import ACTIVATIONS
from solvers.controls import Controls
from solvers.distributions import Beta, Normal
from solvers.errors import InputError
from solvers.transported import Transported
from solvers.wasserstein import PointMasses, w1

CONTROLS = Controls.of("exp(t) - 1", "-5*t**2 + t")


def test_a_linear_flow_of_a_normal_law_is_normal() -> None:
    law = Transported(Normal(1.0, 0.1), ACTIVATIONS["identity"], Controls.of(-0.25, 0.5), 1.0)
    a = np.exp(-0.25)
    exact = Normal(a + 0.5 * (a - 1) / -0.25, 0.1 * a)
    x = exact.quantile(np.linspace(0.001, 0.999, 50))
    np.testing.assert_allclose(law.pdf(x), exact.pdf(x), rtol=1e-8)
    np.testing.assert_allclose(law.cdf(x), exact.cdf(x), rtol=1e-8)
    np.testing.assert_allclose(law.sf(x), exact.sf(x), rtol=1e-6)
    np.testing.assert_allclose(law.quantile([0.1, 0.9]), exact.quantile([0.1, 0.9]), rtol=1e-12)
    np.testing.assert_allclose(law.isf([0.1, 0.9]), exact.isf([0.1, 0.9]), rtol=1e-12)
    assert law.mean == pytest.approx(exact.mean, rel=1e-10)
    assert law.variance == pytest.approx(exact.variance, rel=1e-8)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gcu"])
def test_its_parts_agree(name: str) -> None:
    law = Transported(Beta(2.0, 5.0), ACTIVATIONS[name], CONTROLS, 1.0)
    low, high = law.support()
    assert law.is_compact
    np.testing.assert_allclose(law.breakpoints(), [low, high])
    mass = quad(law.pdf, low, high, epsabs=1e-10, epsrel=1e-10)[0]
    mean = quad(lambda x: x * law.pdf(x), low, high, epsabs=1e-10, epsrel=1e-10)[0]
    assert mass == pytest.approx(1.0, abs=1e-7)
    assert mean == pytest.approx(law.mean, abs=1e-7)
    u = np.linspace(0.01, 0.99, 30)
    np.testing.assert_allclose(law.cdf(law.quantile(u)), u, atol=1e-10)
    edges = np.linspace(low, high, 51)
    assert law.cell_averages(edges) @ np.diff(edges) == pytest.approx(1.0, rel=1e-12)


def test_time_zero_is_the_law_itself() -> None:
    law = Transported(Beta(2.0, 5.0), ACTIVATIONS["tanh"], CONTROLS, 0.0)
    assert law.mean == pytest.approx(2 / 7, rel=1e-10)
    points = Beta(2.0, 5.0).quantile((np.arange(1000) + 0.5) / 1000)
    assert w1(PointMasses(points), law.exact.measure(0)) < 2e-3


def test_equal_parts_are_equal() -> None:
    laws = [Transported(Beta(2.0, 5.0), ACTIVATIONS["tanh"], CONTROLS, t) for t in (1.0, 1.0, 2.0)]
    assert laws[0] == laws[1] != laws[2]
    assert hash(laws[0]) == hash(laws[1])


@pytest.mark.parametrize("time", [-1.0, np.nan])
def test_a_bad_time_is_refused(time: float) -> None:
    with pytest.raises(InputError, match="time"):
        Transported(Beta(2.0, 5.0), ACTIVATIONS["tanh"], CONTROLS, time)
