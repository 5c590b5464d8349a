import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

from solvers.distributions import Beta, Distribution, Mixture, Normal, Product, Samples, Uniform
from solvers.errors import InputError
from solvers.training import L2, W2, Energy, Loss, Nodes, Paired, Quadratic, loss_from
from solvers.training.quadrature import CdfIntegral

LAWS = [
    Uniform(-0.5, 0.5),
    Normal(1.0, 0.1),
    Beta(2.0, 5.0),
    Beta(0.5, 0.5),
    Mixture([0.3, 0.7], [Normal(-1.0, 0.2), Uniform(1.0, 2.0)]),
    Samples(np.random.default_rng(0).normal(0.0, 1.0, 40)),
]
POINTS = np.array([0.3, -0.4, 1.7, 0.2, 0.9])
MASSES = np.array([0.1, 0.3, 0.2, 0.15, 0.25])


class TestGaussNodes:
    @pytest.mark.parametrize("law", LAWS, ids=repr)
    def test_moments_and_smooth_integrals(self, law: Distribution) -> None:
        nodes = Nodes.gauss(law)
        mean, variance = nodes.line_moments()
        scale = math.sqrt(law.variance)
        assert nodes.weights.sum() == pytest.approx(1.0, rel=1e-14)
        assert mean == pytest.approx(law.mean, abs=1e-11 * scale)
        assert variance == pytest.approx(law.variance, rel=1e-10)
        ends = np.unique([*law.support(1e-16), *law.breakpoints(), law.mean])
        pieces = itertools.pairwise(ends)
        if not isinstance(law, Beta):  # whose density is singular
            exact = sum(
                quad(lambda x: math.cos(x) * law.pdf(x), a, b, epsabs=1e-13)[0] for a, b in pieces
            )
            assert nodes.weights @ np.cos(nodes.points[:, 0]) == pytest.approx(exact, abs=1e-10)

    @pytest.mark.parametrize("law", LAWS, ids=repr)
    def test_nodes_are_the_quantiles_at_their_levels(self, law: Distribution) -> None:
        nodes = Nodes.gauss(law)
        assert nodes.levels is not None
        assert nodes.tails is not None
        assert np.all(np.diff(nodes.levels) >= 0.0)
        np.testing.assert_allclose(nodes.levels + nodes.tails, 1.0, rtol=1e-14)
        np.testing.assert_allclose(law.cdf(nodes.points[:, 0]), nodes.levels, atol=1e-12)

    def test_samples_and_weights(self) -> None:
        nodes = Nodes.samples([[1.0, 2.0], [3.0, 4.0]])
        assert nodes.dimension == 2
        np.testing.assert_array_equal(nodes.weights, 0.5)
        assert Nodes.weighted(POINTS, MASSES).points.shape == (5, 1)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_cdf_integral(law: Distribution) -> None:
    integral = CdfIntegral(law)
    low, high = law.support(1e-17)
    scale = high - low
    assert integral(np.array([high + 1.0]))[0] == pytest.approx(
        high + 1.0 - law.mean, abs=1e-13 * scale
    )
    x = np.unique([*np.linspace(low - 0.1, high + 0.1, 53), *law.breakpoints()])
    steps = np.array([quad(law.cdf, a, b, epsabs=1e-13)[0] for a, b in itertools.pairwise(x)])
    np.testing.assert_allclose(np.diff(integral(x)), steps, atol=1e-10 * scale)
    whole = integral.quantile_integral(np.array([0.0, 0.3, 1.0]))
    part = quad(lambda u: float(law.quantile(u)) - law.mean, 1e-15, 0.3, epsabs=1e-12, limit=200)[0]
    np.testing.assert_allclose(whole, [0.0, part, 0.0], atol=1e-7 * scale)


