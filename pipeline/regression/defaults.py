"""How each variable of a store is compared, unless the study says it otherwise."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

import xarray as xr

from pipeline.regression_settings import Rule

ROUNDING = 1e-11
"""What rounding may change in numbers of order one: no rule with a width goes below it."""


def _rule(variables: str, rule: str, **widths: float) -> Rule:
    return Rule.model_validate({"variables": variables, "rule": rule, **widths})


IDENTICAL = _rule("*", "identical")
IGNORED = _rule("*", "ignored")
EQUIVALENT = _rule("*", "equivalent", margin=0.01)
FAILURES = _rule("*", "not-above")
"""How the number of points that failed is followed."""
INTERVAL = _rule("*", "interval", margin=0.0)
RATIO = _rule("*/wall_seconds", "ratio", margin=0.25)
USUAL = (
    RATIO,
    _rule("analysis/*_deviation", "ignored"),
    _rule("analysis/*_expected", "tolerance", relative=1e-6, absolute=ROUNDING),
    _rule("analysis/*_bound", "tolerance", relative=1e-6, absolute=ROUNDING),
    _rule("analysis/*_factor", "tolerance", relative=1e-6, absolute=ROUNDING),
    _rule("analysis/*order*", "order", margin=0.05),
    _rule("analysis/*", "ignored"),
    _rule("limit/substeps", "not-above", relative=0.02, absolute=1.0),
    _rule("train*/*_history", "ignored"),
    _rule("train/gradient_norm", "ignored"),
    _rule("train/iterations", "not-above", relative=0.1, absolute=2.0),
    _rule("train/evaluations", "not-above", relative=0.1, absolute=2.0),
    _rule("train/cost", "tolerance", relative=1e-6, absolute=ROUNDING),
    _rule("train*", "tolerance", relative=1e-4, absolute=1e-8),
    _rule("*", "tolerance", relative=1e-8, absolute=ROUNDING),
)
"""The first that fits holds. What of the analysis is ignored follows from numbers that are not;
training stops where its own tolerance says, and rounding may decide in which iteration that is."""

WIDTHS = {
    "tolerance": {"relative": 0.0, "absolute": 0.0},
    "not-above": {"relative": 0.0, "absolute": 0.0},
    "equivalent": {"margin": 0.01},
    "interval": {"margin": 0.0},
    "order": {"margin": 0.05},
    "ratio": {"margin": 0.25},
}
"""What a rule of a study allows where it does not say it; a tolerance is what it says."""


def rule_of(
    path: str, array: xr.DataArray, names: Collection[str], rules: Sequence[Rule] = ()
) -> Rule:
    """The rule for a variable, with all its widths.

    Args:
        path: of the variable: group/name.
        array: its dimensions and attributes decide what is usual.
        names: of the variables of its group.
        rules: the study's own.
    """
    chosen = _first(path, rules)
    return _usual(path, array, names) if chosen is None else _whole(chosen)


def cost_rule(path: str, rules: Sequence[Rule] = ()) -> Rule:
    """The rule for a cost of the run, with all its widths."""
    return _whole(_first(path, rules) or RATIO)


def _first(path: str, rules: Sequence[Rule]) -> Rule | None:
    return next((rule for rule in rules if fnmatchcase(path, rule.variables)), None)


def _whole(chosen: Rule) -> Rule:
    given = chosen.model_dump(include=set(WIDTHS.get(chosen.rule, ())), exclude_none=True)
    return chosen.model_copy(update={**WIDTHS.get(chosen.rule, {}), **given})


def is_status(array: xr.DataArray) -> bool:
    """Whether a variable says what became of points."""
    return "pending" in str(array.attrs.get("flag_meanings", "")).split()


def _usual(path: str, array: xr.DataArray, names: Collection[str]) -> Rule:
    name = path.rpartition("/")[2]
    group, _, end = name.rpartition("_")
    usual = next(rule for rule in USUAL if fnmatchcase(path, rule.variables))
    if path.startswith("analysis/"):
        if name == "w1_mean":
            return IGNORED  # the seeds of particles/w1 are compared
        if {f"{name}_low", f"{name}_high"} <= set(names):
            return INTERVAL
        if end in ("low", "high") and group in names:
            return IGNORED  # the interval's ends
    elif "flag_meanings" in array.attrs:
        return IDENTICAL
    elif "seed" in array.dims and usual.rule not in ("ignored", "ratio"):
        return EQUIVALENT
    return usual
