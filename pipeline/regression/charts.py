"""The history of every tracked number as charts of the page: one per variable, alarms first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from pipeline.regression.findings import Number, Step, place
from pipeline.regression.history import Record
from pipeline.regression.verdict import Verdict, step_text
from pipeline.regression.versions import versions
from pipeline.report.charts import embedded

MOST_NIGHTS = 200
"""The page shows so many of the newest; the history keeps all."""
HEIGHT = 190
SHOWN = ("meanfield", "numpy", "numba", "llvmlite", "llvm", "cpu", "host")
"""What of a night is shown on hover, its commit apart, which may be another every night."""
DIGITS = 10
"""Of each number in the page, which has some hundred thousand."""
MANY = 60
"""Nights from which on their points are small."""
CHOSEN = {"filter": "datum.p === place"}
LINE, BAD, GOOD, STEP = "var(--series-3)", "var(--series-1)", "var(--series-2)", "var(--series-4)"


@dataclass(frozen=True)
class Chart:
    """The history of one variable.

    Attributes:
        key: of its element.
        study: the study.
        variable: its path in the store.
        alarmed: whether there is an alarm about it tonight.
        steps: how many steps its numbers have.
        numbers: how many numbers of it are tracked.
        specification: Vega-Lite, as text that is safe inside a script element.
    """

    key: str
    study: str
    variable: str
    alarmed: bool
    steps: int
    numbers: int
    specification: Markup


def charts_of(records: Sequence[Record], verdict: Verdict) -> list[Chart]:
    """A chart per variable that tonight tracks: those with alarms first, then those that moved."""
    nights = [record for record in records if record.judged][-MOST_NIGHTS:]
    known = [{number.key: number for number in record.numbers} for record in nights]
    alarmed = {(finding.study, finding.variable) for finding in verdict.alarms}
    new = {step.number for step in verdict.step_alarms}
    moved = {step.number for step in verdict.steps}
    grouped: dict[tuple[str, str], list[str]] = {}
    for key, number in known[-1].items() if nights else ():
        grouped.setdefault((number.study, number.variable), []).append(key)
    found = []
    for i, ((study, variable), keys) in enumerate(grouped.items()):
        keys.sort(key=lambda key: (key not in new, key not in moved))
        steps = [step for step in verdict.steps if step.number in keys]
        bad = (study, variable) in alarmed or bool(new.intersection(keys))
        drawn = embedded(_specification(keys, steps, nights, known, verdict, bad=bad))
        key = f"history-{i}"
        found.append(Chart(key, study, variable, bad, len(steps), len(keys), drawn))
    return sorted(found, key=lambda chart: (not chart.alarmed, not chart.steps))


def _specification(
    keys: Sequence[str],
    steps: Sequence[Step],
    nights: Sequence[Record],
    known: Sequence[Mapping[str, Number]],
    verdict: Verdict,
    *,
    bad: bool,
) -> dict[str, Any]:
    """The chart of a variable; a menu chooses among its numbers.

    Args:
        keys: of the numbers, the first to be seen first.
        steps: in them.
        nights: the nights.
        known: the numbers of each night, by key.
        verdict: tonight's.
        bad: whether there is an alarm about the variable.
    """
    rows = list(_rows(keys, known))
    marks = [
        {"p": keys.index(step.number), "when": _time(step.night), "text": step_text(step)}
        for step in steps
    ]
    layers = _layers([record.night for record in nights], _x(nights), verdict, bad=bad)
    drawn = {
        "baseline": any(record.night == verdict.baseline_night for record in nights),
        "intervals": any("l" in row for row in rows),
        "steps": bool(marks),
    }
    return {
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [_menu([known[-1][key].at for key in keys])],
        "datasets": {"steps": marks},
        "data": {"values": rows},
        "transform": [CHOSEN, *_lookups(nights)],
        "layer": [layer for name, layer in layers.items() if drawn.get(name, True)],
    }


def _layers(
    names: Sequence[str], x: Mapping[str, Any], verdict: Verdict, *, bad: bool
) -> dict[str, dict[str, Any]]:
    """The layers of a chart, by what they show."""
    base = [{"filter": f"datum.night === '{verdict.baseline_night}'"}]
    return {
        "baseline": {
            "transform": base,
            "mark": {"type": "rule", "strokeDash": [5, 4], "color": GOOD},
            "encoding": {"y": _y("v")},
        },
        "intervals": {
            "mark": {"type": "rule", "color": LINE, "opacity": 0.45},
            "encoding": {"x": x, "y": _y("l"), "y2": {"field": "h"}},
        },
        "line": {"mark": {"type": "line", "color": LINE}, "encoding": {"x": x, "y": _y("v")}},
        "steps": {
            "data": {"name": "steps"},
            "transform": [CHOSEN],
            "mark": {"type": "rule", "color": STEP, "strokeWidth": 2.5, "opacity": 0.75},
            "encoding": {"x": x, "tooltip": [{"field": "text", "title": "step"}]},
        },
        "points": _points(names, x, bad=bad),
    }


def _menu(places: Sequence[Mapping[str, str | float]]) -> dict[str, Any]:
    """The choice among numbers, by those of their coordinates that differ."""
    telling = [key for key in places[0] if len({at.get(key) for at in places}) > 1]
    labels = [place({key: at[key] for key in telling if key in at}).strip(" ()") for at in places]
    options = {"input": "select", "options": list(range(len(places))), "labels": labels}
    bound = {"bind": options | {"name": "at "}}
    return {"name": "place", "value": 0} | (bound if len(places) > 1 else {})


def _rows(
    keys: Sequence[str], known: Sequence[Mapping[str, Number]]
) -> Iterator[dict[str, int | float]]:
    """The numbers: by the positions of their places and nights, value and ends of the interval."""
    for n, numbers in enumerate(known):
        for p, key in enumerate(keys):
            number = numbers.get(key)
            if number is None or not math.isfinite(number.value):
                continue
            row: dict[str, int | float] = {"p": p, "n": n, "v": _rounded(number.value)}
            if math.isfinite(number.low) and math.isfinite(number.high):
                row |= {"l": _rounded(number.low), "h": _rounded(number.high)}
            yield row


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _lookups(nights: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """When each night was, and what it was computed with; equal versions are there once."""
    facts = [versions(record.provenance) for record in nights]
    kinds = [tuple(found.get(name, "unknown") for name in SHOWN) for found in facts]
    known = list(dict.fromkeys(kinds))
    rows = [
        {"n": n, "night": record.night, "when": _time(record.night), "outcome": record.outcome,
         "commit": found.get("commit", "unknown"), "kind": known.index(kind)}
        for n, (record, found, kind) in enumerate(zip(nights, facts, kinds, strict=True))
    ]  # fmt: skip
    yield _lookup("n", rows)
    yield _lookup(
        "kind", [{"kind": i} | dict(zip(SHOWN, k, strict=True)) for i, k in enumerate(known)]
    )


def _lookup(key: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    fields = [name for name in rows[0] if name != key]
    return {"lookup": key, "from": {"data": {"values": rows}, "key": key, "fields": fields}}


def _points(names: Sequence[str], x: Mapping[str, Any], *, bad: bool) -> dict[str, Any]:
    """The nights as points; tonight's is marked where there is an alarm about it."""
    tips = [
        {"field": "night", "title": "night"},
        {"field": "v", "type": "quantitative", "title": "value", "format": ".8~g"},
        {"field": "l", "type": "quantitative", "title": "from", "format": ".6~g"},
        {"field": "h", "type": "quantitative", "title": "to", "format": ".6~g"},
        *({"field": name, "title": name} for name in ("outcome", "commit", *SHOWN)),
    ]
    tonight = {"test": f"datum.n === {len(names) - 1}", "value": BAD if bad else LINE}
    size = 55 if len(names) < MANY else 20
    return {
        "mark": {"type": "point", "filled": True, "size": size, "opacity": 1},
        "encoding": {"x": x, "y": _y("v"), "tooltip": tips,
                     "color": {"condition": tonight, "value": LINE}},
    }  # fmt: skip


def _x(nights: Sequence[Record]) -> dict[str, Any]:
    """The axis of time, with days where it is of more than some, and their hours where not."""
    span = _moment(nights[-1].night) - _moment(nights[0].night)
    axis: dict[str, Any] = {"title": None, "labelFlush": True, "tickCount": 6}
    if span < timedelta(days=6):
        seconds = ":%S" if timedelta(0) < span < timedelta(minutes=6) else ""
        axis |= {"format": f"%d %b %H:%M{seconds}", "tickCount": 3}
    return {"field": "when", "type": "temporal", "scale": {"type": "utc"}, "axis": axis}


def _y(field: str) -> dict[str, Any]:
    axis = {"title": None, "format": ".4~g", "tickCount": 5}
    return {"field": field, "type": "quantitative", "scale": {"zero": False}, "axis": axis}


def _time(night: str) -> int:
    """When a night began, in milliseconds as JavaScript counts them."""
    return 1000 * round(_moment(night).timestamp())


def _moment(night: str) -> datetime:
    return datetime.strptime(night[:16], "%Y%m%dT%H%M%S%z")