class TestOnPointMasses:
    nodes = Nodes.weighted(POINTS, MASSES)

    def value(self, loss: W2 | Energy | Quadratic) -> float:
        return loss.on_nodes(self.nodes)(self.nodes.points.T.copy())[0]

    @pytest.mark.parametrize("law", LAWS, ids=repr)
    def test_w2(self, law: Distribution) -> None:
        order = np.argsort(POINTS)
        levels = np.concatenate([[0.0], np.cumsum(MASSES[order])])
        levels[-1] = 1.0
        breaks = np.unique(np.clip(law.cdf(law.breakpoints()), 1e-15, 1 - 1e-15))
        exact = 0.0
        for k, x in enumerate(POINTS[order]):
            cuts = breaks[(breaks > levels[k]) & (breaks < levels[k + 1])]
            ends = [max(levels[k], 1e-15), *cuts, min(levels[k + 1], 1 - 1e-15)]
            exact += sum(
                quad(lambda u, x=x: (x - float(law.quantile(u))) ** 2, a, b, limit=300)[0]
                for a, b in itertools.pairwise(ends)
            )
        assert self.value(W2(law)) == pytest.approx(exact, rel=1e-7)

    @pytest.mark.parametrize("law", LAWS, ids=repr)
    def test_energy(self, law: Distribution) -> None:
        order = np.argsort(POINTS)
        levels = np.concatenate([[0.0], np.cumsum(MASSES[order])])
        low, high = law.support(1e-17)
        inner = [*POINTS, *law.breakpoints(), *law.landmarks()]
        ends = np.unique([min(low, -0.4) - 0.1, max(high, 1.7) + 0.1, *inner])

        def gap(x: float) -> float:
            return 2.0 * (levels[np.searchsorted(POINTS[order], x, side="right")] - law.cdf(x)) ** 2

        exact = sum(
            quad(gap, a, b, epsabs=1e-13, limit=200)[0] for a, b in itertools.pairwise(ends)
        )
        assert self.value(Energy(law)) == pytest.approx(exact, rel=1e-8)

    def test_quadratic_and_paired(self) -> None:
        loss = Quadratic.to(Normal(1.0, 0.5))
        assert self.value(loss) == pytest.approx(MASSES @ (POINTS - 1.0) ** 2 + 0.25, rel=1e-14)
        targets = np.arange(5.0)
        found = Paired(targets).on_nodes(self.nodes)(self.nodes.points.T.copy())[0]
        assert found == pytest.approx(MASSES @ (POINTS - targets) ** 2, rel=1e-14)
        product = Quadratic.to(Product([Normal(1.0, 0.5), Uniform(0.0, 1.0)]))
        np.testing.assert_allclose(product.mean, [1.0, 0.5])
        assert product.variance == pytest.approx(0.25 + 1 / 12)


