"""The evidence for a night's alarms: of comparisons, of steps in the history, of times."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.place import Place
from pipeline.regression.evidence import Evidence, write_evidence, write_times
from pipeline.regression.findings import Finding, Number, Step
from pipeline.regression.history import Record
from pipeline.regression.night import Order
from pipeline.regression.verdict import Verdict, step_text
from solvers.errors import MeanfieldError

MOST = 20
"""For so many alarms there is evidence: a fault shows in many numbers, and the first will do."""


@dataclass(frozen=True)
class _Alarm:
    """An alarm and the two stores that show it."""

    finding: Finding
    old: Place
    new: Place


def write_proof(
    order: Order,
    verdict: Verdict,
    records: Sequence[Record],
    folder: Path,
    again: str,
    say: Callable[[str], None],
) -> list[Evidence]:
    """Write evidence for the first alarms of a night, each into a folder of its own.

    Args:
        order: what the night did.
        verdict: what came of it.
        records: all nights, tonight's among them.
        folder: a new one, or one of an earlier night, whose evidence is removed.
        again: the command that runs the whole night once more, for times.
        say: told where there can be none; the verdict holds without it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    studies = {study.name: study for study in order.studies}
    found = []
    for i, alarm in enumerate(list(_alarms(order, verdict, records))[:MOST], start=1):
        finding, to = alarm.finding, folder / str(i)
        study = studies[finding.study]
        try:
            if finding.rule == "ratio":
                past = _past(finding, records)
                found.append(write_times(finding, study, alarm.old, alarm.new, to, past, again))
            else:
                found.append(write_evidence(finding, study, alarm.old, alarm.new, to))
        except (MeanfieldError, ValueError, KeyError) as error:
            say(f"no evidence for the alarm about {finding.variable}: {error}")
    return found


def _alarms(order: Order, verdict: Verdict, records: Sequence[Record]) -> Iterator[_Alarm]:
    """The alarms, those of steps in numbers that no comparison has an alarm about last."""
    history, known = order.history, set[tuple[str, str]]()
    for finding in verdict.alarms:
        new = history.store(verdict.night, finding.study)
        known.add((finding.study, finding.variable))
        if old := order.reference.stores.get(finding.study):
            yield _Alarm(finding, old, new)
    numbers = {n.key: n for r in records if r.night == verdict.night for n in r.numbers}
    for step in verdict.step_alarms:
        number = numbers.get(step.number)
        if number is None or (number.study, number.variable) in known:
            continue
        known.add((number.study, number.variable))
        earlier = [r.night for r in records if r.judged and r.night < step.earliest]
        whole = [night for night in earlier if history.has_store(night, number.study)]
        if whole:
            stores = (history.store(night, number.study) for night in (whole[-1], verdict.night))
            yield _Alarm(as_finding(step, number), *stores)


def as_finding(step: Step, number: Number) -> Finding:
    """A step as an alarm about its number."""
    return Finding(
        number.study,
        number.variable,
        number.at,
        number.rule,
        "alarm",
        old=step.before,
        new=step.after,
        low=step.low,
        high=step.high,
        allowed=number.tolerance,
        p_value=step.p_value,
        compared=1,
        beyond=1,
        reason=step_text(step),
    )


def _past(finding: Finding, records: Sequence[Record]) -> list[tuple[str, float]]:
    """The nights that have the number of a finding, and its values."""
    found = ((r.night, n) for r in records if r.judged for n in r.numbers)
    return [(night, number.value) for night, number in found if number.key == finding.key]
