import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.cweno3 import cweno3
from solvers.distributions import Beta, Distribution, Normal, Samples, Uniform
from solvers.errors import CflError, InputError, MassLostError, NonFiniteError, PointTimeoutError
from solvers.substeps import max_speed
from solvers.time_grid import time_grid
from solvers.transport import automatic_domain, solve_transport
from solvers.wasserstein import PiecewiseLinearCdf, w1

TIMES, LAST = time_grid(1.0, 1e-2, snapshots=[1.0])
MOVING = Controls.of("sin(3*t)", "cos(4*t)")
INDICATOR = Uniform(-0.5, 0.5)


def l1_error(law: Distribution, name: str, controls: Controls, domain: tuple, cells: int) -> float:
    solution = solve_transport(law, ACTIVATIONS[name], controls, domain, cells, TIMES, LAST)
    assert solution.mass_error.max() < 1e-13
    exact = reference(law, ACTIVATIONS[name], controls, [1.0])
    gap = np.abs(solution.density[0] - exact.cell_averages(0, solution.edges))
    return float(gap @ np.diff(solution.edges))


@pytest.mark.parametrize("name", ["identity", "tanh", "sigmoid", "gcu"])
@pytest.mark.parametrize("controls", [MOVING, Controls.of("1 - t", "exp(t) - 1.5")])
def test_l1_order_is_three(name: str, controls: Controls) -> None:
    law = Normal(0.3, 0.35)
    domain = automatic_domain(law, ACTIVATIONS[name], controls, 1.0)
    e = np.array([l1_error(law, name, controls, domain, n) for n in (200, 400, 800, 1600)])
    assert np.all(np.log2(e[:-1] / e[1:]) > 2.9), np.log2(e[:-1] / e[1:])


def test_reconstruction_is_third_order_and_exact_on_lines() -> None:
    left, right = np.empty(50), np.empty(50)
    line = 2.0 + 3.0 * np.arange(52.0)
    cweno3(line, 1e-2, left, right)
    np.testing.assert_allclose(right, line[1:-1] + 1.5, rtol=1e-14)
    np.testing.assert_allclose(left, line[1:-1] - 1.5, rtol=1e-14)
    errors = []
    for n in (100, 200, 400):
        faces = np.linspace(-1 / n, 1 + 1 / n, n + 3)
        averages = -np.diff(np.cos(2 * np.pi * faces)) / (2 * np.pi / n)
        left, right = np.empty(n), np.empty(n)
        cweno3(averages, n**-2.0, left, right)
        errors.append(np.abs(right - np.sin(2 * np.pi * faces[2:-1])).mean())
    assert np.log2(errors[1] / errors[2]) == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("name", ["identity", "tanh", "sigmoid"])
def test_overshoot_at_the_indicator_of_test_1(name: str) -> None:
    found = []
    for cells in (200, 400, 800):
        u = solve_transport(
            INDICATOR, ACTIVATIONS[name], Controls.of(0, 1), (-2, 3), cells, TIMES, LAST
        ).density
        found.append(max(u.max() - 1.0, -u.min()))
    assert found[0] <= 1e-2
    assert found[0] > found[1] > found[2]


def test_smaller_epsilon_lowers_the_overshoot() -> None:
    arguments = (INDICATOR, ACTIVATIONS["identity"], Controls.of(0, 1), (-2, 3), 200, TIMES, LAST)
    default = solve_transport(*arguments)
    small = solve_transport(*arguments, epsilon=1e-8)
    assert default.epsilon == pytest.approx((5 / 200) ** 2)
    assert small.density.max() - 1 < 0.5 * (default.density.max() - 1)


def test_fast_flows_are_substepped() -> None:
    law = Normal(0.2, 0.15)
    controls = Controls.of(-3, 0)
    for name in ("identity", "tanh"):
        found = solve_transport(law, ACTIVATIONS[name], controls, (-2, 3), 400, TIMES, LAST)
        speed = max_speed(ACTIVATIONS[name], np.array(-3.0), np.array(0.0), found.edges)
        assert found.substeps == 100 * np.ceil(1e-2 * speed / (0.45 * 5 / 400) - 1e-9)
        exact = reference(law, ACTIVATIONS[name], controls, [1.0]).measure(0)
        distance = w1(PiecewiseLinearCdf(found.edges, found.density[0]), exact)
        assert distance < 0.25 * 5 / 400  # the law is narrower than a cell by then


def test_cfl_holds_at_the_stage_times_of_substeps() -> None:
    controls = Controls.of("4*sin(300*t)**2", "3*cos(170*t)")
    times, last = time_grid(1.0, 0.1, snapshots=[1.0])
    found = solve_transport(INDICATOR, ACTIVATIONS["tanh"], controls, (-2, 3), 400, times, last)
    assert found.substeps * 0.45 * 5 / 400 >= 0.95
    assert found.mass_error.max() < 1e-13
    assert found.density.min() > -0.05


