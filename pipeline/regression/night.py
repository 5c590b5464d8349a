"""One night: studies are run into the history, compared with a baseline, judged and kept."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError, StudyError
from pipeline.place import Place
from pipeline.plan import Count
from pipeline.provenance import provenance
from pipeline.regression.calibration import Calibration, calibrate, together
from pipeline.regression.changes import Night, new_steps, steps_of
from pipeline.regression.coverage import unlike, unused
from pipeline.regression.defaults import is_status
from pipeline.regression.findings import Finding, Number, Step
from pipeline.regression.history import Draft, History, Record
from pipeline.regression.numbers import tracked
from pipeline.regression.reference import Reference
from pipeline.regression.rules import Pair, judge
from pipeline.regression.verdict import Verdict, sorted_findings
from pipeline.regression.versions import changed, versions
from pipeline.session import RunFolder, folder_of
from pipeline.status import Status
from pipeline.store import stored_study
from pipeline.study import Study
from solvers.errors import MeanfieldError

NOT_OURS = (Status.TIMEOUT, Status.OUT_OF_MEMORY)
"""Failures that say more of the machine than of the numbers."""


@dataclass(frozen=True)
class Ran:
    """What came of running one study.

    Attributes:
        problem: what of the infrastructure kept it from its end; "" if nothing did.
        peak_bytes: the most memory that a worker had; NaN where it is not known.
    """

    problem: str = ""
    peak_bytes: float = math.nan


Runner = Callable[[Study, RunFolder], Ran]


@dataclass(frozen=True)
class Order:
    """What a night is to do.

    Attributes:
        studies: the study, and its members after it.
        history: where the night is kept.
        reference: what it is compared with.
        folder: where the logs of its runs go, by the night's name.
        run: runs a study.
        given: finished results of the study, which are copied; nothing is run then.
        timed: whether time and memory are those of this machine, so that ratios make sense.
    """

    studies: Sequence[Study]
    history: History
    reference: Reference
    folder: Callable[[str], Path]
    run: Runner
    given: Place | None = None
    timed: bool = True

    @property
    def study(self) -> Study:
        """The study whose rules and name the night has."""
        return self.studies[0]


@dataclass
class _Measured:
    """What a night has found before it is judged.

    Attributes:
        records: those of the nights before.
        damaged: what is wrong with others.
        notes: what else is to be known of the comparison.
    """

    records: Sequence[Record] = ()
    damaged: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    before: Calibration | None = None
    after: Calibration | None = None
    numbers: list[Number] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    news: list[Step] = field(default_factory=list)

    @property
    def unit(self) -> Calibration | None:
        return together([self.before, self.after])


def with_members(study: Study) -> list[Study]:
    """A study and its members.

    Raises:
        StudyError: if a member cannot be read, or two have one name.
    """
    found = [study]
    for member in study.regression.members:
        loaded = Study.load(study.folder / member)
        if loaded.name in [other.name for other in found]:
            raise StudyError(
                f"{study.where}: regression.members: two studies are named '{loaded.name}'"
            )
        found.append(loaded)
    return found


def run_night(order: Order) -> Verdict:
    """Run, judge and keep a night; older ones are pruned after it.

    Raises:
        StoreError: if the history cannot be read or written; then the night is no part of it.
    """
    with order.history.night() as draft:
        facts = _facts(order)
        measured = _measure(order, draft)
        measured.records, measured.damaged = order.history.records()
        if not measured.problems:
            try:
                _judge(order, draft, measured, versions(facts))
            except (MeanfieldError, ValueError, KeyError) as error:
                measured.problems.append(f"the results cannot be compared: {_line(error)}")
        verdict = _verdict(order, draft, measured, facts)
        draft.commit(_record(verdict, measured))
    if verdict.outcome != "no-verdict":
        order.history.prune(order.study.regression.keep_nights, beside(measured, verdict.night))
    return verdict


def adopt(history: History, store: Place) -> str:
    """Make a finished store a night of the history, to be a baseline; returns the night's name.

    Raises:
        StoreError: if the store is not complete, or cannot be read or copied.
    """
    study = stored_study(store)
    if problem := unfinished(store):
        raise StudyError(f"{store}: not a baseline: {problem}")
    with history.night() as draft:
        history.adopt(draft, study.name, store)
        numbers = tracked(study.name, draft.store(study.name), study.regression)
        text = f"the store {store} is kept as a night"
        draft.commit(
            Record(
                night=draft.night, study=study.name, studies=(study.name,), outcome="baseline",
                provenance=_computed_with(store, study.name), calibration={},
                numbers=tuple(numbers), steps=(), verdict={"reason": text},
            )
        )  # fmt: skip
    return draft.night


def infrastructure(counts: Mapping[str, Count]) -> str:
    """What is missing for reasons that are no regression; "" if nothing is."""
    found = Counter({int(Status.PENDING): sum(count.pending for count in counts.values())})
    for count in counts.values():
        found.update({int(code): number for code, number in count.failed.items()})
    return _missing(found)


def unfinished(store: Place) -> str:
    """The same of a store that any version of the product has made.

    Raises:
        StoreError: if it cannot be read.
    """
    try:
        with store.open_tree() as tree:
            arrays = [array for node in tree.subtree for array in node.data_vars.values()]
            found = [array.values.ravel() for array in arrays if is_status(array)]
    except (ValueError, OSError, KeyError) as error:
        raise StoreError(f"{store}: cannot be read: {_line(error)}") from None
    return _missing(Counter(int(code) for codes in found for code in codes))


def _missing(counts: Mapping[int, int]) -> str:
    if pending := counts.get(Status.PENDING):
        return f"{pending} points are pending"
    for status in NOT_OURS:
        if number := counts.get(status):
            return f"{number} points failed with the status {status.meaning}"
    return ""


def _facts(order: Order) -> dict[str, Any]:
    """The provenance of tonight's results; of given ones as far as it is known."""
    here = provenance()
    if order.given is None:
        return here
    return {key: here[key] for key in ("started", "command")} | _computed_with(
        order.given, order.study.name
    )


