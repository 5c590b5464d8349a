"""The joint fit of w1_pde over the plane of particle numbers M and cells N, with intervals.

    w1_pde^power = (C M^rate)^power + (D N^-order)^power + floor^power

for the mean over the seeds, with power 1 where that fits clearly better than 2. Where the grid
error is spread over the support, as for smooth f_0, sampling and grid error are about independent
at each x and add in squares (measured to 6 %); where it sits at jumps of the density, W1 = ∫|F_M −
F_N| dx is the sum of the two (measured to 9 %, where squares are off by up to 38 %). What the data
cannot tell is NaN.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.statistics.bootstrap import LEVEL, half_width
from pipeline.statistics.error_plane import FLOOR, GRID, SAMPLING
from pipeline.statistics.plane_estimate import PlaneEstimate, estimate_plane

TERMS = (  # by the sum of SAMPLING, GRID and FLOOR
    "none",
    "sampling",
    "grid",
    "sampling-and-grid",
    "floor",
    "sampling-and-floor",
    "grid-and-floor",
    "sampling-and-grid-and-floor",
)
NAMES = ("sampling_prefactor", "sampling_rate", "grid_prefactor", "grid_order", "plane_floor")
EVIDENCE = 2.0  # by so much must the criterion of plain sums be the less (Kass, Raftery 1995)
NAN = math.nan


@dataclass(frozen=True)
class PlaneFit:
    """w1_pde^power = (C M^rate)^power + (D N^-order)^power + floor^power, with intervals.

    Attributes:
        plane_power: how the terms add: 2 in squares, 1 plainly.
        plane_misfit: the largest relative distance of a mean w1_pde to the fit.
        terms: the terms that the data tell, as position in TERMS.
        seeds: how many seeds there were.
        level: of the intervals.
        draws: log C, rate, log D and order, then the same from each resample,
            (1 + resamples, 4); NaN where not told.
    """

    sampling_rate: float = NAN
    sampling_rate_low: float = NAN
    sampling_rate_high: float = NAN
    sampling_prefactor: float = NAN
    sampling_prefactor_low: float = NAN
    sampling_prefactor_high: float = NAN
    grid_order: float = NAN
    grid_order_low: float = NAN
    grid_order_high: float = NAN
    grid_prefactor: float = NAN
    grid_prefactor_low: float = NAN
    grid_prefactor_high: float = NAN
    plane_floor: float = NAN
    plane_floor_low: float = NAN
    plane_floor_high: float = NAN
    plane_power: float = NAN
    plane_misfit: float = NAN
    terms: int = 0
    seeds: int = 0
    level: float = LEVEL
    draws: np.ndarray = field(
        default_factory=lambda: np.full((2, 4), NAN), repr=False, compare=False
    )


def fit_plane(
    particles: np.ndarray, cells: np.ndarray, distances: np.ndarray, level: float = LEVEL
) -> PlaneFit:
    """Fit sampling error, grid error and floor together.

    Numbers M and N without any result and then seeds with holes are left out. There is no fit
    where an M or N occurs twice. The parameters of a term that the data do not tell are NaN, but
    the floor, which is then an estimate with low = 0 (NaN for two N). For fewer than three seeds
    the intervals are NaN, and all terms of the fit count as told.

    Args:
        particles: the numbers M, (sizes,).
        cells: the numbers N, (cells,).
        distances: w1_pde, (sizes, cells, seeds); NaN where there is no result.
        level: of the confidence intervals.
    """
    if len(set(particles.tolist())) < len(particles) or len(set(cells.tolist())) < len(cells):
        return PlaneFit(level=level)
    known = ~np.isnan(distances)
    sizes, grids = known.any(axis=(1, 2)), known.any(axis=(0, 2))
    curves = distances[sizes][:, grids]
    curves = curves[..., ~np.isnan(curves).any(axis=(0, 1))]
    if curves.size == 0 or not (curves.mean(axis=-1) > 0.0).all():
        return PlaneFit(level=level)
    x, n = np.log(particles[sizes].astype(float)), np.log(cells[grids].astype(float))
    squares, plain = (estimate_plane(x, n, curves, power, level) for power in (2, 1))
    if squares is None or plain is None:
        return PlaneFit(level=level)
    sure = n.size > 1 and plain.criterion < squares.criterion - EVIDENCE
    better = plain if sure else squares
    return _report(better, curves.shape[-1], level)


def balanced_particles(
    fit: PlaneFit, cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The M at which sampling error equals grid error, and its interval, (cells,) each.

    NaN unless the data tell both terms.
    """
    c, rate, d, order = fit.draws.T[..., None]
    logs = (c - d + order * np.log(cells.astype(float))) / -rate
    wide = half_width(logs[1:], logs[0], fit.seeds, fit.level)
    with np.errstate(over="ignore"):
        return np.exp(logs[0]), np.exp(logs[0] - wide), np.exp(logs[0] + wide)


def error(fit: PlaneFit, particles: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The w1_pde that the fit gives; NaN unless the data tell sampling and grid error."""
    floor = fit.plane_floor if fit.terms & FLOOR else 0.0
    sampling = fit.sampling_prefactor * np.asarray(particles, dtype=float) ** fit.sampling_rate
    grid = fit.grid_prefactor * np.asarray(cells, dtype=float) ** -fit.grid_order
    power = fit.plane_power
    return np.asarray((sampling**power + grid**power + floor**power) ** (1.0 / power))


def _report(fit: PlaneEstimate, seeds: int, level: float) -> PlaneFit:
    hidden = np.repeat([not fit.told & SAMPLING, not fit.told & GRID], 2)
    draws = np.where(hidden, NAN, fit.draws[:, :4])
    ends = np.array([fit.draws[0], fit.draws[0] - fit.wide, fit.draws[0] + fit.wide])
    ends[:, :4][:, hidden] = NAN
    with np.errstate(over="ignore"):
        ends[:, [0, 2]] = np.exp(ends[:, [0, 2]])
    ends[:, 4] = np.maximum(ends[:, 4], 0.0) ** (1.0 / fit.power)
    found: dict[str, Any] = {
        f"{name}{end}": float(value)
        for name, column in zip(NAMES, ends.T, strict=True)
        for end, value in zip(("", "_low", "_high"), column, strict=True)
    }
    return PlaneFit(
        **found,
        plane_power=float(fit.power),
        plane_misfit=fit.misfit,
        terms=fit.told,
        seeds=seeds,
        level=level,
        draws=draws,
    )
