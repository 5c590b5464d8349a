import math

import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.distributions import Beta, Distribution, Normal, Uniform
from solvers.errors import (
    CflError,
    InputError,
    MassLostError,
    NonFiniteError,
    PointTimeoutError,
    SolverError,
)
from solvers.training import (
    L2,
    W2,
    Armijo,
    ControlGrid,
    EulerianDiscretization,
    LagrangianDiscretization,
    Lbfgs,
    Loss,
    Nodes,
    Paired,
    Quadratic,
    StopReason,
    TrainingProblem,
    TrainingResult,
    hull_domain,
    multistart,
    train,
)
from solvers.transport import solve_transport
from solvers.wasserstein import PiecewiseLinearCdf, w1

BOX, TARGET = Uniform(-0.5, 0.5), Uniform(0.5, 1.5)
DOMAIN = (-2.0, 3.0)


def problem(name: str, loss: Loss | None = None, gamma: float = 1e-3) -> TrainingProblem:
    return TrainingProblem(ACTIVATIONS[name], BOX, loss or Quadratic.to(TARGET), gamma, gamma)


def eulerian(name: str, intervals: int = 20, cells: int = 50) -> EulerianDiscretization:
    return EulerianDiscretization(problem(name), intervals, DOMAIN, cells)


def lagrangian(name: str, intervals: int = 20, gamma: float = 1e-3) -> LagrangianDiscretization:
    return LagrangianDiscretization(problem(name, gamma=gamma), intervals)


class TestPublishedRuns:
    """Sections 4.2.1-4.2.3 of the paper: settings as published, rho_0 and c not stated there."""

    def assert_ended_by_its_own_rule(self, run: TrainingResult) -> None:
        assert run.stop_reason == StopReason.CONVERGED
        assert run.change_history[-1] <= 1e-4
        assert np.all(run.change_history[1:-1] > 1e-4)
        assert np.all(np.diff(run.cost_history[:-1]) < 0.0)
        assert run.w[0] == run.b[0] == 0.0

    @pytest.mark.parametrize("name", ["identity", "tanh", "sigmoid"])
    def test_1(self, name: str) -> None:
        discretization = EulerianDiscretization(problem(name), 100, DOMAIN, 200)
        run = train(discretization, Armijo())
        self.assert_ended_by_its_own_rule(run)
        final = discretization.final_state(run.w, run.b)
        assert final.mean[0] == pytest.approx(1.0, abs=0.15)
        assert final.variance[0] < 0.6 * TARGET.variance

    def test_2(self) -> None:
        g = Normal(1.0, 0.1 * math.exp(-0.25))
        law = TrainingProblem(
            ACTIVATIONS["identity"], Normal(1.0, 0.1), Quadratic.to(g), 1e-3, 1e-3
        )
        run = train(EulerianDiscretization(law, 100, DOMAIN, 400), Armijo(initial_step=1.0))
        self.assert_ended_by_its_own_rule(run)
        assert 0.00827725 < run.cost < 0.0086

    def test_3_has_one_optimum(self) -> None:
        law, sigma = Beta(2.0, 5.0), ACTIVATIONS["sigmoid"]
        g = reference(law, sigma, Controls.of("exp(t) - 1", "-5*t**2 + t"), [1.0])
        loss = Quadratic(g.mean(0), g.variance(0), g.measure(0))
        published = TrainingProblem(sigma, law, loss, 1.0, 1e-4)
        discretization = EulerianDiscretization(published, 100, DOMAIN, 400)
        t = discretization.grid.times
        runs = [train(discretization, Armijo(), start) for start in (None, (t, t))]
        for run in runs:
            self.assert_ended_by_its_own_rule(run)
            assert run.cost == pytest.approx(0.0579, abs=2e-4)
        exact = LagrangianDiscretization(published, 100)
        optima = [train(exact, Lbfgs(1e-8), start) for start in (None, (t, t))]
        for run in optima:
            assert run.cost == pytest.approx(0.057794, abs=2e-6)
            np.testing.assert_allclose(run.w, -0.012, atol=1e-3)
            np.testing.assert_allclose(run.b, -0.604, atol=3e-3)
        assert exact.final_state(run.w, run.b).w1_to_target > 0.0


