"""Speed of the published training (Test 1), against the same written plainly in NumPy, in one run.

    python benchmarks/training.py [--write docs/performance.md]

Both do the same: finite volumes forward and backward (CWENO3, local Lax-Friedrichs, SSP-RK3, steps
divided where the CFL condition asks for it), the reduced gradient, and steepest descent with Armijo
backtracking. The NumPy version works on whole arrays of cells, as one would write it. They take
turns, a few iterations each; then this package trains to the end, all three activations. A ratio
above 1 says how many times faster this package is. Processor time counts, of one core.
"""

import argparse
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from solvers.activations import ACTIVATIONS
from solvers.distributions import Uniform
from solvers.training import (
    Armijo,
    EulerianDiscretization,
    Quadratic,
    TrainingProblem,
    TrainingResult,
    train,
)
from solvers.warm import warm

INITIAL, TARGET = Uniform(-0.5, 0.5), Uniform(0.5, 1.5)
LOW, HIGH, CELLS, INTERVALS, GAMMA, CFL = -2.0, 3.0, 200, 100, 1e-3, 0.45
SETTINGS = Armijo()
TURNS, ITERATIONS = 7, 10
NAMES = ("identity", "tanh", "sigmoid")


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Return the logistic function."""
    return 1.0 / (1.0 + np.exp(-z))


FORMULAS: dict[str, tuple[Callable, Callable]] = {
    "identity": (lambda z: z, np.ones_like),
    "tanh": (np.tanh, lambda z: 1.0 - np.tanh(z) ** 2),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1.0 - sigmoid(z))),
}


class Plain:
    """The same method in NumPy."""

    def __init__(self, name: str) -> None:
        """Make the grids."""
        self.sigma, self.slope = FORMULAS[name]
        self.faces = np.linspace(LOW, HIGH, CELLS + 1)
        self.x = 0.5 * (self.faces[:-1] + self.faces[1:])
        self.dx = (HIGH - LOW) / CELLS
        self.t = np.linspace(0.0, 1.0, INTERVALS + 1)
        self.first = INITIAL.cell_averages(self.faces)
        self.dt = np.full(INTERVALS + 1, 1.0 / INTERVALS)
        self.dt[[0, -1]] /= 2.0

    def rate(self, u: np.ndarray, w: float, b: float, sign: float) -> np.ndarray:
        """Return the rate of change of the cell averages."""
        if sign < 0.0:
            ghosts = 2 * u[0] - u[1], 2 * u[-1] - u[-2]
            far = 3 * u[0] - 2 * u[1], 3 * u[-1] - 2 * u[-2]
            u = np.concatenate([[far[0], ghosts[0]], u, [ghosts[1], far[1]]])
        else:
            u = np.concatenate([[0.0, 0.0], u, [0.0, 0.0]])
        left, right = u[1:-1] - u[:-2], u[2:] - u[1:-1]
        centre, bend = 0.5 * (left + right), (right - left) / 1.5
        epsilon = self.dx**2
        a0 = 0.75 / (epsilon + centre**2 + 13.0 / 3.0 * bend**2) ** 2
        a1, a2 = 0.125 / (epsilon + left**2) ** 2, 0.125 / (epsilon + right**2) ** 2
        total = a0 + a1 + a2
        half = 0.5 * (a0 * centre + a1 * left + a2 * right) / total
        lift = a0 / total * bend / 6.0
        minus, plus = (u[1:-1] + half + lift)[:-1], (u[1:-1] - half + lift)[1:]
        if sign > 0.0:
            minus[0] = plus[-1] = 0.0
        v = sign * self.sigma(w * self.faces + b)
        flux = 0.5 * (v * (minus + plus) - np.abs(v) * (plus - minus))
        if sign > 0.0:
            flux[0] = flux[-1] = 0.0
        return (flux[:-1] - flux[1:]) / self.dx

    def table(self, w: np.ndarray, b: np.ndarray) -> list[list[tuple]]:
        """Return the substeps of each interval: length and controls at t, t + h, t + h/2."""
        found = []
        for (t0, t1), k in zip(itertools.pairwise(self.t), range(INTERVALS), strict=True):
            count = 1
            while True:
                ends = np.linspace(t0, t1, count + 1)
                times = np.stack([ends[:-1], ends[1:], 0.5 * (ends[:-1] + ends[1:])])
                ws, bs = (np.interp(times, self.t[k : k + 2], c[k : k + 2]) for c in (w, b))
                speed = np.abs(self.sigma(ws[..., None] * self.faces[[0, -1]] + bs[..., None]))
                needed = int(np.ceil((t1 - t0) * speed.max() / (CFL * self.dx) * (1 - 1e-12)))
                if needed <= count:
                    break
                count = needed
            found.append([(h, *c) for h, *c in zip(np.diff(ends), *ws, *bs, strict=True)])
        return found

    def sweep(self, u: np.ndarray, steps: list[list[tuple]], sign: float) -> np.ndarray:
        """Return the averages at all nodes."""
        states = [u]
        for interval in steps:
            for h, w0, w1, w2, b0, b1, b2 in interval:
                v = u + h * self.rate(u, w0, b0, sign)
                v = (3 * u + v + h * self.rate(v, w1, b1, sign)) / 4
                u = (u + 2 * (v + h * self.rate(v, w2, b2, sign))) / 3
            states.append(u)
        return np.array(states)

    def penalty(self, c: np.ndarray) -> float:
        """Return 1/2 gamma int c^2 dt."""
        return 0.5 * GAMMA / INTERVALS / 3.0 * (c[:-1] ** 2 + c[:-1] * c[1:] + c[1:] ** 2).sum()

    def cost(self, w: np.ndarray, b: np.ndarray) -> float:
        """Return J; keeps what the gradient needs."""
        self.steps = self.table(w, b)
        self.f = self.sweep(self.first, self.steps, 1.0)
        loss = self.dx * (self.x - TARGET.mean) ** 2 @ self.f[-1] + TARGET.variance
        return loss + self.penalty(w) + self.penalty(b)

    def gradient(self, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the reduced gradient, 0 at time 0."""
        back = [
            [(h, w1, w0, w2, b1, b0, b2) for h, w0, w1, w2, b0, b1, b2 in interval[::-1]]
            for interval in self.steps[::-1]
        ]
        p = self.sweep(2.0 * (self.x - TARGET.mean), back, -1.0)[::-1]
        f = self.f.copy()
        for u, old in ((p, p.copy()), (f, f.copy())):
            u[:, 1:-1] -= (old[:, 2:] - 2 * old[:, 1:-1] + old[:, :-2]) / 24
        density = self.slope(w[:, None] * self.x + b[:, None]) * p * f * self.dx
        out = []
        for c, integral in ((w, density @ self.x), (b, density.sum(axis=1))):
            mass = 2.0 / 3.0 * self.dt * c
            mass[1:] += c[:-1] / (6.0 * INTERVALS)
            mass[:-1] += c[1:] / (6.0 * INTERVALS)
            g = integral + GAMMA * mass / self.dt
            g[0] = 0.0
            out.append(g)
        return out[0], out[1]

    def train(self, iterations: int) -> float:
        """Return J after some iterations from 0."""
        w, b = np.zeros(INTERVALS + 1), np.zeros(INTERVALS + 1)
        cost = self.cost(w, b)
        gw, gb = self.gradient(w, b)
        for _ in range(iterations):
            step = SETTINGS.initial_step
            square = self.dt @ (gw**2 + gb**2)
            while True:
                trial = self.cost(w - step * gw, b - step * gb)
                if trial <= cost - SETTINGS.armijo_constant * step * square:
                    break
                step /= 2.0
            w, b, cost = w - step * gw, b - step * gb, trial
            gw, gb = self.gradient(w, b)
        return cost


