"""The judgement on a night: every variable by its rule, with few false alarms over all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from pipeline.alignment import Aligned, Side, aligned, two_stores
from pipeline.place import Place
from pipeline.regression.comparison import Comparison, by_interval, by_number, by_seeds, by_status
from pipeline.regression.conclusions import conclude, conclude_ratio, not_compared
from pipeline.regression.defaults import is_status, rule_of
from pipeline.regression.findings import Finding, Number
from pipeline.regression.multiplicity import holm
from pipeline.regression.points import has_result
from pipeline.regression.ratios import judge_ratio
from pipeline.regression_settings import Regression, Rule

SHARE = 0.5
"""Of the false alarms that a night may raise, what comparisons may; steps have the rest."""


@dataclass(frozen=True)
class Pair:
    """A study of the night with its baseline.

    Attributes:
        study: its name.
        old: the baseline's store.
        new: the night's.
        settings: the study's own, for its rules.
    """

    study: str
    old: Place
    new: Place
    settings: Regression


def judge(
    pairs: Sequence[Pair],
    false_alarms: float,
    numbers: Sequence[Number] = (),
    past: Mapping[str, Sequence[float]] | None = None,
) -> list[Finding]:
    """Compare a night with its baseline, and its times with those of earlier nights.

    Where a test decides, its p-values are adjusted over the whole night, so that the probability of
    any false alarm is at most half of what the night may have; the other half is for steps.

    Args:
        pairs: the studies of the night.
        false_alarms: the probability of any false alarm in a night.
        numbers: the tracked numbers of the night; those with the rule ratio are judged.
        past: values of such numbers in earlier nights, oldest first, by key.

    Raises:
        StoreError: if a store cannot be read.
    """
    level = SHARE * false_alarms
    found = [(pair, result) for pair in pairs for result in _compare(pair)]
    costs = [number for number in numbers if number.rule == "ratio"]
    ratios = [
        judge_ratio(n.value, (past or {}).get(n.key, ()), n.tolerance / n.value) for n in costs
    ]
    compared = [result for _, result in found if isinstance(result, Comparison)]
    p_values = [*(c.p_values for c in compared), np.array([r.p_value for r in ratios])]
    adjusted = np.split(holm(np.concatenate(p_values)), np.cumsum([p.size for p in p_values])[:-1])
    by_comparison = dict(zip(map(id, compared), adjusted[:-1], strict=True))
    tests = int(sum((~np.isnan(p)).sum() for p in p_values))
    findings = [
        result
        if isinstance(result, Finding)
        else conclude(pair.study, result, by_comparison[id(result)], level, tests)
        for pair, result in found
    ]
    return findings + [
        conclude_ratio(number, ratio, float(p), level)
        for number, ratio, p in zip(costs, ratios, adjusted[-1], strict=True)
    ]


def _compare(pair: Pair) -> Iterator[Comparison | Finding]:
    """Every variable of a study by its rule."""
    with two_stores(pair.old, pair.new) as (left, right):
        found = {pair.path: _loaded(pair) for pair in aligned(left, right, free=("seed",))}
        rules = {path: _rule(path, left, pair.settings.rules) for path in found}
        for path, rule in rules.items():
            if rule.rule not in ("ignored", "ratio"):
                yield _compare_one(pair.study, path, rule, found)
        for path in _gone(left, right):
            if _rule(path, left, pair.settings.rules).rule != "ignored":
                reason = "the baseline has this variable, and the night has not"
                yield Finding(pair.study, path, {}, "identical", "alarm", reason=reason)


def _loaded(pair: Aligned) -> Aligned:
    return replace(pair, one=pair.one.load(), other=pair.other.load())


def _rule(path: str, side: Side, rules: Sequence[Rule]) -> Rule:
    group, _, _ = path.rpartition("/")
    names = [str(name) for name in side.tree[group].data_vars]
    return rule_of(path, side.tree[path], names, rules)  # type: ignore[arg-type]


def _gone(left: Side, right: Side) -> Iterator[str]:
    """The variables that only the baseline has; not fields at values of an axis, as of cells."""
    groups = {node.path: node for node in right.tree.subtree}
    for node in left.tree.subtree:
        group, there = node.path.strip("/"), groups.get(node.path)
        if there is None and group.partition("/")[0] in right.tree.children:
            continue
        for name in node.data_vars:
            if there is None or name not in there.variables:
                yield f"{group}/{name}"


def _compare_one(
    study: str, path: str, rule: Rule, found: Mapping[str, Aligned]
) -> Comparison | Finding:
    pair = found[path]
    if pair.reason:
        return not_compared(study, path, rule, pair.reason)
    if not pair.one.size or not pair.other.size:
        reason = "no point of the baseline is in the night"
        return Finding(study, path, {}, rule.rule, "alarm", reason=reason)
    if is_status(pair.one):
        return by_status(_worst_of_seeds(pair), rule)
    pair = _computed(path, found)
    if rule.rule == "equivalent" and "seed" in pair.one.dims:
        return by_seeds(pair, rule)
    if pair.one.shape != pair.other.shape:
        return not_compared(study, path, rule, "the seeds are others")
    ends = [found.get(f"{path}_{end}") for end in ("low", "high")]
    if rule.rule == "interval" and ends[0] is not None and ends[1] is not None:
        return by_interval(pair, ends[0], ends[1], rule, _seeds(found))
    return by_number(pair, rule)


def _seeds(found: Mapping[str, Aligned]) -> tuple[int, int]:
    """How many seeds each of two stores has; 0 without any."""
    sides = ([a.one for a in found.values()], [a.other for a in found.values()])
    one, other = (max((a.sizes.get("seed", 0) for a in arrays), default=0) for arrays in sides)
    return one, other


def _worst_of_seeds(pair: Aligned) -> Aligned:
    """A status as it is, or, where the seeds are others, the highest code of them."""
    if "seed" not in pair.one.dims or pair.one.indexes["seed"].equals(pair.other.indexes["seed"]):
        return pair
    return replace(pair, one=_highest(pair.one), other=_highest(pair.other))


def _highest(status: xr.DataArray) -> xr.DataArray:
    return status.max("seed", keep_attrs=True)


def _computed(path: str, found: Mapping[str, Aligned]) -> Aligned:
    """A variable with NaN at points that are not computed: their statuses are judged themselves.

    A point counts where both sides have it; seeds that differ, where their own side has it.
    """
    pair = found[path]
    one = has_result(path, {p: a.one for p, a in found.items()})
    other = has_result(path, {p: a.other for p, a in found.items()})
    if one.shape == other.shape and one.coords.equals(other.coords):
        one = other = one & other
    return replace(pair, one=pair.one.where(one), other=pair.other.where(other))
