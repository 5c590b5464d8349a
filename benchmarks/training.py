"""Speed of the training, against the same optimisation written in NumPy and in JAX, in one run.

    python benchmarks/training.py [--write docs/performance.md]

Two optimisations. The published one (Test 1): finite volumes forward and backward, the reduced
gradient, steepest descent with Armijo backtracking. And that of particles: RK4, the gradient of the
discrete cost, L-BFGS of SciPy. Both are written in NumPy for whole arrays, and in JAX: there the
finite volumes are one jitted scan over the intervals, with a loop over the substeps inside, and the
gradient of the particles is JAX's own, of a jitted scan. All do the same iterations; that they
reach the same cost is checked.
"""

import harness

# isort: split
import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import plain
from scipy.optimize import minimize

from solvers.activations import ACTIVATIONS
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.distributions import Uniform
from solvers.substeps import CflCondition
from solvers.training import (
    Armijo,
    EulerianDiscretization,
    LagrangianDiscretization,
    Lbfgs,
    Nodes,
    Quadratic,
    TrainingProblem,
    train,
)
from solvers.training.grid import ControlGrid
from solvers.vector_particles import TABLEAUX
from solvers.warm import warm

INITIAL, TARGET = Uniform(-0.5, 0.5), Uniform(0.5, 1.5)
LOW, HIGH, CELLS, INTERVALS, GAMMA, CFL = -2.0, 3.0, 200, 100, 1e-3, 0.45
SETTINGS = Armijo()
ITERATIONS = 10
PARTICLES = (1000, 10_000)
GOAL = 5.0
NAMES = ("identity", "tanh", "sigmoid")
AGREEMENT = 1e-9
OURS, NUMPY, JAX = "this package", "NumPy", "JAX"
GRID = ControlGrid(1.0, INTERVALS)
PENALTY = np.array([GAMMA, GAMMA])

SLOPES: dict[str, Callable[[np.ndarray], Any]] = {  # sigma', from sigma
    "identity": lambda _value: 1.0,
    "tanh": lambda value: 1.0 - value**2,
    "sigmoid": lambda value: value * (1.0 - value),
}


def problem(name: str, initial: Uniform | Nodes) -> TrainingProblem:
    """Return Test 1, of a law or of samples."""
    return TrainingProblem(ACTIVATIONS[name], initial, Quadratic.to(TARGET), GAMMA, GAMMA)