def normal_energy(m1: float, s1: float, m2: float, s2: float) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of two normal laws."""

    def mean_absolute(m: float, s: float) -> float:
        return s * math.sqrt(2 / math.pi) * math.exp(-0.5 * (m / s) ** 2) + m * (
            1 - 2 * ndtr(-m / s)
        )

    return (
        2 * mean_absolute(m1 - m2, math.hypot(s1, s2))
        - mean_absolute(0.0, math.sqrt(2) * s1)
        - mean_absolute(0.0, math.sqrt(2) * s2)
    )


def normal_l2(m1: float, s1: float, m2: float, s2: float) -> float:
    s = math.hypot(s1, s2)
    cross = math.exp(-0.5 * ((m1 - m2) / s) ** 2) / (math.sqrt(2 * math.pi) * s)
    return 0.5 / math.sqrt(math.pi) * (1 / s1 + 1 / s2) - 2 * cross


NORMALS = (0.2, 0.3, 1.0, 0.5)
FIRST, SECOND = Normal(0.2, 0.3), Normal(1.0, 0.5)
CLOSED = [
    (Quadratic.to(SECOND), 0.09 + 0.64 + 0.25),
    (W2(SECOND), 0.64 + 0.04),
    (Energy(SECOND), normal_energy(*NORMALS)),
    (L2(SECOND), normal_l2(*NORMALS)),
]


@pytest.mark.parametrize(("loss", "exact"), CLOSED[:3], ids=lambda v: getattr(v, "name", ""))
def test_mean_field_nodes_give_the_closed_forms_of_normal_laws(loss: Loss, exact: float) -> None:
    nodes = Nodes.gauss(FIRST)
    assert loss.on_nodes(nodes)(nodes.points.T.copy())[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("loss", "exact"), CLOSED, ids=lambda v: getattr(v, "name", ""))
def test_grid_tends_to_closed_forms_at_second_order(loss: Loss, exact: float) -> None:
    errors = []
    for cells in (100, 200, 400):
        edges = np.linspace(-3.0, 4.0, cells + 1)
        errors.append(abs(loss.on_grid(edges)(FIRST.cell_averages(edges))[0] - exact))
    assert errors[-1] < 3e-4 * exact
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(rates, 2.0, atol=0.15)


@pytest.mark.parametrize("loss", [loss for loss, _ in CLOSED], ids=lambda loss: loss.name)
def test_grid_adjoint_is_the_derivative_of_the_first_variation(loss: Loss) -> None:
    edges = np.linspace(-3.0, 4.0, 1401)
    dx = edges[1] - edges[0]
    terminal = loss.on_grid(edges)
    density = FIRST.cell_averages(edges)
    shift = Normal(0.6, 0.3).cell_averages(edges) - density  # of mass 0
    moved = np.concatenate([[0.0], np.cumsum(shift) * dx])
    expected = -dx * terminal(density)[1] @ (0.5 * (moved[1:] + moved[:-1]))
    step = 1e-4
    found = (terminal(density + step * shift)[0] - terminal(density - step * shift)[0]) / (2 * step)
    assert found == pytest.approx(expected, rel=1e-4)


def test_energy_counts_what_lies_beyond_the_domain() -> None:
    edges = np.linspace(-3.0, 1.2, 841)
    density = FIRST.cell_averages(edges)
    found = Energy(SECOND).on_grid(edges)(density / (density.sum() * (edges[1] - edges[0])))[0]
    assert found == pytest.approx(normal_energy(*NORMALS), rel=2e-3)


class TestBadInput:
    def test_factory(self) -> None:
        assert loss_from("w2", SECOND).name == "w2"
        assert loss_from("paired", pairs=[1.0]).name == "paired"
        with pytest.raises(InputError, match="allowed: quadratic, paired, w2, energy, l2"):
            loss_from("w1", SECOND)
        with pytest.raises(InputError, match="one target y_i for each sample"):
            loss_from("paired", SECOND)
        with pytest.raises(InputError, match="'l2' needs a target"):
            loss_from("l2")

    @pytest.mark.parametrize("name", ["quadratic", "w2", "energy", "l2"])
    def test_target_without_moments(self, name: str) -> None:
        class Cauchy(Normal):
            mean = math.nan

        with pytest.raises(InputError, match="mean of the target is nan"):
            loss_from(name, Cauchy(0.0, 1.0))

    def test_losses_that_do_not_fit(self) -> None:
        cloud = Nodes.samples(np.zeros((4, 2)))
        with pytest.raises(InputError, match="must be eulerian"):
            L2(SECOND).on_nodes(Nodes.samples([0.0]))
        with pytest.raises(InputError, match="must be lagrangian"):
            Paired([1.0]).on_grid(np.linspace(0, 1, 5))
        with pytest.raises(InputError, match=r"\(1, 1\) targets, \(4, 2\) nodes"):
            Paired([1.0]).on_nodes(cloud)
        for loss in (W2(SECOND), Energy(SECOND)):
            with pytest.raises(InputError, match="one-dimensional; the nodes have dimension 2"):
                loss.on_nodes(cloud)
        with pytest.raises(InputError, match="target has dimension 1, the nodes 2"):
            Quadratic(1.0).on_nodes(cloud)
        for kind in (W2, Energy, L2):
            with pytest.raises(InputError, match="needs a target law on the line"):
                kind(Product([SECOND]))

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Quadratic(math.inf),
            lambda: Quadratic(0.0, -1.0),
            lambda: Quadratic.to("normal"),
            lambda: Paired([math.nan]),
            lambda: Paired([]),
            lambda: Nodes.samples([math.nan]),
            lambda: Nodes.samples(np.zeros((2, 2, 2))),
            lambda: Nodes.weighted([1.0, 2.0], [0.5, 0.6]),
            lambda: Nodes.weighted([1.0, 2.0], [1.5, -0.5]),
            lambda: Nodes.weighted([1.0, 2.0], [1.0]),
            lambda: Nodes.gauss(Product([SECOND])),
        ],
    )
    def test_arguments(self, make: Callable[[], object]) -> None:
        with pytest.raises(InputError):
            make()