class TestEulerian:
    def test_forward_solution_is_that_of_the_transport_solver(self) -> None:
        found = eulerian("tanh", 25, 100)
        t = found.grid.times
        w, b = -9.0 * np.cos(3 * t), 1.0 - t
        state = found.final_state(w, b)
        controls = Controls(PiecewiseLinearControl(t, w), PiecewiseLinearControl(t, b))
        exact = solve_transport(BOX, ACTIVATIONS["tanh"], controls, DOMAIN, 100, t, [25])
        assert exact.substeps > 25
        law = PiecewiseLinearCdf(exact.edges, exact.density[0])
        np.testing.assert_array_equal(state.measure.right, law.right)
        assert state.w1_to_target == w1(law, Quadratic.to(TARGET).target_measure())

    def test_gradient_after_cost_is_the_gradient(self) -> None:
        found, fresh = eulerian("sigmoid"), eulerian("sigmoid")
        found.cost(0.3, 0.2)
        found.cost(-0.5, 0.4)
        for left, right in zip(
            found.cost_and_gradient(0.3, 0.2), fresh.cost_and_gradient(0.3, 0.2), strict=True
        ):
            np.testing.assert_array_equal(left, right)

    def test_hull_domain_is_that_of_test_1(self) -> None:
        assert hull_domain(BOX, TARGET) == pytest.approx(DOMAIN)

    def test_l2_loss_is_lowered(self) -> None:
        target = Normal(0.8, 0.4)
        law = TrainingProblem(ACTIVATIONS["tanh"], Normal(0.0, 0.4), L2(target), 1e-3, 1e-3)
        discretization = EulerianDiscretization(law, 20, (-3.0, 4.0), 140)
        run = train(discretization, Armijo(pinned=False))
        assert run.cost < 0.1 * run.cost_history[0]

    def test_the_start_must_be_feasible(self) -> None:
        found = eulerian("identity")
        with pytest.raises(MassLostError, match="right boundary") as caught:
            train(found, Armijo(pinned=False), (0.0, 2.8))
        assert caught.value.boundary == "right"
        assert caught.value.amount == pytest.approx(0.3, rel=1e-6)
        with pytest.raises(MassLostError) as caught:
            train(found, Lbfgs(), (1.0, -1.0))
        assert caught.value.boundary == "left"
        with pytest.raises(CflError):
            train(found, Lbfgs(), (-1e6, 0.0))
        with pytest.raises(MassLostError):
            EulerianDiscretization(problem("tanh"), 10, (0.0, 1.0), 50)


class TestStopReasons:
    @pytest.mark.parametrize("optimizer", [Armijo(max_iterations=3), Lbfgs(max_iterations=3)])
    def test_max_iterations(self, optimizer: Armijo | Lbfgs) -> None:
        run = train(lagrangian("tanh"), optimizer)
        assert run.stop_reason == StopReason.MAX_ITERATIONS
        assert run.iterations == 3
        assert run.cost_history.shape == run.change_history.shape == (4,)
        assert math.isnan(run.change_history[0])
        assert run.cost_history[-1] == run.cost < run.cost_history[0]

    def test_line_search_that_fails_at_once(self) -> None:
        run = train(lagrangian("tanh"), Armijo(initial_step=1e4, max_backtracking=2))
        assert run.stop_reason == StopReason.LINE_SEARCH_FAILED
        assert run.iterations == 0
        assert run.cost == run.cost_history[0]
        assert run.gradient_norm > 0.0

    def test_no_step_can_be_evaluated(self) -> None:
        run = train(eulerian("identity"), Armijo(initial_step=1e3, max_backtracking=1))
        assert run.stop_reason == StopReason.NON_FINITE
        assert run.iterations == 0

    def test_gradient_that_cannot_be_evaluated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = lagrangian("tanh")
        backward, calls = found._backward, []

        def fails_later(*arguments: object) -> np.ndarray:
            calls.append(1)
            if len(calls) > 2:
                raise NonFiniteError("no gradient")
            return backward(*arguments)

        monkeypatch.setattr(found, "_backward", fails_later)
        run = train(found, Armijo())
        assert run.stop_reason == StopReason.NON_FINITE
        assert run.iterations == 2
        assert math.isnan(run.gradient_norm)
        calls.clear()
        assert train(found, Lbfgs()).stop_reason == StopReason.NON_FINITE

    def test_lbfgs_stalls_at_discretisation_level(self) -> None:
        run = train(eulerian("tanh"), Lbfgs(1e-10))
        assert run.stop_reason == StopReason.STALLED
        assert run.iterations > 3
        assert run.gradient_norm < 1e-2

    @pytest.mark.parametrize("optimizer", [Armijo(pinned=False), Lbfgs()])
    def test_no_gradient_at_the_start(self, optimizer: Armijo | Lbfgs) -> None:
        run = train(lagrangian("relu", gamma=0.1), optimizer, (0.0, 0.0))  # relu'(0) = 0
        assert run.stop_reason == StopReason.CONVERGED
        assert run.gradient_norm == 0.0
        assert np.nanmax([0.0, *run.change_history[1:]]) == 0.0

    def test_meanings(self) -> None:
        assert [reason.meaning for reason in StopReason] == [
            "converged", "max_iterations", "line_search_failed", "stalled", "non_finite"
        ]  # fmt: skip


