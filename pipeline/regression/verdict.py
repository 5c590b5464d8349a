"""The verdict of a night: what was compared with what, what came of it, and what changed."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from pipeline.plain_json import without_nan
from pipeline.regression.findings import Finding, Outcome, Step, as_json, place
from pipeline.text_table import print_table

OUTCOMES: tuple[Outcome, ...] = ("alarm", "undecided", "not-compared", "agrees")
"""Outcomes of comparisons, in the order in which people want to see them."""
SHOWN = 40


@dataclass(frozen=True)
class Verdict:
    """What came of a night.

    Attributes:
        night: its name.
        study: the study.
        studies: all studies that were run, the study and its members.
        history: where the night is kept.
        baseline: with what it was compared: a name or a store; "" with nothing.
        baseline_night: the night that the baseline names; "" where it is a store, or there is none.
        outcome: agrees, alarms, first (there was nothing to compare with) or no-verdict.
        reason: one sentence for people.
        findings: the comparisons, alarms first.
        steps: where tracked numbers moved, in the whole history.
        new_steps: those of them that no verdict before had.
        changed: versions, and what else results may depend on, that are not the baseline's.
        notes: what else is to be known.
        calibration: what the machine gave.
        provenance: versions, machine and time.
    """

    night: str
    study: str
    studies: tuple[str, ...]
    history: str
    baseline: str
    baseline_night: str
    outcome: str
    reason: str
    findings: tuple[Finding, ...] = ()
    steps: tuple[Step, ...] = ()
    new_steps: tuple[Step, ...] = ()
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit(self) -> int:
        """The exit status: 0 no alarm, 1 alarms, 2 no verdict."""
        return {"alarms": 1, "no-verdict": 2}.get(self.outcome, 0)

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings that are alarms."""
        return tuple(finding for finding in self.findings if finding.outcome == "alarm")

    @property
    def step_alarms(self) -> tuple[Step, ...]:
        """The new steps that are for the worse."""
        return tuple(step for step in self.new_steps if step.alarm)

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many findings there are of each outcome."""
        found = Counter(finding.outcome for finding in self.findings)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items() if number)
        return f"{self.study}: {self.reason}" + (f" ({counts})" if counts else "")

    def as_json(self) -> dict[str, Any]:
        """The verdict as verdict.json and ``--json`` have it, schema 1."""
        facts: dict[str, Any] = {
            "schema": 1,
            "verb": "regress",
            "study": self.study,
            "studies": list(self.studies),
            "night": self.night,
            "history": self.history,
            "baseline": {"name": self.baseline, "night": self.baseline_night},
            "outcome": self.outcome,
            "reason": self.reason,
            "counts": self.counts,
            "findings": [as_json(finding) for finding in self.findings],
            "steps": [as_json(step) for step in self.steps],
            "new_steps": [as_json(step) for step in self.new_steps],
            "changed": {key: list(pair) for key, pair in self.changed.items()},
            "notes": list(self.notes),
            "calibration": dict(self.calibration),
            "provenance": dict(self.provenance),
            "exit": self.exit,
        }
        found: dict[str, Any] = without_nan(facts)
        return found

    def text(self) -> str:
        """The verdict as the text of a JSON file."""
        return json.dumps(self.as_json(), indent=2, allow_nan=False) + "\n"


def sorted_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Alarms first, then what is undecided or not compared, each in the order of variables."""
    order = {outcome: number for number, outcome in enumerate(OUTCOMES)}
    return tuple(sorted(findings, key=lambda f: (order[f.outcome], f.study, f.variable)))


def step_text(step: Step) -> str:
    """A step in one sentence."""
    when = step.night if step.earliest == step.latest else f"{step.earliest} … {step.latest}"
    verb = "drifts" if step.kind == "drift" else "moved"
    versions = "; ".join(f"{key} {old} → {new}" for key, (old, new) in step.changed.items())
    return (
        f"{step.number} {verb} from {step.before:.6g} to {step.after:.6g} "
        f"(by {step.low:.3g} to {step.high:.3g}), since {when}"
        + (f"; what changed then: {versions}" if versions else "")
    )


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The verdict on a terminal."""
    rows = [_row(finding) for finding in verdict.findings if finding.outcome != "agrees"]
    if rows:
        header = ["outcome", "variable", "where", "baseline", "tonight", "rule", "allowed"]
        print_table(console, "what does not agree", header, rows[:SHOWN])
    lines = [f"… and {len(rows) - SHOWN} more in verdict.json"] if len(rows) > SHOWN else []
    lines += [f"{f.study} {f.variable}: {f.reason}" for f in verdict.alarms[:SHOWN]]
    lines += [f"new: {step_text(step)}" for step in verdict.new_steps[:SHOWN]]
    lines += [f"{key}: {old} → {new}" for key, (old, new) in verdict.changed.items()]
    for line in [*lines, *verdict.notes, verdict.headline]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _row(finding: Finding) -> list[str]:
    """A finding as a row of the terminal's table."""
    variable, where = f"{finding.study} {finding.variable}", place(finding.at).strip(" ()")
    old, new, allowed = (
        "–" if math.isnan(number) else f"{number:.{digits}g}"
        for number, digits in ((finding.old, 6), (finding.new, 6), (finding.allowed, 3))
    )
    return [finding.outcome, variable, where, old, new, finding.rule, allowed]