def ours(name: str, settings: Armijo) -> TrainingResult:
    """Train with this package."""
    problem = TrainingProblem(ACTIVATIONS[name], INITIAL, Quadratic.to(TARGET), GAMMA, GAMMA)
    discretization = EulerianDiscretization(problem, INTERVALS, (LOW, HIGH), CELLS)
    return train(discretization, settings)


def seconds(function: Callable[[], object]) -> tuple[float, object]:
    """Return the processor time of a call and its result."""
    began = time.process_time()
    result = function()
    return time.process_time() - began, result


def against_numpy(name: str) -> list[str]:
    """Return a row: this package and NumPy in turns, some iterations each."""
    few, times = Armijo(max_iterations=ITERATIONS), []
    for _ in range(TURNS):
        fast, run = seconds(lambda: ours(name, few))
        slow, cost = seconds(lambda: Plain(name).train(ITERATIONS))
        times.append((fast, slow))
    fast, slow = np.array(times).T
    gap = abs(run.cost - cost)
    return [name, spread(1e3 * fast), spread(1e3 * slow), spread(slow / fast), f"{gap:.0e}"]


def to_the_end() -> Iterator[list[str]]:
    """Yield a row for each activation trained until its own rule ends it, and one of the sums."""
    total = np.zeros(TURNS)
    for name in NAMES:
        spent = np.zeros(TURNS)
        for turn in range(TURNS):
            spent[turn], run = seconds(lambda name=name: ours(name, SETTINGS))
        total += spent
        counts = [str(run.iterations), str(run.evaluations)]
        yield [name, spread(spent), *counts, f"{run.cost:.6f}", run.stop_reason.meaning]
    yield ["together", spread(total), "", "", "", ""]