class TestTraining:
    def test_lbfgs_halves_steps_out_of_the_domain(self) -> None:
        tight = EulerianDiscretization(problem("identity"), 20, (-0.6, 1.45), 41)
        refused = []
        gradient = tight.packed_gradient

        def counted(*arguments: object) -> tuple:
            try:
                return gradient(*arguments)
            except MassLostError:
                refused.append(1)
                raise

        tight.packed_gradient = counted
        run = train(tight, Lbfgs(), (0.0, 0.9))
        assert refused
        wide = train(EulerianDiscretization(problem("identity"), 20, DOMAIN, 100), Lbfgs())
        assert run.cost == pytest.approx(wide.cost, rel=0.05)

    @pytest.mark.parametrize("optimizer", [Armijo(max_iterations=5), Lbfgs(max_iterations=5)])
    @pytest.mark.parametrize("make", [eulerian, lagrangian])
    def test_same_bits(self, optimizer: Armijo | Lbfgs, make) -> None:  # noqa: ANN001
        first, second = (train(make("sigmoid"), optimizer) for _ in range(2))
        np.testing.assert_array_equal(first.w, second.w)
        np.testing.assert_array_equal(first.cost_history, second.cost_history)
        assert first.evaluations == second.evaluations

    def test_space(self) -> None:
        random = np.random.default_rng(0)
        points = random.normal(0.0, 1.0, (200, 2))
        turn = np.array([[0.0, -1.0], [1.0, 0.0]])
        law = TrainingProblem(
            ACTIVATIONS["identity"], Nodes.samples(points), Paired(points @ turn.T), 1e-3, 1e-3
        )
        discretization = LagrangianDiscretization(law, 20)
        run = train(discretization, Lbfgs())
        assert run.w.shape == (21, 2, 2)
        assert run.b.shape == (21, 2)
        assert run.cost == pytest.approx(0.5e-3 * 2 * (math.pi / 2) ** 2, rel=1e-2)
        state = discretization.final_state(run.w, run.b)
        np.testing.assert_allclose(state.mean, points.mean(axis=0) @ turn.T, atol=2e-3)
        assert state.measure is None
        assert math.isnan(state.w1_to_target)

    def test_final_law_of_samples_tends_to_that_of_the_law(self) -> None:
        limit = lagrangian("tanh")
        exact = limit.final_state(-0.5, 0.8)
        points = BOX.quantile((np.arange(1000) + 0.5) / 1000)
        samples = TrainingProblem(
            ACTIVATIONS["tanh"], Nodes.samples(points), W2(TARGET), 1e-3, 1e-3
        )
        found = LagrangianDiscretization(samples, 20).final_state(-0.5, 0.8)
        assert w1(found.measure, exact.measure) < 3e-4
        assert found.w1_to_target == pytest.approx(exact.w1_to_target, abs=3e-4)
        np.testing.assert_allclose(found.mean, exact.mean, atol=1e-6)
        np.testing.assert_allclose(found.variance, exact.variance, rtol=1e-5)

    def test_poll(self) -> None:
        calls = []
        run = train(eulerian("tanh"), Armijo(max_iterations=5), poll=lambda: calls.append(1))
        assert len(calls) >= run.evaluations + run.iterations

        def stop() -> None:
            raise PointTimeoutError("too long")

        for discretization in (eulerian("tanh"), lagrangian("tanh")):
            with pytest.raises(PointTimeoutError):
                train(discretization, Lbfgs(), poll=stop)
            with pytest.raises(PointTimeoutError):
                multistart(discretization, Lbfgs(), 2, poll=stop)

    def test_failure_at_the_start_of_particles(self) -> None:
        with pytest.raises(NonFiniteError, match="final position of node 0"):
            train(lagrangian("identity"), Lbfgs(), (1e200, 0.0))


