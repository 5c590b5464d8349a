"""How fast the particles approach the limit: rates with confidence intervals, out of a store."""

import math
from collections.abc import Mapping

import numpy as np

from pipeline.analysis.along import Row, Samples, complete, missing_along, read_along, rows, sizes
from pipeline.analysis.results import Found
from pipeline.analysis_tables import CLOUD_RATES, CONTROL_RATES, LOCAL_RATES, RATES, AnalysisTable
from pipeline.case import Case
from pipeline.expected_rates import expected_rate, expected_sliced_rate, upper_bound_rate
from pipeline.layout import analysis_tables
from pipeline.reference import dobrushin_of, reference_of
from pipeline.statistics.power import is_underpowered
from pipeline.statistics.rate import fit_rate, local_rates, mean_interval
from pipeline.status import UpstreamError
from pipeline.store import Store
from pipeline.upstream import Results
from solvers.empirical import asymptotic_prefactor
from solvers.errors import MeanfieldError


def analyse_rates(store: Store, table: AnalysisTable, partial: bool) -> None:
    """Fit w1 = prefactor · M^rate in every row, and write it to /analysis.

    Args:
        store: the store.
        table: RATES on the line, CLOUD_RATES in R^d.
        partial: whether rows that lack points are fitted from what is there.
    """
    missing = missing_along(store, table)
    computed = read_along(store, "particles/w1", table)
    distances = complete(computed, missing, partial)
    particles = sizes(store, "particles")
    found = Found(store, table)
    for row in rows(store, table):
        curves = distances.at(row)
        found.put(row, "points_missing", int((missing.at(row) >= 0).sum()))
        for snapshot in range(curves.shape[-1]):
            _fit(found, row, snapshot, particles, curves[..., snapshot])
        exact = np.isfinite(computed.at(row)).any(axis=(1, 2))  # in R^d only the smaller M
        _put_expected(found, row, store.study.case(dict(row.settings)), particles[exact])
    if table is RATES:
        _theory(store, found)
        _growth(store, found, partial)
    else:
        sliced = complete(read_along(store, "particles/sliced_w1", table), missing, partial)
        for row in rows(store, table):
            for snapshot in range(len(store.study.snapshots)):
                fit = fit_rate(particles, sliced.at(row)[..., snapshot])
                found.put_interval(
                    row, "sliced_rate", (fit.rate, fit.rate_low, fit.rate_high), snapshot
                )
    found.write()
    if LOCAL_RATES in analysis_tables(store.study):
        _analyse_local_rates(store, distances)


def _analyse_local_rates(store: Store, distances: Samples) -> None:
    """Means over the seeds, and slopes between neighbouring M."""
    particles, found = sizes(store, "particles"), Found(store, LOCAL_RATES)
    for row in rows(store, LOCAL_RATES):
        for snapshot, curves in enumerate(np.moveaxis(distances.at(row), -1, 0)):
            slopes = local_rates(particles, curves)
            interval = (slopes.rate, slopes.low, slopes.high)
            found.put_interval(row, "rate_local", interval, snapshot)
            found.put_interval(row, "w1_mean", mean_interval(curves), snapshot)
    found.write()


def _fit(found: Found, row: Row, snapshot: int, particles: np.ndarray, curves: np.ndarray) -> None:
    fit = fit_rate(particles, curves)
    for name, value in vars(fit).items():
        found.put(row, name, value, snapshot)
    if math.isfinite(fit.rate):
        weak = is_underpowered(fit.rate_low, fit.rate_high)
        found.put(row, "underpowered", int(weak), snapshot)


def widest_half_width(store: Store, partial: bool) -> float:
    """Half the width of the widest confidence interval of a rate; NaN where there is none."""
    table = RATES if store.study.dimension == 1 else CLOUD_RATES
    missing, particles = missing_along(store, table), sizes(store, "particles")
    widest = math.nan
    for name in ("w1",) if table is RATES else ("w1", "sliced_w1"):
        distances = complete(read_along(store, f"particles/{name}", table), missing, partial)
        for row in rows(store, table):
            for curves in np.moveaxis(distances.at(row), -1, 0):
                fit = fit_rate(particles, curves)
                ends = (fit.rate_high - fit.rate, fit.rate - fit.rate_low)
                widest = float(np.fmax(widest, np.fmax(*ends)))
    return widest


def _put_expected(found: Found, row: Row, case: Case, particles: np.ndarray) -> None:
    """The exponents that theory gives; nothing for fewer than two M, as there is no fit."""
    dimension = getattr(case.problem.initial, "dimension", 1)
    if len(particles) > 1:
        found.put(row, "rate_expected", expected_rate(case.sampling, dimension, particles))
        if case.sampling.startswith("iid"):
            found.put(row, "rate_bound", upper_bound_rate(dimension, particles))
    if found.table is CLOUD_RATES:
        found.put(row, "sliced_rate_expected", expected_sliced_rate(case.sampling, dimension))


def _growth(store: Store, found: Found, partial: bool) -> None:
    """The largest growth of w1 over M and seeds at each snapshot."""
    table = found.table
    missing = missing_along(store, table)
    distances = complete(read_along(store, "particles/w1", table), missing, partial)
    initial = read_along(store, "particles/w1_initial", table)
    for row in rows(store, table):
        growth = distances.at(row) / initial.at(row)[..., None]
        known = np.where(np.isnan(growth), -math.inf, growth).max(axis=(0, 1))
        found.put(row, "dobrushin_measured", np.where(np.isfinite(known), known, math.nan))


def _theory(store: Store, found: Found) -> None:
    results = Results(store)
    for row in rows(store, found.table):
        for name, values in _expected(store, results, row.settings).items():
            found.put(row, name, values)


def _expected(
    store: Store, results: Results, settings: Mapping[str, object]
) -> dict[str, np.ndarray]:
    """What theory gives at each snapshot; NaN where it gives nothing or cannot be computed.

    For i.i.d. samples, which stay i.i.d. under the flow, the prefactor is √(2/π)∫√(F(1−F)).
    """
    count = len(store.study.snapshots)
    unknown = np.full(count, math.nan)
    try:
        case = results.case("particles", settings)
        reference, factor = reference_of(case), dobrushin_of(case)
    except (MeanfieldError, UpstreamError):  # a failure of the points too, which say so
        return {"prefactor_expected": unknown, "dobrushin_factor": unknown}
    if not case.sampling.startswith("iid"):
        return {"prefactor_expected": unknown, "dobrushin_factor": factor}
    prefactor = [asymptotic_prefactor(reference.measure(s)) for s in range(count)]
    return {"prefactor_expected": np.array(prefactor), "dobrushin_factor": factor}


def analyse_control_rates(store: Store, partial: bool) -> None:
    """Rates at which controls and cost of M samples approach those of the mean field."""
    particles = sizes(store, "training_particles")
    missing = missing_along(store, CONTROL_RATES)
    found = Found(store, CONTROL_RATES)
    for source, name in (("control_distance", "control_rate"), ("cost_gap", "cost_gap_rate")):
        values = complete(read_along(store, f"train/{source}", CONTROL_RATES), missing, partial)
        for row in rows(store, CONTROL_RATES):
            curves = np.abs(values.at(row))
            for place in np.ndindex(curves.shape[2:]):
                fit = fit_rate(particles, curves[(slice(None), slice(None), *place)])
                found.put_interval(row, name, (fit.rate, fit.rate_low, fit.rate_high), *place)
    found.write()
