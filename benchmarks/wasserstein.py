"""Speed of W1 on the line, against SciPy and POT and against reading the points once.

    python benchmarks/wasserstein.py [--full] [--write docs/performance.md]

Two samples of M points each, sorted or not; and a sorted sample against a law with a piecewise
cubic distribution function, for which there is no peer. SciPy sorts in any case; POT is told when
it need not. `--full` goes to 10^8 points, once: the peers take twenty minutes.
"""

import time
from collections.abc import Callable

import harness
import limits
import numpy as np
from scipy.stats import wasserstein_distance

from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.distributions import Normal
from solvers.wasserstein import Measure, PointMasses, w1

OURS, READING = "meanfield", "reading"
SIZES = (10**3, 10**4, 10**5, 10**6, 10**7)
LARGEST = 10**8
AGREE = {OURS: 1e-13, "scipy": 1e-13, "POT": 1e-8}  # POT adds the weights of the points up


def samples(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two samples of normal laws whose means are a hundredth apart."""
    random = np.random.default_rng(count)
    return random.normal(0.0, 1.0, count), random.normal(0.01, 1.0, count)


def law() -> Measure:
    """Return the mean-field limit of some particles: a cubic on each of 3000 pieces."""
    controls = Controls.of("exp(t) - 1", "-5*t**2 + t")
    return reference(Normal(0.0, 1.0), ACTIVATIONS["tanh"], controls, [1.0]).measure(0)


def distances(x: np.ndarray, y: np.ndarray, ordered: bool) -> dict[str, Callable[[], float]]:
    """Return what measures the distance of two samples, by name."""
    found: dict[str, Callable[[], float]] = {
        OURS: lambda: w1(PointMasses(x, sorted=ordered), PointMasses(y, sorted=ordered)),
        "scipy": lambda: float(wasserstein_distance(x, y)),
    }
    if (pot := harness.peer("ot")) is not None:
        found["POT"] = lambda: float(pot.wasserstein_1d(x, y, p=1, require_sort=not ordered))
    return found


def reading(*arrays: np.ndarray) -> Callable[[], object]:
    """Return what reads all numbers of some arrays once."""
    words = [array.view(np.int64) for array in arrays]
    return lambda: [limits.read(array) for array in words]


def turns_of(count: int) -> int:
    """Return how often functions of some points are measured."""
    return harness.TURNS if count < LARGEST else 1


def two_samples(count: int, ordered: bool) -> tuple[list[str], dict[str, float]]:
    """Return a row of the first table, and relative errors by name.

    Raises:
        ArithmeticError: if an error is larger than rounding explains.
    """
    drawn = samples(count)
    in_order = np.sort(drawn[0]), np.sort(drawn[1])
    x, y = in_order if ordered else drawn
    measured = distances(x, y, ordered)
    exact = float(np.abs(in_order[0] - in_order[1]).mean())
    errors = {name: abs(distance() / exact - 1.0) for name, distance in measured.items()}
    for name, error in errors.items():
        if not error <= AGREE[name]:
            raise ArithmeticError(f"{name}'s distance of {count} points is off by {error:.2g}")
    functions = measured | {READING: reading(x, y)}
    times = harness.turns(functions, turns_of(count), time.process_time)
    ours = times[OURS]
    row = [
        f"{count:.0e}".replace("e+0", "e"),
        "sorted" if ordered else "not sorted",
        harness.spread(ours.seconds / count * 1e9),
        harness.ratio(times["scipy"], ours),
        harness.ratio(times.get("POT"), ours),
        harness.spread(ours.over(times[READING])),
    ]
    return row, errors


def sample_and_law(count: int, limit: Measure) -> list[str]:
    """Return a row of the second table."""
    x = np.sort(samples(count)[0])
    cloud = PointMasses(x, sorted=True)
    measured = {OURS: lambda: w1(cloud, limit), READING: reading(x)}
    times = harness.turns(measured, turns_of(count), time.process_time)
    return [
        f"{count:.0e}".replace("e+0", "e"),
        harness.spread(times[OURS].seconds / count * 1e9),
        harness.spread(times[OURS].over(times[READING])),
    ]


TEXT = """\
W1 of two samples of M points each, and of a sorted sample and a law whose distribution function is
a cubic on each of {knots} pieces, exactly. Relative errors, against the mean distance of the i-th
smallest points: at most {errors}.
A ratio above 1 says how many times longer the peer takes. SciPy sorts what is sorted already; POT
does not (`require_sort=False`). What is not sorted NumPy sorts on one core, for all three: in
trials with 10⁴ to 10⁷ points, two threads that sorted half of a sample each took 1.5 times as long
or more, whether the halves were merged afterwards or picked before. "Reading" is how many times as
long as reading all points once from memory. Written by

    python benchmarks/wasserstein.py --full --write docs/performance.md

Processor time of one core; medians of {turns} turns (one at 1e8), and in brackets the least and the
largest.
{machine}

Two samples:

{samples}

A sorted sample and a law (for few points most of the time goes into the pieces of the law):

{law}

Where it is slower than a peer: {slower}.
"""


def slower_than_a_peer(rows: list[list[str]]) -> str:
    """Name the rows in which a peer takes less time, by its median."""
    found = [
        f"{name} at {row[0]}, {row[1]}"
        for row in rows
        for name, ratio in (("SciPy", row[3]), ("POT", row[4]))
        if ratio != harness.ABSENT and float(ratio.split()[0]) < 1.0
    ]
    return "; ".join(found) or "nowhere in this table"


def section(options: harness.Options) -> str:
    """Measure, and return the section."""
    sizes = (*SIZES, LARGEST) if options.full else SIZES
    limit = law()
    found = [two_samples(count, ordered) for count in sizes for ordered in (True, False)]
    rows = [row for row, _ in found]
    head = ["M", "input", "this package [ns a point]", "SciPy", "POT", "reading"]
    return TEXT.format(
        knots=limit.knots.size - 1,
        errors=", ".join(
            f"{max(errors[name] for _, errors in found):.0e} ({name})" for name in found[0][1]
        ),
        turns=harness.TURNS,
        machine=harness.machine("scipy", "POT"),
        samples=harness.table(head, *rows),
        law=harness.table(
            ["M", "this package [ns a point]", "reading"],
            *(sample_and_law(count, limit) for count in sizes),
        ),
        slower=slower_than_a_peer(rows),
    )


if __name__ == "__main__":
    harness.run(__doc__, "Wasserstein distance", section)