class TestMultistart:
    def discretization(self) -> LagrangianDiscretization:
        """One particle with speed b cos b: several b have the speed it needs."""
        law = TrainingProblem(ACTIVATIONS["gcu"], Nodes.samples([0.0]), Paired([0.4]), 1e-2, 1e-3)
        return LagrangianDiscretization(law, 10)

    def test_finds_several_optima_and_keeps_the_best(self) -> None:
        found = multistart(self.discretization(), Lbfgs(1e-5), 8, key=(3, 0), spread=4.0)
        assert len(found.runs) == 8
        assert found.distinct >= 2
        assert found.best.cost == min(run.cost for run in found.runs) == found.optima[0].cost
        costs = [run.cost for run in found.optima]
        assert costs == sorted(costs)

    def test_starts_are_nested_and_the_first_is_the_given_one(self) -> None:
        discretization, optimizer = self.discretization(), Lbfgs(max_iterations=2)
        few, many = (multistart(discretization, optimizer, k, (0.1, 0.2)) for k in (2, 4))
        given = train(discretization, optimizer, (0.1, 0.2))
        np.testing.assert_array_equal(few.runs[0].b, given.b)
        for a, b in zip(few.runs, many.runs, strict=False):
            np.testing.assert_array_equal(a.b, b.b)
        other = multistart(discretization, optimizer, 2, (0.1, 0.2), key=(1, 0))
        assert not np.array_equal(other.runs[1].b, few.runs[1].b)

    def test_one_optimum(self) -> None:
        found = multistart(lagrangian("identity", gamma=0.1), Lbfgs(), 5)
        assert found.distinct == 1

    def test_unfinished_runs_are_no_optima(self) -> None:
        found = multistart(self.discretization(), Lbfgs(max_iterations=1), 3)
        assert found.distinct == 0

    def test_starts_that_leave_the_domain_are_drawn_nearer(self) -> None:
        discretization = eulerian("identity")
        found = multistart(discretization, Armijo(max_iterations=1), 4, spread=50.0)
        assert len(found.runs) == 4

    def test_bad_input(self) -> None:
        with pytest.raises(InputError, match="starts"):
            multistart(self.discretization(), Lbfgs(), 0)
        with pytest.raises(InputError, match="spread"):
            multistart(self.discretization(), Lbfgs(), 2, spread=-1.0)
        with pytest.raises(SolverError):
            multistart(eulerian("identity"), Lbfgs(), 2, (0.0, 10.0))