class Published:
    """The published training, with the sweeps of NumPy or of JAX."""

    def __init__(self, name: str, with_jax: bool) -> None:
        """Make the grids."""
        self.name = name
        self.faces = np.linspace(LOW, HIGH, CELLS + 1)
        self.x = 0.5 * (self.faces[:-1] + self.faces[1:])
        self.dx = (HIGH - LOW) / CELLS
        self.first = INITIAL.cell_averages(self.faces)
        self.sweep = self.jax_sweep() if with_jax else self.numpy_sweep

    def table(self, u: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the first substep of each interval, and lengths and controls of the substeps."""
        controls = Controls(*(PiecewiseLinearControl(GRID.times, c) for c in u.T))
        condition = CflCondition(ACTIVATIONS[self.name], self.faces, self.dx, CFL)
        parts = list(condition.divide(controls, GRID.times))
        first = np.cumsum(np.concatenate([[0], *(part.counts for part in parts)]))
        h = np.concatenate([np.diff(part.ends) for part in parts])
        return first, h, *(np.concatenate([getattr(p, c) for p in parts]) for c in ("w", "b"))

    def numpy_sweep(self, u: np.ndarray, table: tuple, adjoint: bool) -> np.ndarray:
        """Return the averages at all nodes."""
        first, *rows = table
        states = [u]
        for low, high in itertools.pairwise(first):
            for row in zip(*(part[low:high] for part in rows), strict=True):
                u = plain.step(np, self.name, u, self.faces, self.dx, row, adjoint)
            states.append(u)
        return np.array(states)

    def jax_sweep(self) -> Callable[[np.ndarray, tuple, bool], np.ndarray]:
        """Return the same as one compiled scan; tables are padded, so that few are compiled."""
        import jax

        @partial(jax.jit, static_argnames="adjoint")
        def solve(u: jax.Array, first: jax.Array, rows: list, adjoint: bool) -> jax.Array:
            def substep(i: int, u: jax.Array) -> jax.Array:
                row = tuple(part[i] for part in rows)
                return plain.step(jax.numpy, self.name, u, self.faces, self.dx, row, adjoint)

            def interval(u: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
                u = jax.lax.fori_loop(first[k], first[k + 1], substep, u)
                return u, u

            states = jax.lax.scan(interval, u, jax.numpy.arange(INTERVALS))[1]
            return jax.numpy.concatenate([u[None], states])

        def sweep(u: np.ndarray, table: tuple, adjoint: bool) -> np.ndarray:
            first, *rows = table
            room = 1 << int(first[-1]).bit_length()
            padded = [np.concatenate([p, np.zeros((room - len(p), *p.shape[1:]))]) for p in rows]
            return np.asarray(solve(u, first, padded, adjoint))

        return sweep

    def cost(self, u: np.ndarray) -> float:
        """Return J; keeps what the gradient needs."""
        self.steps = self.table(u)
        self.f = self.sweep(self.first, self.steps, False)
        loss = self.dx * (self.x - TARGET.mean) ** 2 @ self.f[-1] + TARGET.variance
        return float(loss) + GRID.penalty(u, PENALTY)[0]

    def gradient(self, u: np.ndarray) -> np.ndarray:
        """Return the reduced gradient, 0 at time 0."""
        first, h, w, b = self.steps
        order = [1, 0, 2]  # the stages of a step backwards
        back = first[-1] - first[::-1], h[::-1], w[::-1][:, order], b[::-1][:, order]
        p = self.sweep(2.0 * (self.x - TARGET.mean), back, True)[::-1].copy()
        f = self.f.copy()
        for values, old in ((p, p.copy()), (f, f.copy())):
            values[:, 1:-1] -= (old[:, 2:] - 2 * old[:, 1:-1] + old[:, :-2]) / 24
        sigma = plain.SIGMA[self.name](np, u[:, :1] * self.x + u[:, 1:])
        density = SLOPES[self.name](sigma) * p * f * self.dx
        found = np.stack([density @ self.x, density.sum(axis=1)], axis=1)
        found += GRID.penalty(u, PENALTY)[1]
        found[0] = 0.0
        return found

    def train(self) -> float:
        """Return J after some iterations from 0."""
        u = np.zeros((INTERVALS + 1, 2))
        cost, g = self.cost(u), self.gradient(u)
        for _ in range(ITERATIONS):
            step, square = SETTINGS.initial_step, GRID.inner(g, g)
            while True:
                trial = self.cost(u - step * g)
                if trial <= cost - SETTINGS.armijo_constant * step * square:
                    break
                step /= 2.0
            u, cost = u - step * g, trial
            g = self.gradient(u)
        return cost


class Particles:
    """The training of particles, its gradient by NumPy or by JAX."""

    def __init__(self, name: str, points: np.ndarray, with_jax: bool) -> None:
        """Keep the samples."""
        self.name, self.points = name, points
        self.loss = self.jax_loss() if with_jax else self.numpy_loss
        self.scale = np.sqrt(GRID.weights)[:, None]

    def numpy_loss(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its derivative by the nodal controls: the adjoint of RK4."""
        rk4, h = TABLEAUX["rk4"], 1.0 / INTERVALS
        sigma, x, kept = partial(plain.SIGMA[self.name], np), self.points, []
        for k in range(INTERVALS):
            rates: list[np.ndarray] = []
            for c, a in zip(rk4.nodes, rk4.matrix, strict=True):
                w, b = (1.0 - c) * u[k] + c * u[k + 1]
                y = x + h * sum(a[r] * rate for r, rate in enumerate(rates) if a[r])
                rates.append(sigma(w * y + b))
                kept.append((y, rates[-1], w))
            x = x + h * sum(beta * rate for beta, rate in zip(rk4.weights, rates, strict=True))
        adjoint, out = 2.0 * (x - TARGET.mean) / x.size, np.zeros_like(u)
        for k in range(INTERVALS - 1, -1, -1):
            pulls: dict[int, np.ndarray] = {}
            for s in range(3, -1, -1):
                y, value, w = kept[4 * k + s]
                q = rk4.weights[s] * adjoint
                q = q + sum(
                    rk4.matrix[r, s] * pull for r, pull in pulls.items() if rk4.matrix[r, s]
                )
                q = h * q * SLOPES[self.name](value)
                both = np.array([q @ y, q.sum()])
                out[k] += (1.0 - rk4.nodes[s]) * both
                out[k + 1] += rk4.nodes[s] * both
                pulls[s] = w * q
            adjoint = adjoint + sum(pulls.values())
        return float(np.mean((x - TARGET.mean) ** 2)), out

    def jax_loss(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Return the same by JAX: the derivative of a scan."""
        import jax

        sigma, h = partial(plain.SIGMA[self.name], jax.numpy), 1.0 / INTERVALS

        def loss(u: jax.Array, points: jax.Array) -> jax.Array:
            def step(x: jax.Array, ends: tuple) -> tuple[jax.Array, None]:
                first, middle, last = ends[0], 0.5 * (ends[0] + ends[1]), ends[1]
                k1 = sigma(first[0] * x + first[1])
                k2 = sigma(middle[0] * (x + 0.5 * h * k1) + middle[1])
                k3 = sigma(middle[0] * (x + 0.5 * h * k2) + middle[1])
                k4 = sigma(last[0] * (x + h * k3) + last[1])
                return x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4), None

            x = jax.lax.scan(step, points, (u[:-1], u[1:]))[0]
            return jax.numpy.mean((x - TARGET.mean) ** 2)

        compiled, points = jax.jit(jax.value_and_grad(loss)), jax.numpy.asarray(self.points)

        def value_and_derivative(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, derivative = compiled(u, points)
            return float(value), np.asarray(derivative)

        return value_and_derivative

    def evaluate(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and its derivative, in the variables that this package's L-BFGS has too."""
        u = z.reshape(-1, 2) / self.scale
        loss, derivative = self.loss(u)
        penalty, gradient = GRID.penalty(u, PENALTY)
        gradient = gradient + derivative / GRID.weights[:, None]
        return loss + TARGET.variance + penalty, (self.scale * gradient).ravel()

    def train(self) -> float:
        """Return J after some iterations from 0."""
        options = {"maxcor": 20, "maxiter": ITERATIONS, "ftol": 0.0, "gtol": 0.0, "maxls": 40}
        start = np.zeros(2 * (INTERVALS + 1))
        found = minimize(self.evaluate, start, jac=True, method="L-BFGS-B", options=options)
        return float(found.fun)


def our_published(name: str, settings: Armijo) -> Callable[[], Any]:
    """Return the published training by this package."""
    setting = problem(name, INITIAL)
    return lambda: train(EulerianDiscretization(setting, INTERVALS, (LOW, HIGH), CELLS), settings)


def our_particles(name: str, points: np.ndarray) -> Callable[[], Any]:
    """Return the training of particles by this package."""
    setting = problem(name, Nodes.samples(points))
    optimizer = Lbfgs(tolerance=1e-300, max_iterations=ITERATIONS)
    return lambda: train(LagrangianDiscretization(setting, INTERVALS), optimizer)


def row(label: str, ours: Callable[[], Any], peer: Callable[[bool], Any]) -> list[str]:
    """Return a row: this package, NumPy and JAX in turns."""
    found = {OURS: ours, NUMPY: peer(False).train}
    if harness.peer("jax"):
        found[JAX] = peer(True).train
    cost = ours().cost
    for name, function in found.items():
        if name != OURS and not abs(function() / cost - 1.0) <= AGREEMENT:
            raise SystemExit(f"{label}: {name} reaches J = {function()}, this package {cost}")
    times = harness.turns(found, clock=time.process_time)
    best = harness.best(times, OURS)
    return [
        label,
        harness.spread(1e3 * times[OURS].seconds),
        *(
            harness.spread(1e3 * times[n].seconds) if n in times else harness.ABSENT
            for n in (NUMPY, JAX)
        ),
        f"{harness.ratio(times[best], times[OURS])} ({best})" if best else "",
    ]


def verdict(rows: list[list[str]]) -> str:
    """Return in which rows the goal is missed; empty without peers."""
    measured = [row for row in rows if row[-1]]
    missed = [row[0] for row in measured if float(row[-1].split()[0]) < GOAL]
    if not measured:
        return ""
    if not missed:
        return f"At least {GOAL:g} times as fast as the best peer everywhere."
    return f"Less than {GOAL:g} times as fast as the best peer: {'; '.join(missed)}."


def to_the_end(name: str) -> list[str]:
    """Return a row of the published training until its own rule ends it."""
    ours = our_published(name, SETTINGS)
    seconds = harness.turns({"": ours}, clock=time.process_time)[""].seconds
    run = ours()
    counts = [str(run.iterations), str(run.evaluations)]
    return [name, harness.spread(seconds), *counts, f"{run.cost:.6f}", run.stop_reason.meaning]


TEXT = """\
Two optimisations, each by this package, in NumPy for whole arrays, and in JAX. *Published*: Test 1
({cells} cells, {intervals} intervals, γ = {gamma:g}), finite volumes forward and backward, steps
divided where the CFL condition asks for it, steepest descent with Armijo backtracking; in JAX the
equations are one jitted scan. *Particles*: RK4 on {intervals} intervals, the gradient of the
discrete cost, SciPy's L-BFGS; in JAX the gradient is JAX's own, of a jitted scan. All do the same
{iterations} iterations and reach the same J to {agreement:.0e}. Written by

    python benchmarks/training.py --write docs/performance.md

Milliseconds of processor time, with everything compiled before. Medians, and in brackets the least
and the largest, of {turns} turns.
{machine}

{ratios}

{verdict}

The published training until its own rule ends it (TOL = {tol:g}, initial step {step:g}, Armijo's
constant {constant:g}), this package:

{whole}
"""


def section(_options: harness.Options) -> str:
    """Measure, and return the section."""
    warm()
    rows = [
        row(
            f"published, {name}",
            our_published(name, Armijo(max_iterations=ITERATIONS)),
            partial(Published, name),
        )
        for name in NAMES
    ]
    for name in ("identity", "tanh"):
        for count in PARTICLES:
            points = np.random.default_rng(0).uniform(-0.5, 0.5, count)
            peer = partial(Particles, name, points)
            rows.append(row(f"{count} particles, {name}", our_particles(name, points), peer))
    header = ["", f"{OURS} [ms]", f"{NUMPY} [ms]", f"{JAX} [ms]", "best peer over ours"]
    return TEXT.format(
        cells=CELLS,
        intervals=INTERVALS,
        gamma=GAMMA,
        iterations=ITERATIONS,
        agreement=AGREEMENT,
        turns=harness.TURNS,
        machine=harness.machine("scipy", "jax"),
        ratios=harness.table(header, *rows),
        verdict=verdict(rows),
        tol=SETTINGS.tolerance,
        step=SETTINGS.initial_step,
        constant=SETTINGS.armijo_constant,
        whole=harness.table(
            ["σ", "seconds", "iterations", "evaluations", "J", "stopped"],
            *(to_the_end(name) for name in NAMES),
        ),
    )


if __name__ == "__main__":
    harness.run(__doc__, "Training", section)
