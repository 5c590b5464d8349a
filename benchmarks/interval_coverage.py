"""How often the 95 % intervals of every fit hold the truth, over synthetic studies.

    python benchmarks/interval_coverage.py [studies]

The noise is that of nested independent samples: distances of the Kiefer process, with a relative
scatter of 0.43, which correlate between numbers of particles and between cells. A line is a
quantity and a truth, a column a number of seeds (for the order of a scheme, of cells). 2000 studies
tell coverage to ±1 % (two standard errors). A star marks what is not between 93 and 97 %; the share
of the studies that have an interval stands in brackets where it is not all: what the data do not
tell has none.

What is off, and why:
* `faint bend`, and a plain one with 4 seeds: a pre-asymptotic error about as large as the scatter.
  No test sees it, so the rate is that of these M and not of the limit.
* `plane_floor` where it is zero: the interval has only one end, 97.5 % are right.
* `squares`: without a floor the intervals are somewhat wide, as they allow for one.
* `distances`: grid and sampling error under one integral. Their squares add up only to some per
  cent; with many seeds the grid order is less certain than its interval says.
"""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from pipeline.statistics.kiefer import kiefer, nested_distances
from pipeline.statistics.plane import balanced_particles, fit_plane
from pipeline.statistics.rate import fit_rate, local_rates, mean_interval
from solvers.convergence import fit_order

STUDIES, POOL, KEY = 2000, 16000, 11
SEEDS = (4, 8, 16, 32)
SIZES = np.array([100, 316, 1000, 3162, 10000, 31623, 100000])
CELLS = np.array([50, 100, 200, 400])
UNIFORM = math.sqrt(2.0 / math.pi) * math.pi / 8.0  # lim sqrt(M) E W1 of the uniform law
SAMPLING, GRID, FLOOR = 0.5, 30.0, 0.002  # prefactors and floor of w1_pde

Coverage = dict[str, float]  # 1 or 0, between them for means over several M; NaN: no interval
Study = Callable[[np.ndarray], Coverage]


def inside(low: float, truth: float, high: float) -> float:
    """1 or 0; NaN where there is no interval."""
    return math.nan if math.isnan(low + high) else float(low <= truth <= high)


def nested() -> np.ndarray:
    """Distances of nested samples with the mean SAMPLING M^(-1/2), (sizes, pool)."""
    found = nested_distances(SIZES, POOL, KEY)
    return found * (SAMPLING * SIZES**-0.5 / found.mean(axis=1))[:, None]


def rate(name: str) -> Study:
    """Rate and prefactor of SAMPLING M^(-1/2)."""

    def study(curves: np.ndarray) -> Coverage:
        fit = fit_rate(SIZES, curves)
        return {
            f"rate, {name}": inside(fit.rate_low, -0.5, fit.rate_high),
            f"prefactor, {name}": inside(fit.prefactor_low, SAMPLING, fit.prefactor_high),
        }

    return study


def pieces(curves: np.ndarray) -> Coverage:
    """Means and local rates at all M of SAMPLING M^(-1/2)."""
    local, (_, low, high) = local_rates(SIZES, curves), mean_interval(curves)
    means = [inside(*ends) for ends in zip(low, SAMPLING * SIZES**-0.5, high, strict=True)]
    slopes = [inside(low, -0.5, high) for low, high in zip(local.low, local.high, strict=True)]
    return {"mean over seeds": float(np.mean(means)), "local rate": float(np.mean(slopes[1:]))}


def plane(name: str, order: float, floor: float) -> Study:
    """All parameters of the joint fit."""
    truths = {
        "sampling_rate": -0.5,
        "sampling_prefactor": SAMPLING,
        "grid_order": order,
        "grid_prefactor": GRID,
        "plane_floor": floor,
    }
    balance = (GRID * CELLS[1] ** -order / SAMPLING) ** -2.0

    def study(curves: np.ndarray) -> Coverage:
        fit = fit_plane(SIZES, CELLS, curves)
        found = {
            f"{key}, {name}": inside(getattr(fit, f"{key}_low"), truth, getattr(fit, f"{key}_high"))
            for key, truth in truths.items()
        }
        _, low, high = balanced_particles(fit, CELLS)
        return found | {f"balanced_particles, {name}": inside(low[1], balance, high[1])}

    return study