def _computed_with(store: Place, study: str) -> dict[str, Any]:
    """What the run that made a store has left beside it of its provenance."""
    try:
        document = json.loads((folder_of(store, study) / "run.json").read_text(encoding="utf-8"))
        return dict(document["provenance"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _measure(order: Order, draft: Draft) -> _Measured:
    """Run the studies, or take the results that are given."""
    found = _Measured()
    if order.given is not None:
        order.history.adopt(draft, order.study.name, order.given)
        if problem := unfinished(order.given):
            found.problems.append(problem)
        return found
    found.before = calibrate() if order.timed else None
    for study in order.studies:
        places = RunFolder(order.folder(draft.night) / study.name, draft.store(study.name))
        try:
            ran = order.run(study, places)
        except (MeanfieldError, OSError, MemoryError) as error:
            ran = Ran(_line(error))
        found.peaks[study.name] = ran.peak_bytes
        if ran.problem:
            found.problems.append(f"{study.name}: {ran.problem}")
            break
    found.after = calibrate() if order.timed and not found.problems else None
    return found


def _judge(order: Order, draft: Draft, found: _Measured, now: Mapping[str, str]) -> None:
    """Compare tonight's results with the baseline, and its numbers with all earlier nights."""
    for study in order.studies:
        found.numbers += tracked(
            study.name,
            draft.store(study.name),
            study.regression,
            found.unit.seconds if found.unit else math.nan,
            _costs(found, study.name),
        )
    records = [record for record in found.records if record.judged]
    past: dict[str, list[float]] = {}
    for number in (number for record in records for number in record.numbers):
        past.setdefault(number.key, []).append(number.value)
    allowed = order.study.regression.false_alarms
    pairs = [
        Pair(study.name, old, draft.store(study.name), study.regression)
        for study in order.studies
        if (old := order.reference.stores.get(study.name))
    ]
    for study in order.studies:
        found.notes += unused(study.name, draft.store(study.name), study.regression.rules)
    if pairs:
        found.findings = judge(pairs, allowed, found.numbers, past)
        found.notes += [note for pair in pairs for note in unlike(pair.study, pair.old, pair.new)]
        if reason := _nothing_compared(found.findings):
            found.problems.append(f"nothing can be compared with {order.reference.name}: {reason}")
    nights = [Night(r.night, r.numbers, versions(r.provenance)) for r in records]
    found.steps = steps_of([*nights, Night(draft.night, found.numbers, now)], allowed)
    known = [step for record in records for step in record.steps]
    found.news = [
        # A baseline at the new level says that people know of the step.
        replace(step, alarm=step.alarm and step.night > order.reference.night)
        for step in new_steps(found.steps, known)
    ]


def _nothing_compared(findings: Sequence[Finding]) -> str:
    """Why no result could be compared; "" if one was, or is missing, which is an alarm."""
    results = [finding for finding in findings if finding.rule != "ratio"]
    if all(finding.outcome == "not-compared" for finding in results):
        return next((finding.reason for finding in results), "")
    return ""


def _costs(found: _Measured, study: str) -> dict[str, float]:
    peak = found.peaks.get(study, math.nan)
    if found.unit is None or not math.isfinite(peak):
        return {}
    return {"run/memory": peak / found.unit.peak_bytes}


def _verdict(order: Order, draft: Draft, found: _Measured, facts: Mapping[str, object]) -> Verdict:
    findings = sorted_findings(found.findings)
    alarms = sum(finding.outcome == "alarm" for finding in findings)
    outcome, reason = _outcome(order, draft, found, alarms)
    seconds = {"before": found.before, "after": found.after}
    reference = order.reference
    return Verdict(
        night=draft.night,
        study=order.study.name,
        studies=tuple(study.name for study in order.studies),
        history=str(order.history.place),
        baseline=reference.name,
        baseline_night=reference.night,
        outcome=outcome,
        reason=reason,
        findings=findings,
        steps=tuple(found.steps),
        new_steps=tuple(found.news),
        changed=changed(reference.versions, versions(facts)),
        notes=tuple(_notes(order, found)),
        calibration={key: asdict(value) for key, value in seconds.items() if value}
        | {"peak_bytes": {k: v for k, v in found.peaks.items() if math.isfinite(v)}},
        provenance=facts,
    )


def _outcome(order: Order, draft: Draft, found: _Measured, alarms: int) -> tuple[str, str]:
    if found.problems:
        return "no-verdict", f"no verdict: {'; '.join(found.problems)}"
    moved = sum(step.alarm for step in found.news)
    if not order.reference.name and not moved:
        reason = (
            "nothing to compare with yet; make this night the baseline: meanfield baseline set "
            f"main {draft.night} --history {order.history.place}"
        )
        return "first", reason
    number = {0: "no alarm", 1: "1 alarm"}.get(alarms, f"{alarms} alarms")
    against = order.reference.name or "the nights before"
    steps = f"; new steps in the history of {moved} numbers" if moved else ""
    return "alarms" if alarms or moved else "agrees", f"{number}, compared with {against}{steps}"


def _notes(order: Order, found: _Measured) -> list[str]:
    """What else a reader of the verdict has to know."""
    notes = [*found.damaged, *found.notes]
    names = [study.name for study in order.studies]
    missing = [name for name in names if name not in order.reference.stores]
    if order.reference.name and missing:
        notes.append(f"the baseline has nothing of {', '.join(missing)}: not compared")
    if gone := [name for name in order.reference.stores if name not in names]:
        notes.append(f"only the baseline has {', '.join(gone)}: not compared")
    if order.given is not None or not order.timed:
        notes.append("time and memory are not compared: the runs were not timed on this machine")
    elif not found.problems and found.unit is None:
        notes.append("time and memory are not compared: the calibration has failed")
    return notes


def beside(found: _Measured, tonight: str) -> set[str]:
    """The nights on both sides of each step, also of those that were told long ago."""
    nights = [record.night for record in found.records if record.judged] + [tonight]
    marks = {night for step in found.steps for night in (step.night, step.earliest, step.latest)}
    marks = marks.union(*map(_told, found.records))
    places = [nights.index(night) for night in marks & set(nights)]
    return {nights[max(i - 1, 0)] for i in places} | {nights[i] for i in places}


def _told(record: Record) -> set[str]:
    """The nights of the steps that a verdict has told."""
    steps = record.verdict.get("new_steps")
    known = [s for s in steps if isinstance(s, Mapping)] if isinstance(steps, Sequence) else []
    return {str(step.get(key)) for step in known for key in ("night", "earliest", "latest")}


def _record(verdict: Verdict, found: _Measured) -> Record:
    return Record(
        night=verdict.night,
        study=verdict.study,
        studies=verdict.studies,
        outcome=verdict.outcome,
        provenance=dict(verdict.provenance),
        calibration=dict(verdict.calibration),
        numbers=tuple(found.numbers) if verdict.outcome != "no-verdict" else (),
        steps=verdict.steps,
        verdict=verdict.as_json(),
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