class TestControlGrid:
    def test_penalty_is_exact(self) -> None:
        grid = ControlGrid(2.0, 8)
        random = np.random.default_rng(0)
        u = random.normal(size=(9, 2))
        t = np.linspace(0.0, 2.0, 80_001)
        fine = np.stack([np.interp(t, grid.times, u[:, k]) for k in (0, 1)])
        exact = 0.5 * np.trapezoid([3.0, 0.5] @ fine**2, t)
        cost, gradient = grid.penalty(u, np.array([3.0, 0.5]))
        assert cost == pytest.approx(exact, rel=1e-7)
        v = random.normal(size=(9, 2))
        ahead, behind = (grid.penalty(u + s * v, np.array([3.0, 0.5]))[0] for s in (1.0, -1.0))
        assert grid.inner(gradient, v) == pytest.approx(0.5 * (ahead - behind), rel=1e-13)
        assert grid.l2_norm(u) == pytest.approx(math.sqrt(np.trapezoid((fine**2).sum(0), t)))

    def test_pack_and_unpack(self) -> None:
        grid = ControlGrid(1.0, 3, 2)
        w, b = np.arange(16.0).reshape(4, 2, 2), np.arange(8.0).reshape(4, 2)
        for left, right in zip(grid.unpack(grid.pack(w, b)), (w, b), strict=True):
            np.testing.assert_array_equal(left, right)
        assert grid.pack(np.eye(2), [1.0, 2.0]).shape == (4, 6)
        line = ControlGrid(1.0, 3)
        np.testing.assert_array_equal(line.pack(0.5, np.arange(4.0))[:, 1], np.arange(4.0))

    @pytest.mark.parametrize(
        ("w", "b"), [(np.zeros(3), 0.0), ("one", 0.0), (0.0, math.nan), (np.zeros((2, 2)), 0.0)]
    )
    def test_bad_controls(self, w: object, b: object) -> None:
        with pytest.raises(InputError):
            ControlGrid(1.0, 3).pack(w, b)


def initial(law: Distribution | Nodes) -> TrainingProblem:
    return TrainingProblem(ACTIVATIONS["tanh"], law, Quadratic.to(TARGET), 0.1, 0.1)


class TestBadInput:
    @pytest.mark.parametrize(
        ("make", "match"),
        [
            (lambda: problem("tanh", gamma=-1.0), "gamma_w = -1.0 must not be negative"),
            (lambda: problem("tanh", gamma=math.nan), "gamma_w = nan"),
            (lambda: initial("uniform"), "neither a law on the line nor nodes"),
            (lambda: TrainingProblem("tanh", BOX, Quadratic(1.0), 0.1, 0.1), "activation"),
            (lambda: TrainingProblem(ACTIVATIONS["tanh"], BOX, "w2", 0.1, 0.1), "loss"),
            (
                lambda: TrainingProblem(ACTIVATIONS["tanh"], BOX, Quadratic(1.0), 0.1, 0.1, 0.0),
                "horizon = 0.0",
            ),
            (lambda: lagrangian("tanh", intervals=0), "intervals = 0"),
            (
                lambda: LagrangianDiscretization(problem("tanh"), 10, "heun"),
                "unknown integrator 'heun'; allowed: euler, ssprk3, rk4",
            ),
            (
                lambda: LagrangianDiscretization(problem("tanh"), 10, "rk4", 0),
                "steps_per_interval = 0",
            ),
            (lambda: LagrangianDiscretization(problem("tanh", L2(TARGET)), 10), "eulerian"),
            (
                lambda: EulerianDiscretization(initial(Nodes.samples([0.1])), 10, DOMAIN, 50),
                "needs an initial law on the line",
            ),
            (
                lambda: EulerianDiscretization(problem("tanh", Paired([1.0])), 10, DOMAIN, 50),
                "lagrangian",
            ),
            (lambda: EulerianDiscretization(problem("tanh"), 10, (1.0, 0.0), 50), "domain"),
            (lambda: EulerianDiscretization(problem("tanh"), 10, DOMAIN, 2), "cells = 2"),
            (lambda: EulerianDiscretization(problem("tanh"), 10, DOMAIN, 50, cfl=0.0), "cfl"),
            (
                lambda: EulerianDiscretization(problem("tanh"), 10, DOMAIN, 50, epsilon=0.0),
                "epsilon",
            ),
            (lambda: Armijo(tolerance=0.0), "tolerance = 0.0"),
            (lambda: Armijo(max_iterations=0), "max_iterations = 0"),
            (lambda: Armijo(initial_step=-1.0), "initial_step = -1.0"),
            (lambda: Armijo(armijo_constant=1.0), "armijo_constant = 1.0"),
            (lambda: Armijo(max_backtracking=-1), "max_backtracking = -1"),
            (lambda: Lbfgs(tolerance=math.inf), "tolerance = inf"),
            (lambda: Lbfgs(memory=0), "memory = 0"),
        ],
    )
    def test_one_clear_message(self, make, match: str) -> None:  # noqa: ANN001
        with pytest.raises(InputError, match=match):
            make()
