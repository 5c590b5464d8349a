"""The tracked numbers of a night: few enough to look at, of every variable that is judged.

Of each variable the last snapshot is tracked, at the largest M and cells that have results, as the
mean over seeds and over inner dimensions such as the norms. Further axes (activations, γ,
settings of the user's own) are told apart as long as a study has at most 200 numbers; beyond that
the variables with the most numbers are averaged over them. Not tracked are fields and histories
along iterations, whose errors and costs are, and what is ignored. Of a status the number of points
that failed is tracked, of the computing time its sum over all points.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy import stats

from pipeline.alignment import labelled
from pipeline.place import Place
from pipeline.regression.comparison import INFRASTRUCTURE, coordinates
from pipeline.regression.defaults import FAILURES, ROUNDING, cost_rule, is_status, rule_of
from pipeline.regression.equivalence import moments
from pipeline.regression.findings import Number
from pipeline.regression.points import has_result
from pipeline.regression_settings import Regression, Rule
from pipeline.root import read_root
from pipeline.status import Status
from pipeline.steps.base import INNER_DIMENSIONS
from solvers.arrays import FloatArray

MOST = 200
"""Numbers of a study, its costs apart."""
DIGITS = 1e-8
"""What may differ, relative to it, in a fitted number that has no interval."""
LARGEST = ("snapshot", "particles", "cells", "training_particles", "training_cells")
"""Dimensions that are taken at their largest value."""
FIELDS = frozenset({"x", "time", "iteration"})
INNER = frozenset(INNER_DIMENSIONS) | {"budget"}

Arrays = Mapping[str, xr.DataArray]


@dataclass(frozen=True, eq=False)
class _Cut:
    """A variable with the dimensions that are told apart, and seed.

    Attributes:
        path: of the variable.
        rule: how it is compared.
        values: the numbers.
        ends: those of its intervals, where it has some.
        seeds: of how many seeds these are.
    """

    path: str
    rule: Rule
    values: xr.DataArray
    ends: tuple[xr.DataArray, ...] = ()
    seeds: int = 0

    @property
    def apart(self) -> tuple[str, ...]:
        """The dimensions that are told apart."""
        return tuple(str(dim) for dim in self.values.dims if dim != "seed")

    @property
    def count(self) -> int:
        """How many numbers it gives."""
        return math.prod(self.values.sizes[dim] for dim in self.apart)

    def averaged(self) -> "_Cut":
        """The one mean over all of them."""
        arrays = (array.mean(self.apart) for array in (self.values, *self.ends))
        values, *ends = arrays
        return replace(self, values=values, ends=tuple(ends))


def tracked(
    study: str,
    place: Place,
    settings: Regression,
    unit_seconds: float = math.nan,
    costs: Mapping[str, float] | None = None,
) -> list[Number]:
    """The tracked numbers of a store.

    Args:
        study: the study's name.
        place: where the store is.
        settings: its rules.
        unit_seconds: what the calibration kernel took; computing times are tracked in this unit,
            and not at all without it.
        costs: ratios that the run itself has measured, by path, such as "run/memory".
    """
    axes = read_root(place)["attributes"]["axes"]
    with place.open_tree() as tree:
        arrays = {
            f"{node.path.strip('/')}/{name}": labelled(array, axes)
            for node in tree.subtree
            for name, array in node.data_vars.items()
        }
        cuts = _bounded([_cut(path, rule, arrays) for path, rule in _chosen(arrays, settings)])
        found = [number for cut in cuts for number in _numbers(study, cut)]
        seconds = {
            path: float(array.sum()) / unit_seconds
            for path, array in arrays.items()
            if path.endswith("/wall_seconds")
        }
    for path, value in {**seconds, **(costs or {})}.items():
        rule = cost_rule(path, settings.rules)
        if rule.rule != "ignored" and value > 0.0:
            width = tolerance(rule, value)
            found.append(Number(study, path, {}, value, rule=rule.rule, tolerance=width))
    return found


def tolerance(rule: Rule, value: float, scatter: float = 0.0, wide: float = 0.0) -> float:
    """A change of a number that its rule would pass.

    Args:
        rule: with its widths.
        value: the number.
        scatter: the standard deviation of its seeds.
        wide: half the width of its interval, by which numbers agree that have no margin; NaN where
            there is none, as of one seed.
    """
    match rule.rule:
        case "equivalent":
            return (rule.margin or 0.0) * max(abs(value), scatter) + ROUNDING
        case "ratio":
            return (rule.margin or 0.0) * abs(value)
        case "interval":
            bare = DIGITS * abs(value) if math.isnan(wide) else wide
            return (rule.margin or bare) + ROUNDING
        case "order":
            return (rule.margin or 0.0) + ROUNDING
        case _:
            return (rule.relative or 0.0) * abs(value) + (rule.absolute or 0.0)


def _chosen(arrays: Arrays, settings: Regression) -> Iterator[tuple[str, Rule]]:
    """The variables that are tracked, with their rules."""
    for path, array in arrays.items():
        group = path.rpartition("/")[0]
        names = [other.rpartition("/")[2] for other in arrays if other.rpartition("/")[0] == group]
        rule = rule_of(path, array, names, settings.rules)
        words = "flag_meanings" in array.attrs and not is_status(array)
        fields = "/" in group or FIELDS.intersection(map(str, array.dims))
        if rule.rule not in ("ignored", "ratio") and not words and not fields:
            yield path, rule


def _cut(path: str, rule: Rule, arrays: Arrays) -> _Cut:
    """A variable at its largest sizes, averaged over inner dimensions."""
    array = arrays[path]
    if is_status(array):
        failed = ~array.isin((Status.DONE, *INFRASTRUCTURE))
        dims = [dim for dim in array.dims if dim == "seed" or dim in LARGEST]
        return _Cut(path, FAILURES, failed.astype(float).sum(dims))
    ends = [f"{path}_{end}" for end in ("low", "high") if rule.rule == "interval"]
    done = array.where(has_result(path, arrays)).load()
    values, *others = (
        _inner_mean(_at_largest(each, done))
        for each in (done, *(arrays[end].load() for end in ends if end in arrays))
    )
    seeds = max((each.sizes.get("seed", 0) for each in arrays.values()), default=0)
    return _Cut(path, rule, values, tuple(others), seeds)


def _at_largest(array: xr.DataArray, results: xr.DataArray) -> xr.DataArray:
    """The array at the largest sizes at which there is any result."""
    for dim in (dim for dim in LARGEST if dim in array.dims):
        rest = [other for other in results.dims if other != dim]
        known = results.notnull().any(rest) if rest else results.notnull()
        labels = results[dim].where(known, -math.inf) if bool(known.any()) else results[dim]
        place = int(np.argmax(labels.values))
        array, results = array.isel({dim: place}), results.isel({dim: place})
    return array


def _inner_mean(array: xr.DataArray) -> xr.DataArray:
    return array.mean([dim for dim in array.dims if dim in INNER])


def _bounded(cuts: Sequence[_Cut]) -> list[_Cut]:
    """The same, those with the most numbers averaged until there are few enough."""
    found = list(cuts)
    while sum(cut.count for cut in found) > MOST:
        most = max(range(len(found)), key=lambda i: found[i].count)
        if found[most].count == 1:
            break
        found[most] = found[most].averaged()
    return found


def _numbers(study: str, cut: _Cut) -> Iterator[Number]:
    """The numbers of a variable with their intervals: given ones, or those over the seeds."""
    values = _rows(cut.values)
    count, mean, variance = moments(values)
    if cut.ends:
        low, high = (_rows(end)[:, 0] for end in cut.ends)
    else:
        with np.errstate(invalid="ignore"):
            wide = stats.t.ppf(0.975, count - 1.0) * np.sqrt(variance / count)
        low, high = mean - wide, mean + wide
    seeds = np.full(count.shape, cut.seeds) if cut.ends else np.where(count > 1.0, count, 0.0)
    places = cut.values.isel(seed=0, drop=True) if "seed" in cut.values.dims else cut.values
    for i in np.flatnonzero(count > 0):
        scatter = math.sqrt(variance[i]) if count[i] > 1 else 0.0
        yield Number(
            study,
            cut.path,
            coordinates(places, int(i)),
            float(mean[i]),
            float(low[i]),
            float(high[i]),
            cut.rule.rule,
            tolerance(cut.rule, float(mean[i]), scatter, float(high[i] - low[i]) / 2.0),
            int(seeds[i]),
        )


def _rows(array: xr.DataArray) -> FloatArray:
    """The values, (numbers, seeds); one column where there are no seeds."""
    seeds = array.sizes.get("seed", 1)
    last = array.transpose(..., "seed") if "seed" in array.dims else array
    return np.asarray(last.values, dtype=float).reshape(-1, seeds)