def added(sampled: np.ndarray, order: float, floor: float) -> np.ndarray:
    """Errors whose means combine by squares, (sizes, cells, pool)."""
    grid = (GRID * CELLS**-order)[:, None]
    found = np.sqrt(sampled[:, None] ** 2 + grid**2 + floor**2)
    truth = np.sqrt(sampled.mean(axis=1)[:, None, None] ** 2 + grid**2 + floor**2)
    return np.asarray(found * truth / found.mean(axis=-1, keepdims=True))


def integrated(order: float) -> np.ndarray:
    """Distances of nested samples to a law that is wrong by a sine, (sizes, cells, pool)."""
    found = np.empty((SIZES.size, CELLS.size, POOL))
    for i, process in enumerate(kiefer(SIZES, POOL, KEY)):
        u = np.arange(1, process.shape[1] + 1) / process.shape[1]
        for j, cells in enumerate(CELLS):
            wrong = GRID * cells**-order * np.pi / 2.0 * np.sin(2.0 * np.pi * u)
            found[i, j] = np.abs(SAMPLING / UNIFORM * process + wrong).mean(axis=1)
    return found


def cases() -> list[tuple[np.ndarray, Study]]:
    """Curves of many seeds, (…, pool), and what is fitted to some of them."""
    curves = nested()
    uneven = np.linspace(1.0, 0.3, SIZES.size)[:, None]
    means = curves.mean(axis=1, keepdims=True)
    return [
        (curves, rate("power law")),
        (means + uneven * (curves - means), rate("uneven scatter")),
        (curves * (1.0 + 500.0 / SIZES)[:, None], rate("plain bend")),
        (curves * (1.0 + 30.0 / SIZES)[:, None], rate("faint bend")),
        (curves, pieces),
        (added(curves, 2.0, 0.0), plane("squares", 2.0, 0.0)),
        (added(curves, 2.0, FLOOR), plane("squares and floor", 2.0, FLOOR)),
        (curves[:, None] + (GRID * CELLS**-2.0)[:, None], plane("plain sum", 2.0, 0.0)),
        (integrated(2.0), plane("distances", 2.0, 0.0)),
    ]


def coverage(curves: np.ndarray, study: Study, seeds: int, studies: int) -> dict[str, np.ndarray]:
    """The outcomes of studies that draw their seeds from a pool."""
    random = np.random.Generator(np.random.Philox(key=seeds))
    found = defaultdict(list)
    for _ in range(studies):
        drawn = random.choice(curves.shape[-1], seeds, replace=False)
        for name, held in study(curves[..., drawn]).items():
            found[name].append(held)
    return {name: np.array(held) for name, held in found.items()}


def order_coverage(cells: int, studies: int) -> np.ndarray:
    """The outcomes for the order of errors that scatter independently about 3 N^-2."""
    random = np.random.Generator(np.random.Philox(key=cells))
    resolutions = 50 * 2 ** np.arange(cells)
    noise = np.exp(0.1 * random.standard_normal((studies, cells)))
    fits = [fit_order(resolutions, errors) for errors in 3.0 * resolutions**-2.0 * noise]
    return np.array([inside(low, 2.0, high) for low, high in (fit.interval() for fit in fits)])


def shown(held: np.ndarray) -> str:
    """Coverage in per cent, with a star where it is off and the share of intervals."""
    known = held[~np.isnan(held)]
    if known.size == 0:
        return "-"
    star = "" if 0.93 <= known.mean() <= 0.97 else "*"
    share = f" [{known.size / held.size:.0%}]" if known.size < 0.995 * held.size else ""
    return f"{100.0 * known.mean():.1f}{star}{share}"


def line(name: str, columns: list[str]) -> None:
    """Print a line of a table."""
    print(f"{name:42s}" + "".join(f"{column:>14s}" for column in columns), flush=True)


def main() -> None:
    """Print the table."""
    studies, start = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES, time.process_time()
    line(f"% of {studies} studies, by seeds", [str(seeds) for seeds in SEEDS])
    for curves, study in cases():
        found = [coverage(curves, study, seeds, studies) for seeds in SEEDS]
        for name in found[0]:
            line(name, [shown(outcomes[name]) for outcomes in found])
    line("order of refinement, by cells", ["3", "4", "6", "8"])
    line("order", [shown(order_coverage(cells, studies)) for cells in (3, 4, 6, 8)])
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