def spread(values: np.ndarray) -> str:
    """Return the median and, in brackets, the least and the largest, to three digits."""
    median, low, high = (
        np.format_float_positional(value, precision=3, fractional=False, trim="-")
        for value in (np.median(values), values.min(), values.max())
    )
    return f"{median} [{low}, {high}]"


def table(*rows: list[str]) -> str:
    """Return a Markdown table."""
    lines = [rows[0], ["---"] + ["--:"] * (len(rows[0]) - 1), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Return what the times depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    return (
        f"{processor}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, Numba {version('numba')}"
    )


PAGE = """\
# Performance

## Training

The published training (Test 1: {cells} cells, {intervals} intervals, γ = {gamma:g}; TOL = {tol:g},
initial step {step:g}, Armijo's constant {constant:g}), by this package and by the same method
written plainly in NumPy: finite volumes forward and backward (CWENO3, local Lax–Friedrichs,
SSP-RK3, steps divided where the CFL condition asks for it), the reduced gradient, steepest descent
with Armijo backtracking. Written by one run of

    python benchmarks/training.py --write docs/performance.md

Processor time of one core, with the kernels compiled before. Medians, and in brackets the least and
the largest, of {turns} turns.

{machine}; load average {load}.

The first {iterations} iterations, package and NumPy in turns:

{ratios}

Each activation until the published rule ends it, this package:

{whole}
"""


def page() -> str:
    """Measure, and return the page."""
    warm()
    before = os.getloadavg()[0]
    ratios = [against_numpy(name) for name in NAMES]
    whole = list(to_the_end())
    return PAGE.format(
        cells=CELLS,
        intervals=INTERVALS,
        gamma=GAMMA,
        tol=SETTINGS.tolerance,
        step=SETTINGS.initial_step,
        constant=SETTINGS.armijo_constant,
        turns=TURNS,
        machine=machine(),
        load=f"{before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end",
        iterations=ITERATIONS,
        ratios=table(
            ["σ", "this package [ms]", "NumPy [ms]", "NumPy over this package", "difference of J"],
            *ratios,
        ),
        whole=table(["σ", "seconds", "iterations", "evaluations", "J", "stopped"], *whole),
    )


def main() -> None:
    """Print the page, or write it too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, help="where to write the page")
    path = parser.parse_args().write
    text = page()
    print(text)
    if path:  # benchmarks/scaling.py writes the section after this one
        _, mark, rest = (path.read_text() if path.exists() else "").partition("\n## Scaling")
        path.write_text(text + mark + rest)


if __name__ == "__main__":
    main()