def test_refining_the_cells_converges_for_samples() -> None:
    law = Samples(np.random.default_rng(0).normal(0, 0.3, 200))
    sigma = ACTIVATIONS["tanh"]
    domain = automatic_domain(law, sigma, MOVING, 1.0)
    exact = reference(law, sigma, MOVING, [1.0]).measure(0)
    e = []
    for cells in (100, 200, 400, 800):
        found = solve_transport(law, sigma, MOVING, domain, cells, TIMES, LAST)
        e.append(w1(PiecewiseLinearCdf(found.edges, found.density[0]), exact))
    assert np.all(np.diff(e) < 0)
    assert e[3] < e[0] / 3


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("w", [-3, 0, 1])
@pytest.mark.parametrize("law", [INDICATOR, Normal(0, 1), Beta(0.5, 0.5)])
def test_automatic_domain_keeps_the_mass_on_coarse_grids(
    name: str, w: float, law: Distribution
) -> None:
    controls = Controls.of(w, "exp(t) - 1")
    domain = automatic_domain(law, ACTIVATIONS[name], controls, TIMES)
    found = solve_transport(law, ACTIVATIONS[name], controls, domain, 50, TIMES, LAST)
    assert abs(found.mass[0] - 1.0) < 1e-12


class TestMassLost:
    def test_exact_amount_and_boundary(self) -> None:
        arguments = (INDICATOR, ACTIVATIONS["identity"])
        with pytest.raises(MassLostError) as caught:
            solve_transport(*arguments, Controls.of(0, 1), (-1, 1.2), 200, TIMES, LAST)
        assert caught.value.boundary == "right"
        assert caught.value.amount == pytest.approx(0.3, rel=1e-9)
        with pytest.raises(MassLostError) as caught:
            solve_transport(*arguments, Controls.of(1, 0), (-1, 2), 200, TIMES, LAST)
        assert caught.value.boundary == "left"
        assert caught.value.amount == pytest.approx(0.5 - 1 / np.e, rel=1e-9)

    def test_initial_mass_outside(self) -> None:
        with pytest.raises(MassLostError, match=r"0\.1 on the left") as caught:
            solve_transport(INDICATOR, ACTIVATIONS["tanh"], MOVING, (-0.4, 2), 50, TIMES, LAST)
        assert caught.value.boundary == "left"

    def test_open_boundary(self) -> None:
        with pytest.raises(MassLostError, match="through its right boundary"):
            solve_transport(
                INDICATOR, ACTIVATIONS["identity"], Controls.of(0, 1), (-1, 1.2), 200, TIMES, LAST,
                boundary="open",
            )  # fmt: skip

    def test_averages_without_a_law(self) -> None:
        edges = np.linspace(-1, 2, 101)
        averages = INDICATOR.cell_averages(edges)
        arguments = (ACTIVATIONS["tanh"], Controls.of(0, 0.5), (-1, 2), 100, TIMES, LAST)
        a = solve_transport(None, *arguments, initial_averages=averages, boundary="closed")
        b = solve_transport(INDICATOR, *arguments)
        np.testing.assert_array_equal(a.density, b.density)


class TestFailures:
    def test_cfl(self) -> None:
        with pytest.raises(CflError, match="substeps"):
            solve_transport(
                INDICATOR, ACTIVATIONS["identity"], Controls.of("exp(60*t)*1e-10", 0), (-2, 3),
                200, TIMES, LAST, boundary="open",
            )  # fmt: skip

    def test_non_finite(self) -> None:
        averages = np.full(50, 1e300)
        with pytest.raises(NonFiniteError):
            solve_transport(
                None, ACTIVATIONS["tanh"], Controls.of(-3, 0), (-1, 1), 50, TIMES, LAST,
                initial_averages=averages,
            )  # fmt: skip

    def test_timeout(self) -> None:
        def poll() -> None:
            raise PointTimeoutError("too long")

        with pytest.raises(PointTimeoutError):
            solve_transport(
                INDICATOR, ACTIVATIONS["tanh"], MOVING, (-2, 3), 50, TIMES, LAST, poll=poll
            )

    @pytest.mark.parametrize(
        "change",
        [
            {"domain": (1.0, 1.0)},
            {"domain": (np.nan, 1.0)},
            {"cells": 3},
            {"cells": 50.5},
            {"cfl": 0.0},
            {"epsilon": -1.0},
            {"epsilon": 1e-200},
            {"initial_averages": np.ones(7)},
            {"initial": None},
            {"boundary": "ajar"},
            {"times": TIMES + 1.0},
        ],
    )
    def test_arguments(self, change: dict) -> None:
        arguments = {
            "initial": INDICATOR,
            "activation": ACTIVATIONS["tanh"],
            "controls": MOVING,
            "domain": (-2, 3),
            "cells": 50,
            "times": TIMES,
            "snapshot_indices": LAST,
        }
        with pytest.raises(InputError):
            solve_transport(**{**arguments, **change})


def test_snapshots_do_not_change_bits() -> None:
    _, indices = time_grid(1.0, 1e-2, snapshots=[0.0, 0.31, 1.0])
    arguments = (INDICATOR, ACTIVATIONS["tanh"], MOVING, (-2, 3), 100, TIMES)
    many = solve_transport(*arguments, indices).density
    np.testing.assert_array_equal(many[-1], solve_transport(*arguments, LAST).density[0])
    np.testing.assert_array_equal(many[0], INDICATOR.cell_averages(np.linspace(-2, 3, 101)))


def test_automatic_domain_contains_the_flow() -> None:
    low, high = automatic_domain(
        INDICATOR, ACTIVATIONS["identity"], Controls.of(0, "cos(9*t)"), 1.0
    )
    assert low == pytest.approx(-0.5 - 1 / 9 - 0.1 * (1 + 2 / 9), rel=1e-3)
    assert high == pytest.approx(0.5 + 1 / 9 + 0.1 * (1 + 2 / 9), rel=1e-3)
