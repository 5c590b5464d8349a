"""Sampling error against grid error: the joint fit of w1_pde over the (M, cells) plane."""

import math
from dataclasses import dataclass, replace

import numpy as np

from pipeline.analysis.along import Row, complete, missing_along, read_along, rows, sizes
from pipeline.analysis.results import Found
from pipeline.analysis_tables import FLOOR, PLANE, RATES
from pipeline.inner_coordinates import BUDGETS
from pipeline.statistics.floor import fit_floor
from pipeline.statistics.plane import PlaneFit, balanced_particles, fit_plane
from pipeline.statistics.plane import error as plane_error
from pipeline.store import Store

TERMS = ("sampling_rate", "sampling_prefactor", "grid_order", "grid_prefactor", "plane_floor")
RESOLUTIONS = np.unique(np.geomspace(8, 1e6, 121).round())


def analyse_plane(store: Store, partial: bool) -> None:
    """Fit the plane in every row, find the best pair for each budget, and write both."""
    missing = missing_along(store, PLANE)
    distances = complete(read_along(store, "particles/w1_pde", PLANE), missing, partial)
    particles, cells = sizes(store, "particles"), sizes(store, "cells")
    found, by_cells = Found(store, PLANE), Found(store, FLOOR)
    for row in rows(store, PLANE):
        prices = prices_of(store, row)
        for snapshot in range(len(store.study.snapshots)):
            fit = fit_plane(particles, cells, distances.at(row)[..., snapshot])
            for name in TERMS:
                ends = (getattr(fit, f"{name}{end}") for end in ("", "_low", "_high"))
                found.put_interval(row, name, ends, snapshot)
            for name, number in (
                ("plane_power", fit.plane_power),
                ("plane_misfit", fit.plane_misfit),
                ("plane_terms", fit.terms),
            ):
                found.put(row, name, number, snapshot)
            by_cells.put_interval(
                row, "balanced_particles", balanced_particles(fit, cells), snapshot
            )
            for number, budget in enumerate(BUDGETS):
                best = best_pair(fit, prices, budget)
                for name, value in zip(("particles", "cells", "error"), best, strict=True):
                    found.put(row, f"best_{name}", value, number, snapshot)
    _put_floors(store, by_cells, partial)
    found.write()
    by_cells.write()


def _put_floors(store: Store, found: Found, partial: bool) -> None:
    exact = complete(read_along(store, "particles/w1", RATES), missing_along(store, RATES), partial)
    solved = complete(
        read_along(store, "particles/w1_pde", FLOOR), missing_along(store, FLOOR), partial
    )
    for row in rows(store, FLOOR):
        for snapshot in range(len(store.study.snapshots)):
            floor = fit_floor(exact.at(row)[..., snapshot], solved.at(row)[..., snapshot])
            found.put(row, "floor", floor, snapshot)


@dataclass(frozen=True)
class Prices:
    """Nominal core-seconds of one realisation with M particles, and of the PDE at RESOLUTIONS.

    Attributes:
        particle: of each particle.
        start: of a realisation without any.
        limit: of the PDE solution at each of RESOLUTIONS.
    """

    particle: float
    start: float
    limit: np.ndarray


def prices_of(store: Store, row: Row) -> Prices:
    """What the steps cost at a row, by their own cost models."""
    case = store.study.case(dict(row.settings))
    particles, limit = store.study.step("particles").cost, store.study.step("limit").cost
    few, many = (particles(replace(case, particles=m)) for m in (10**6, 2 * 10**6))
    return Prices(
        (many - few) / 10**6,
        particles(replace(case, particles=1)),
        np.array([limit(replace(case, cells=int(n))) for n in RESOLUTIONS]),
    )


def best_pair(fit: PlaneFit, prices: Prices, budget: float) -> tuple[float, float, float]:
    """The M and the cells that give the least w1_pde for some core-seconds, and that w1_pde.

    NaN where the fit does not know both terms, or the budget buys nothing.
    """
    left = budget - prices.limit - prices.start
    affordable = np.floor(left / prices.particle)
    usable = affordable >= 1
    if not usable.any():
        return (math.nan,) * 3
    errors = plane_error(fit, affordable[usable], RESOLUTIONS[usable])
    if not np.isfinite(errors).all():
        return (math.nan,) * 3
    best = int(np.argmin(errors))
    return (
        float(affordable[usable][best]),
        float(RESOLUTIONS[usable][best]),
        float(errors[best]),
    )
