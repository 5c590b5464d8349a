"""What a report says in words and tables: where the numbers come from, and the numbers."""

import json
import re
import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w
import xarray as xr

from pipeline.analysis.gaps import gaps
from pipeline.analysis.text import gap_line
from pipeline.errors import FigureError, StoreError, StudyError
from pipeline.figures.status import status_sources
from pipeline.figures.tables import cut, frame, study_document
from pipeline.place import Place
from pipeline.plan import plan_step
from pipeline.report.tables import Cell, Table, figure, tables_of
from pipeline.status import Status
from pipeline.store import Store, open_stored

MAX_FAILURES = 200
MAX_GAPS = 60


@dataclass(frozen=True)
class Failed:
    """A failed point: why, and the command that recomputes it."""

    point: str
    status: str
    reason: str
    command: str


@dataclass
class Facts:
    """What is said of one store."""

    name: str
    path: str
    document: dict[str, Any]
    attributes: dict[str, Any]
    run: dict[str, Any]
    headline: list[tuple[str, str, str]]
    counts: Table | None
    tables: list[Table] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    failures_left_out: int = 0

    @property
    def study_text(self) -> str:
        """The study as its file says it, every default written out."""
        return tomli_w.dumps(self.document) if self.document else ""

    @property
    def provenance(self) -> list[tuple[str, str]]:
        """Where the numbers come from."""
        known = self.run.get("provenance", {})
        packages = known.get("packages", {})
        found = [
            ("store", self.path),
            ("created", _text(self.attributes.get("created"))),
            ("last run", _text(known.get("started"))),
            ("command", _text(known.get("command"))),
            ("host", _text(known.get("host") or self.attributes.get("host"))),
            ("platform", _text(known.get("platform"))),
            ("meanfield", " · ".join(filter(None, [_text(known.get("meanfield")),
                                                   _text(known.get("commit"))]))),
            ("packages", ", ".join(f"{k} {v}" for k, v in packages.items())),
            ("fingerprint", _text(known.get("fingerprint"))),
            ("identity", _text(self.attributes.get("identity_hash"))),
        ]  # fmt: skip
        return [(key, text) for key, text in found if text]


