"""One variable of two stores, compared by one rule, number by number."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from pipeline.alignment import Aligned
from pipeline.regression.defaults import ROUNDING
from pipeline.regression.equivalence import (
    LEVEL,
    Difference,
    between_intervals,
    moments,
    paired,
    welch,
)
from pipeline.regression_settings import Rule
from pipeline.status import Status
from pipeline.steps.base import INNER_DIMENSIONS
from solvers.arrays import FloatArray

FIELD_DIMENSIONS = frozenset(INNER_DIMENSIONS) - {"snapshot", "norm"}
"""Dimensions along which the largest entry is the measure of all."""
INFRASTRUCTURE = (Status.PENDING, Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.UPSTREAM)
"""Statuses that say nothing about the numbers."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The numbers of one variable side by side, (n,) each.

    Attributes:
        path: the variable.
        rule: how it was compared.
        places: an array whose dimensions and coordinates are those of the numbers.
        old: the baseline's numbers; means over the seeds where the rule is on means.
        new: those of the night.
        allowed: how large a difference may be.
        within: where it is known to be no larger.
        missing: where a number is on one side only.
        test: of the differences; None where the numbers alone decide.
        p_values: of the test whether a difference is larger than allowed; NaN where there is none.
        seeds: how many seeds the test is of; 0 without any.
    """

    path: str
    rule: Rule
    places: xr.DataArray
    old: FloatArray
    new: FloatArray
    allowed: FloatArray
    within: np.ndarray
    missing: np.ndarray
    p_values: FloatArray
    test: Difference | None = None
    seeds: int = 0

    @property
    def gap(self) -> FloatArray:
        """How far apart the numbers are; for costs how much they have risen."""
        with np.errstate(invalid="ignore"):
            gap = self.new - self.old
        return gap if self.rule.rule == "not-above" else np.abs(gap)

    def at(self, i: int) -> dict[str, str | float]:
        """The coordinates of one of the numbers."""
        return coordinates(self.places, i)


def coordinates(places: xr.DataArray, i: int) -> dict[str, str | float]:
    """The coordinates of one number of an array, by its position in the flat array."""
    index = dict(zip(places.dims, np.unravel_index(i, places.shape), strict=True))
    one = places.isel({dim: int(k) for dim, k in index.items()})
    found = {str(name): label.item() for name, label in one.coords.items()}
    bare = {str(dim): int(k) for dim, k in index.items() if dim not in places.coords}
    return {name: x if isinstance(x, str) else float(x) for name, x in {**bare, **found}.items()}


def by_number(pair: Aligned, rule: Rule) -> Comparison:
    """Compare by a rule that the numbers alone decide: identical, tolerance, not-above or order."""
    old, new = flat(pair.one), flat(pair.other)
    allowed = (rule.relative or 0.0) * flat(_sizes(pair)) + (rule.absolute or rule.margin or 0.0)
    missing = np.isnan(old) != np.isnan(new)
    untested = np.full(old.shape, np.nan)
    found = Comparison(pair.path, rule, pair.one, old, new, allowed, missing, missing, untested)
    return replace(found, within=(found.gap <= allowed) | (new == old))  # the same infinity


def by_seeds(pair: Aligned, rule: Rule) -> Comparison:
    """Compare means over the seeds, with a margin relative to the baseline's mean.

    Where the mean is next to 0, the margin is relative to the scatter of the seeds. Seed is paired
    with seed where both sides have the same; a single one of others tells nothing.
    """
    old, new = _by_seed(pair.one), _by_seed(pair.other)
    same = pair.one.indexes["seed"].equals(pair.other.indexes["seed"])
    gone, came = np.isnan(old), np.isnan(new)
    missing = (gone != came).any(axis=1) if same else gone.all(axis=1) != came.all(axis=1)
    if same:
        old, new = np.where(came, np.nan, old), np.where(gone, np.nan, new)
    test = paired(old, new) if same else welch(old, new)
    (_, before, variance), (_, after, _) = moments(old), moments(new)
    allowed = (rule.margin or 0.0) * np.fmax(np.abs(before), np.sqrt(variance)) + ROUNDING
    within = _shown(test, np.abs(after - before), allowed)
    places = pair.one.isel(seed=0, drop=True)
    seeds = min(old.shape[1], new.shape[1])
    p_values = test.larger(allowed)
    if same:
        p_values = _two_looks(p_values, old, new, rule.margin or 0.0)
    else:  # of a single seed there is no test, and the numbers alone do not tell
        untested = np.isnan(p_values) & ~np.isnan(before) & ~np.isnan(after)
        p_values = np.where(untested, 1.0, p_values)
    return Comparison(
        pair.path, rule, places, before, after, allowed, within, missing, p_values, test, seeds
    )


def _two_looks(p_values: FloatArray, old: FloatArray, new: FloatArray, margin: float) -> FloatArray:
    """The p-values of differences, or of ratios seed by seed, whichever are the clearer.

    What scales all numbers scatters as they do over the seeds, but its ratios do not. Ratios are of
    positive numbers only. Two looks cost a factor of 2.
    """
    positive = ~((old <= 0.0) | (new <= 0.0)).any(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = paired(np.log(old), np.log(new))
    second = ratios.larger(np.full(len(old), np.log1p(margin) + ROUNDING))
    return np.where(positive, np.minimum(2.0 * np.minimum(p_values, second), 1.0), p_values)


def by_interval(
    pair: Aligned, low: Aligned, high: Aligned, rule: Rule, seeds: tuple[int, int]
) -> Comparison:
    """Compare fitted numbers by their 95 % intervals, whose ends are given.

    Without a margin they agree unless the difference is significant. Numbers without intervals, of
    too few seeds, are not compared. Intervals of few seeds have the tails of Student's law: by the
    normal one a level of 1e-5, as among thousands of tests, would be that of 2e-4 for eight seeds.

    Args:
        pair: the numbers.
        low: the lower ends.
        high: the upper ends.
        rule: with its margin.
        seeds: of how many seeds the intervals are; 0 where they are not of seeds.
    """
    old, new = flat(pair.one), flat(pair.other)
    halves = (flat(high.one) - flat(low.one)) / 2.0, (flat(high.other) - flat(low.other)) / 2.0
    test = between_intervals(new - old, halves, seeds)
    allowed = np.full(old.shape, (rule.margin or 0.0) + ROUNDING)
    gap, missing = np.abs(new - old), np.isnan(old) != np.isnan(new)
    p_values = test.larger(allowed)
    within = _shown(test, gap, allowed) if rule.margin else p_values > LEVEL
    old, new = (np.where(np.isnan(test.error) & ~missing, np.nan, x) for x in (old, new))
    return Comparison(pair.path, rule, pair.one, old, new, allowed, within, missing, p_values, test)


def _shown(test: Difference, gap: FloatArray, allowed: FloatArray) -> np.ndarray:
    """Where the test shows that a difference is allowed; without scatter the number does."""
    alone = np.isnan(test.error)
    return np.where(alone, gap <= allowed, test.equivalent(allowed) <= LEVEL)


def _sizes(pair: Aligned) -> xr.DataArray:
    """The size of each number, the larger of the two; of a field the largest of its entries."""
    both = np.fmax(np.abs(pair.one.values), np.abs(pair.other.values))
    size = xr.DataArray(both, dims=pair.one.dims)
    dims = [dim for dim in size.dims if dim in FIELD_DIMENSIONS]
    return size.max(dims).broadcast_like(size).transpose(*size.dims)


def flat(array: xr.DataArray) -> FloatArray:
    """The values one after the other, (n,)."""
    return np.asarray(array.values, dtype=float).ravel()


def _by_seed(array: xr.DataArray) -> FloatArray:
    """The values, (n, seeds)."""
    last = array.transpose(..., "seed").values
    return np.asarray(last, dtype=float).reshape(-1, array.sizes["seed"])


def by_status(pair: Aligned, rule: Rule) -> Comparison:
    """Compare what became of the points: a failure that the baseline did not have is beyond.

    What is for want of time, memory or machines says nothing about the numbers.
    """
    old, new = flat(pair.one), flat(pair.other)
    unsaid = np.isin(old, INFRASTRUCTURE) | np.isin(new, INFRASTRUCTURE)
    within = unsaid | (new == Status.DONE) | (new == old)
    none, untested = np.zeros(old.shape, dtype=bool), np.full(old.shape, np.nan)
    allowed = np.zeros(old.shape)
    return Comparison(pair.path, rule, pair.one, old, new, allowed, within, none, untested)
