"""The page of the regression runs: tonight's verdict, and the history of every tracked number."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.regression.charts import charts_of
from pipeline.regression.evidence import Evidence
from pipeline.regression.findings import Finding, place
from pipeline.regression.history import Record
from pipeline.regression.verdict import Verdict
from pipeline.regression.versions import versions
from pipeline.report.html import check_folder, render, write_page
from pipeline.report.tables import Cell, Table, number

KIND = "meanfield regression"
MOST_NIGHTS = 400


def write_history(
    verdict: Verdict, records: Sequence[Record], evidence: Sequence[Evidence], folder: Path
) -> Path:
    """Write ``index.html``: the verdict, alarms first, and the history.

    Args:
        verdict: tonight's.
        records: all nights, tonight's among them.
        evidence: for the first of the alarms.
        folder: where the page goes, beside the evidence.

    Raises:
        StoreError: if there is a page that is not ours.
        OSError: if it cannot be written.
    """
    check_folder(folder, KIND)
    charts = charts_of(records, verdict)
    text = render(
        "history.html",
        KIND,
        title=verdict.study,
        verdict=verdict,
        evidence=[_shown(found, folder) for found in evidence],
        more=[f for f in verdict.alarms if f not in [found.finding for found in evidence]],
        place=place,
        steps=_steps(verdict),
        findings=_findings(verdict.findings),
        charts=charts,
        nights=_nights(records),
        versions=versions(verdict.provenance),
    )
    return write_page(folder, text)


def _shown(found: Evidence, folder: Path) -> dict[str, object]:
    """Evidence with addresses relative to the page."""
    files = {kind: file.relative_to(folder).as_posix() for kind, file in found.files.items()}
    return {**vars(found), "files": files}


def _findings(findings: Sequence[Finding]) -> Table:
    header = ["study", "variable", "where", "outcome", "baseline", "tonight", "difference (95 %)",
              "allowed", "p", "rule", "numbers", "beyond"]  # fmt: skip
    rows = [
        [
            *map(Cell, (f.study, f.variable, place(f.at).strip(" ()"), f.outcome)),
            number(f.old, 6),
            number(f.new, 6),
            _interval(f.low, f.high),
            number(f.allowed, 3),
            number(f.p_value, 3),
            Cell(f.rule),
            Cell(str(f.compared), f.compared),
            Cell(str(f.beyond), f.beyond),
        ]
        for f in findings
    ]
    return Table("findings", "comparisons, at the worst point of each variable", header, rows, 4)


def _interval(low: float, high: float) -> Cell:
    ends = (number(low, 3), number(high, 3))
    return Cell("–") if ends[0].value is None else Cell(f"[{ends[0].text}, {ends[1].text}]")


def _steps(verdict: Verdict) -> Table:
    new = {(step.number, step.night) for step in verdict.new_steps}
    rows = [
        [
            Cell(step.number),
            Cell(step.kind + (" (new)" if (step.number, step.night) in new else "")),
            Cell(step.night),
            number(step.before, 6),
            number(step.after, 6),
            _interval(step.low, step.high),
            Cell(step.earliest if step.earliest == step.latest else
                 f"{step.earliest} … {step.latest}"),
            Cell("; ".join(f"{k} {a} → {b}" for k, (a, b) in step.changed.items()) or "–"),
        ]
        for step in sorted(verdict.steps, key=lambda s: ((s.number, s.night) in new, s.night),
                           reverse=True)
    ]  # fmt: skip
    header = ["number", "kind", "first night", "before", "after", "jump (95 %)",
              "when (95 %)", "what changed then"]  # fmt: skip
    return Table("steps", "where tracked numbers moved", header, rows, 3)


def _nights(records: Sequence[Record]) -> Table:
    rows = []
    for record in reversed(records[-MOST_NIGHTS:]):
        known = versions(record.provenance) if record.provenance else {}
        names = ("commit", "meanfield", "numpy", "numba", "cpu", "host")
        reason = str(record.verdict.get("reason", ""))
        cells = (record.night, record.outcome, reason, *(known.get(n, "–") for n in names))
        rows.append([*map(Cell, cells)])
    header = ["night", "outcome", "reason", "commit", "meanfield", "NumPy", "Numba", "CPU", "host"]
    return Table("nights", "nights, the newest first", header, rows, len(header))