def facts_of(tree: xr.DataTree, place: Place, folder: Path) -> Facts:
    """Everything that is said of a store.

    Args:
        tree: the store, opened.
        place: where it is.
        folder: of its run: run.json and logs/.
    """
    document = study_document(tree)
    name = str(document.get("study", {}).get("name", place.name))
    run = _read_json(folder / "run.json")
    store = _opened(place)
    failures, more = failures_of(tree, place, folder / "logs")
    return Facts(
        name=name,
        path=str(place),
        document=document,
        attributes={str(key): value for key, value in tree.attrs.items()},
        run=run,
        headline=[*_points(tree, store), *_fitted(tree), *_cost(run)],
        counts=_counts(tree),
        tables=tables_of(tree),
        gaps=_gaps(store),
        failures=failures,
        failures_left_out=more,
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _counts(tree: xr.DataTree) -> Table | None:
    """How many points of each step have each status."""
    found: dict[str, pd.Series] = {}
    for step, name in status_sources(tree):
        label = step if name == "status" else f"{step} against PDE"
        found[label] = frame(tree, step, [name])[name].value_counts()
    used = [s for s in Status if any(s in counts.index for counts in found.values())]
    rows = [
        [
            Cell(label),
            Cell(str(counts.sum()), float(counts.sum())),
            *(Cell(str(counts.get(s, 0)), float(counts.get(s, 0))) for s in used),
        ]
        for label, counts in found.items()
    ]
    header = ["step", "points", *(s.meaning for s in used)]
    return Table("counts", "points by status", header, rows) if rows else None


def _points(tree: xr.DataTree, store: Store | None) -> list[tuple[str, str, str]]:
    """How many points are done, counted as ``status`` does; a point that failed anywhere is not."""
    if store is None:
        sources = [(step, name) for step, name in status_sources(tree) if name == "status"]
        counts = [frame(tree, step, [name])[name].value_counts() for step, name in sources]
        many = {status: sum(int(count.get(status, 0)) for count in counts) for status in Status}
    else:
        known = [plan_step(store, step).count for step in store.study.steps]
        many = {s: sum(count.failed.get(str(int(s)), 0) for count in known) for s in Status}
        many[Status.DONE] = sum(count.done for count in known)
        many[Status.PENDING] = sum(count.pending for count in known)
    others = [f"{n} {status.meaning}" for status, n in many.items() if n and status != Status.DONE]
    return [("points done", f"{many[Status.DONE]} of {sum(many.values())}", ", ".join(others))]


def _fitted(tree: xr.DataTree) -> list[tuple[str, str, str]]:
    """The rates at the last snapshot: one number where there are few rows, else their range."""
    for name, title in (
        ("rate", "rate in M"),
        ("l1_order", "order in L1"),
        ("control_rate", "rate of controls"),
    ):
        try:
            found = frame(tree, "analysis", [name])
        except FigureError:
            continue
        if "snapshot" in found:
            found = found[found["snapshot"] == found["snapshot"].max()]
        values = found[name].dropna()
        if values.empty:
            continue
        when = f" at t = {found['snapshot'].max():g}" if "snapshot" in found else ""
        low, high = figure(values.min(), 3), figure(values.max(), 3)
        text = low if low == high else f"{low} … {high}"
        rows = f"{len(values)} row{'s' if len(values) > 1 else ''}"
        return [(title + when, text, rows)]
    return []


def _cost(run: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    seconds = run.get("core_seconds")
    if not isinstance(seconds, (int, float)) or not seconds:
        return []
    wall = run.get("wall_seconds", 0.0)
    return [
        ("last run", f"{seconds:.3g} core-s", f"in {wall:.3g} s, {run.get('computed', 0)} points")
    ]


def _opened(place: Place) -> Store | None:
    """The store as its study sees it; None where that cannot be read, as without a data file."""
    try:
        return open_stored(place)
    except (StudyError, StoreError):
        return None


def _gaps(store: Store | None) -> list[str]:
    """Which fits were not made, and for which points."""
    found = gaps(store) if store else []
    lines = [gap_line(gap) for gap in found[:MAX_GAPS]]
    return lines + [f"{len(found) - MAX_GAPS} more rows"] * (len(found) > MAX_GAPS)


def failures_of(tree: xr.DataTree, place: Place, logs: Path) -> tuple[list[Failed], int]:
    """The points without a proper result, and how many more there are.

    The store says which; the logs of the run say why.
    """
    reasons, total = _reasons(logs), 0
    found: list[Failed] = []
    for step, name in status_sources(tree):
        data = cut(tree, step)
        status = data[name].to_numpy()
        failed = np.argwhere(status > Status.DONE)
        total += len(failed)
        for index in failed[: max(0, MAX_FAILURES - len(found))]:
            values = _values(data, data[name].dims, index)
            code = Status(int(status[tuple(index)]))
            found.append(_failed(place, step, values, code, reasons))
    return found, total - len(found)


def _values(data: xr.Dataset, dims: Sequence[Hashable], index: np.ndarray) -> dict[str, Any]:
    """The keys and labels of a point."""
    return {
        str(name): variable.to_numpy().tolist()[i]
        for dim, i in zip(dims, index, strict=True)
        for name, variable in data.variables.items()
        if variable.dims == (dim,)
    }


def _failed(
    place: Place, step: str, values: Mapping[str, Any], code: Status, reasons: Mapping[str, str]
) -> Failed:
    words = [f"{key}={value}" for key, value in values.items()]
    command = shlex.join(["meanfield", "point", place.address, step, *words])
    reason = reasons.get(_key(step, values), "")
    return Failed(f"{step} {' '.join(words)}", code.meaning, reason, command)


def _reasons(logs: Path) -> dict[str, str]:
    """Why points failed, by the logs that the run left."""
    found = {}
    for file in sorted(logs.glob("*.txt")) if logs.is_dir() else ():
        try:
            head = file.read_text(errors="replace")[:20_000].split("\n\n", 1)[0]
        except OSError:
            continue
        lines = dict(re.findall(r"(?m)^(step|parameters|reason): (.*)$", head))
        try:
            values = json.loads(lines.get("parameters", ""))
        except ValueError:
            continue
        found[_key(lines.get("step", ""), values)] = lines.get("reason", "")
    return found


def _key(step: str, values: Mapping[str, Any]) -> str:
    """A point as a text that does not depend on the order of its keys."""
    return f"{step} {sorted((key, str(value)) for key, value in values.items())}"
