"""How fast the particles approach the limit: rates with confidence intervals, out of a store.

At each activation and snapshot (and every further axis), the mean of w1 over the seeds is fitted by
w1 = prefactor · M^rate, by least squares in log-log; whole seed curves are resampled for the
confidence interval, because with common random numbers the M of one seed are not independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from pipeline.analysis_tables import CONTROL_RATES, FLOOR, ORDERS, RATES, AnalysisTable
from pipeline.axes import Axis
from pipeline.layout import analysis_axes, analysis_tables
from pipeline.orders import analyse_orders
from pipeline.reference import dobrushin_of, reference_of
from pipeline.status import UpstreamError
from pipeline.store import Store
from pipeline.upstream import Results
from solvers.empirical import asymptotic_prefactor
from solvers.errors import MeanfieldError

RESAMPLES = 2000
LEVEL = 0.95
SIZES = ("particles", "training_particles")


@dataclass(frozen=True)
class Fit:
    """w1 = prefactor · M^rate, with confidence intervals (NaN where there are too few seeds)."""

    rate: float
    rate_low: float
    rate_high: float
    prefactor: float
    prefactor_low: float
    prefactor_high: float


NO_FIT = Fit(*(math.nan,) * 6)


def fit_rate(particles: np.ndarray, w1: np.ndarray, level: float = LEVEL) -> Fit:
    """Fit the rate of convergence in M.

    Values of M without any result and then seeds without a result at some M are left out. There is
    no fit where an M occurs twice, as on a zipped axis: these are different problems.

    Args:
        particles: the numbers M, (sizes,).
        w1: distances, (sizes, seeds); NaN where there is no result.
        level: of the confidence intervals (percentile bootstrap over seeds, 2000 resamples from a
            fixed stream, widened for few seeds); NaN for fewer than three seeds.
    """
    if len(set(particles.tolist())) < len(particles):
        return NO_FIT
    sizes = ~np.isnan(w1).all(axis=1)
    curves = w1[sizes][:, ~np.isnan(w1[sizes]).any(axis=0)]
    if sizes.sum() < 2 or curves.shape[1] < 1 or not (curves.mean(axis=1) > 0).all():
        return NO_FIT
    log_m = np.log(particles[sizes].astype(float))
    rate, intercept = map(float, _line(log_m, np.log(curves.mean(axis=1))))
    seeds = curves.shape[1]
    if seeds < 3:
        return Fit(rate, math.nan, math.nan, math.exp(intercept), math.nan, math.nan)
    random = np.random.Generator(np.random.Philox(key=0))
    counts = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    means = np.einsum("bs,ms->bm", counts / seeds, curves)
    rates, intercepts = _line(log_m, np.log(means))
    low, high = _interval(rates, rate, level, seeds)
    below, above = _interval(intercepts, intercept, level, seeds)
    return Fit(rate, low, high, math.exp(intercept), math.exp(below), math.exp(above))


def _interval(
    resampled: np.ndarray, estimate: float, level: float, seeds: int
) -> tuple[float, float]:
    """The percentile interval, widened for few seeds.

    Resampling n curves underestimates the spread by √((n−1)/n) and knows nothing of Student's t;
    both are put right by stretching the interval about the estimate.
    """
    stretch = math.sqrt(seeds / (seeds - 1)) * stdtrit(seeds - 1, (1 + level) / 2)
    stretch /= ndtri((1 + level) / 2)
    low, high = np.percentile(resampled, [50 * (1 - level), 50 * (1 + level)])
    return (
        float(estimate + stretch * (low - estimate)),
        float(estimate + stretch * (high - estimate)),
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of least squares lines through the rows of y."""
    offset = x - x.mean()
    slope = (y * offset).sum(axis=-1) / (offset**2).sum()
    return slope, y.mean(axis=-1) - slope * x.mean()


def fit_floor(w1: np.ndarray, w1_pde: np.ndarray) -> float:
    """The level at which the distance to the PDE solution ends as M grows.

    Sampling and discretisation combine about as w1_pde² = w1² + floor² (independent errors); the
    floor is the least squares estimate with weights 1/w1_pde⁴, which lets the largest M decide.

    Args:
        w1: distances to the exact limit, (sizes, seeds).
        w1_pde: distances to the PDE solution, (sizes, seeds).
    """
    known = ~(np.isnan(w1) | np.isnan(w1_pde))
    if not known.any():
        return math.nan
    count = known.sum(axis=1)
    sampled = np.where(known, w1, 0.0).sum(axis=1)[count > 0] / count[count > 0]
    total = np.where(known, w1_pde, 0.0).sum(axis=1)[count > 0] / count[count > 0]
    if not (total > 0).all():
        return math.nan
    squared = np.average(total**2 - sampled**2, weights=total**-4.0)
    return math.sqrt(max(squared, 0.0))


def analyse(store: Store) -> None:
    """Compute /analysis from what the steps hold, and write it."""
    tables = analysis_tables(store.study)
    if RATES in tables:
        _analyse_rates(store)
    if FLOOR in tables:
        _analyse_floor(store)
    if ORDERS in tables:
        analyse_orders(store)
    if CONTROL_RATES in tables:
        _analyse_control_rates(store)


def _analyse_rates(store: Store) -> None:
    distances = read_axis_last(store, "w1", RATES)
    growth = distances / read_axis_last(store, "w1_initial", RATES)
    axes = [store.axes[a.name] for a in analysis_axes(store.study, RATES)]
    particles, results = _particle_numbers(store), Results(store)
    names = [variable.name for variable in RATES.variables]
    found = {name: np.full(store.array(f"analysis/{name}").shape, math.nan) for name in names}
    for index in store.points(axes):
        for snapshot in range(len(store.study.snapshots)):
            fit = fit_rate(particles, distances[index][..., snapshot])
            for name, value in vars(fit).items():
                found[name][(*index, snapshot)] = value
        found["dobrushin_measured"][index] = _largest(growth[index])
        for name, values in _expected(store, results, axes, index).items():
            found[name][index] = values
    for name, values in found.items():
        store.array(f"analysis/{name}")[...] = values


