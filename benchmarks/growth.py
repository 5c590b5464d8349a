"""How time and memory of the kernels grow, with fitted exponents.

    python benchmarks/growth.py [--write docs/performance.md]

Particles, transport and W1 against the number of particles, cells and snapshots. The exponent is
the slope of a straight line through the upper half of the sizes on log-log axes, where what a call
costs whatever its size no longer counts. Memory is what NumPy holds at the most during a call. The
figure goes to ``figures/growth.svg`` next to the page.
"""

import harness

# isort: split
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from solvers.activations import ACTIVATIONS
from solvers.controls import Controls
from solvers.distributions import Uniform
from solvers.particles import integrate
from solvers.transport import solve_transport
from solvers.warm import warm
from solvers.wasserstein import PointMasses, w1

TANH, CONTROLS = ACTIVATIONS["tanh"], Controls.of("cos(3*t)", "sin(5*t)")
STEPS = 1000
BOUND = 1.15  # of an exponent: linear or n log n, with what leaving the caches adds


@dataclass(frozen=True)
class Subject:
    """What is measured against one size.

    Attributes:
        name: What it is.
        size: The name of the size.
        sizes: Its values.
        make: Makes the function to be measured, of one size.
    """

    name: str
    size: str
    sizes: tuple[int, ...]
    make: Callable[[int], Callable[[], Any]]


def sizes(first: float, last: float) -> tuple[int, ...]:
    """Return two sizes a decade."""
    count = round(2.0 * np.log10(last / first)) + 1
    return tuple(round(size) for size in np.geomspace(first, last, count))


def particles(count: int, snapshots: int, steps: int) -> Callable[[], Any]:
    """Return the integration of particles."""
    x = np.linspace(-0.5, 0.5, count)
    times = np.linspace(0.0, 1.0, steps + 1)
    at = np.linspace(0, steps, snapshots + 1).round().astype(int)[1:]
    return lambda: integrate(x, TANH, CONTROLS, times, at)


def transport(cells: int, snapshots: int, steps: int) -> Callable[[], Any]:
    """Return the solution by finite volumes, with a given number of steps that hold the CFL."""
    times = np.linspace(0.0, 0.1 * steps / cells, steps + 1)
    at = np.linspace(0, steps, snapshots + 1).round().astype(int)[1:]
    return lambda: solve_transport(Uniform(-0.5, 0.5), TANH, CONTROLS, (-2, 3), cells, times, at)


def distance(count: int, in_order: bool) -> Callable[[], Any]:
    """Return W1 of two samples."""
    random = np.random.default_rng(0)
    samples = [random.normal(0.01 * k, 1.0, count) for k in (0, 1)]
    if in_order:
        samples = [np.sort(x) for x in samples]
    return lambda: w1(*(PointMasses(x, sorted=in_order) for x in samples))


SUBJECTS = (
    Subject("particles, 100 steps", "particles", sizes(1e3, 1e6), lambda n: particles(n, 1, 100)),
    Subject(
        "10⁴ particles, 1000 steps", "snapshots", sizes(1e1, 1e3),
        lambda n: particles(10_000, n, STEPS),
    ),
    Subject("transport, 20 steps", "cells", sizes(1e3, 1e6), lambda n: transport(n, 1, 20)),
    Subject(
        "transport, 1000 cells, 1000 steps", "snapshots", sizes(1e1, 1e3),
        lambda n: transport(1000, n, STEPS),
    ),
    Subject("W1, sorted", "particles", sizes(1e3, 1e6), partial(distance, in_order=True)),
    Subject(
        "W1, not sorted", "particles", sizes(1e3, 1e6), partial(distance, in_order=False)
    ),
)  # fmt: skip


def peak(function: Callable[[], Any]) -> int:
    """Return how many bytes NumPy holds at the most during a call."""
    tracemalloc.start()
    function()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def measure(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Return median seconds and peak bytes for each size."""
    functions = {str(size): subject.make(size) for size in subject.sizes}
    times = harness.turns(functions, clock=time.process_time)
    seconds = np.array([times[name].median for name in functions])
    return seconds, np.array([peak(function) for function in functions.values()], dtype=float)


TEXT = """\
Time and memory of the kernels against their sizes: t ~ size^p on the upper half of the sizes.
Processor time, medians of {turns} turns; memory is what NumPy holds at the most during a call.
Linear is 1; sorting makes n log n, which looks like 1.1 here, and so does an array that outgrows
the caches. {verdict} Written, with the figure, by

    python benchmarks/growth.py --write docs/performance.md

{machine}

{rows}

{figure}
"""


def row(subject: Subject, seconds: np.ndarray, memory: np.ndarray) -> list[str]:
    """Return a row of the table."""
    span = f"{subject.sizes[0]} … {subject.sizes[-1]}"
    slopes = [f"{harness.exponent(subject.sizes, values):.2f}" for values in (seconds, memory)]
    return [
        subject.name, f"{subject.size}, {span}", slopes[0], slopes[1],
        harness.number(seconds[-1]), harness.number(memory[-1] / 1e6),
    ]  # fmt: skip


def section(options: harness.Options) -> str:
    """Measure, draw, and return the section."""
    warm()
    found = {subject: measure(subject) for subject in SUBJECTS}
    fast = [
        subject.name
        for subject, values in found.items()
        if max(harness.exponent(subject.sizes, part) for part in values) > BOUND
    ]
    verdict = f"Faster than that: {'; '.join(fast)}." if fast else "Nothing grows faster than that."
    header = ["", "size", "p of time", "p of memory", "seconds at most", "MB at most"]
    panels = {
        label: {f"{s.name}: by {s.size}": (s.sizes, values[part]) for s, values in found.items()}
        for part, label in enumerate(("seconds", "bytes"))
    }
    return TEXT.format(
        turns=harness.TURNS,
        verdict=verdict,
        machine=harness.machine(),
        rows=harness.table(header, *(row(subject, *values) for subject, values in found.items())),
        figure=harness.figure(options.page, "growth", "size", panels),
    )


if __name__ == "__main__":
    harness.run(__doc__, "Growth", section)