def _analyse_control_rates(store: Store) -> None:
    """Rates at which controls and cost of M samples approach those of the mean field."""
    axes = [store.axes[a.name] for a in analysis_axes(store.study, CONTROL_RATES)]
    particles = _particle_numbers(store, "training_particles")
    for source, name in (("control_distance", "control_rate"), ("cost_gap", "cost_gap_rate")):
        values = np.abs(read_axis_last(store, source, CONTROL_RATES, "train"))
        ends = ("", "_low", "_high")
        shape = (*values.shape[:-3], values.shape[-1])
        found = {end: np.full(shape, math.nan) for end in ends}
        for index in store.points(axes):
            for last in range(shape[-1]):
                fit = fit_rate(particles, values[index][..., last])
                for end, number in zip(ends, (fit.rate, fit.rate_low, fit.rate_high), strict=True):
                    found[end][(*index, last)] = number
        for end, numbers in found.items():
            array = store.array(f"analysis/{name}{end}")
            array[...] = numbers.reshape(array.shape)


def _largest(growth: np.ndarray) -> np.ndarray:
    """The maximum over M and seeds at each snapshot, points without a result left out."""
    known = np.where(np.isnan(growth), -math.inf, growth).max(axis=(0, 1))
    return np.where(np.isfinite(known), known, math.nan)


def _analyse_floor(store: Store) -> None:
    distances = read_axis_last(store, "w1", RATES)
    inner = [store.axes[a.name] for a in analysis_axes(store.study, RATES)]
    against_pde = read_axis_last(store, "w1_pde", FLOOR)
    axes = [store.axes[a.name] for a in analysis_axes(store.study, FLOOR)]
    found = np.full(store.array("analysis/floor").shape, math.nan)
    for index in store.points(axes):
        place = tuple(i for axis, i in zip(axes, index, strict=True) if axis in inner)
        for snapshot in range(len(store.study.snapshots)):
            floor = fit_floor(distances[place][..., snapshot], against_pde[index][..., snapshot])
            found[(*index, snapshot)] = floor
    store.array("analysis/floor")[...] = found


def _expected(
    store: Store, results: Results, axes: Sequence[Axis], index: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """What theory gives at each snapshot; NaN where it gives nothing or cannot be computed.

    For i.i.d. samples, which stay i.i.d. under the flow, the prefactor is √(2/π)∫√(F(1−F)).
    """
    count = len(store.study.snapshots)
    unknown = np.full(count, math.nan)
    try:
        case = results.case("particles", store.values_at(axes, index) or {})
        reference, factor = reference_of(case), dobrushin_of(case)
    except (MeanfieldError, UpstreamError):  # a failure of the points too, which say so
        return {"prefactor_expected": unknown, "dobrushin_factor": unknown}
    if not case.sampling.startswith("iid"):
        return {"prefactor_expected": unknown, "dobrushin_factor": factor}
    prefactor = [asymptotic_prefactor(reference.measure(s)) for s in range(count)]
    return {"prefactor_expected": np.array(prefactor), "dobrushin_factor": factor}


def read_axis_last(
    store: Store, name: str, table: AnalysisTable, step: str = "particles"
) -> np.ndarray:
    """A variable of a step over the study's M and seeds, those axes before its own dimension.

    Returns:
        an array over the stored analysis axes, then M (ascending), seed, and the variable's own
        dimension (its snapshots), of length 1 if it has none.
    """
    owner, variable = next(
        (owner, variable)
        for owner in store.study.step(step).tables
        for variable in owner.variables
        if variable.name == name
    )
    axes = store.table_axes(owner)
    kept = [a.name for a in analysis_axes(store.study, table)]
    found = np.asarray(store.array(f"{step}/{name}")[...])
    if not variable.dims:
        found = found[..., None]
    for number, axis in enumerate(axes):
        if axis.name not in kept:
            found = found.take(_ascending(store, axis), axis=number)
    order = sorted(range(len(axes)), key=lambda i: (axes[i].name not in kept, _rank(axes[i])))
    found = found.transpose(*order, len(axes))
    lengths = found.shape[: len(kept) + 1]
    return found.reshape(*lengths, -1, found.shape[-1])


def _rank(axis: Axis) -> int:
    """Sorts the axis of M before that of the seeds, and leaves the others where they are."""
    return int("seed" in axis.keys and not _size_key(axis))


def _size_key(axis: Axis) -> str | None:
    """The key of an axis that is a number of particles, if it has one."""
    return next((key for key in SIZES if key in axis.keys), None)


def _particle_numbers(store: Store, key: str = "particles") -> np.ndarray:
    axis = next(a for a in store.axes.values() if key in a.keys)
    labels = np.array(axis.labels(key))
    return labels[_ascending(store, axis)]


def _ascending(store: Store, axis: Axis) -> list[int]:
    """The study's positions on an axis, by ascending M where it has M."""
    positions = store.positions(axis.name)
    if (key := _size_key(axis)) is None:
        return positions
    labels = axis.labels(key)
    return sorted(positions, key=lambda position: labels[position])


def expected_rate(sampling: str) -> float:
    """The exponent that theory gives in one dimension: −1/2 for i.i.d. samples, else −1."""
    return -0.5 if sampling.startswith("iid") else -1.0
