"""Regression runs on the command line: a night of its own, and the baselines."""

import json
import os
import shlex
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.cli import Interruption
from flows.clusters import chosen_cluster
from flows.notify import check_notification, notify
from flows.server import user_api_url
from flows.studies import study_file
from pipeline.cluster_settings import Cluster
from pipeline.errors import StoreError, StudyError
from pipeline.files import write_atomically
from pipeline.folder import Folder
from pipeline.place import Place, place_of
from pipeline.regression.calibration import peak_bytes
from pipeline.regression.history import NIGHT, History, check_name
from pipeline.regression.junit import write_junit
from pipeline.regression.night import Order, Ran, Runner, adopt, infrastructure, run_night
from pipeline.regression.night import with_members as members_of
from pipeline.regression.page import KIND, write_history
from pipeline.regression.proof import write_proof
from pipeline.regression.reference import reference
from pipeline.regression.verdict import Verdict, print_verdict
from pipeline.report.html import check_folder
from pipeline.root import NAME
from pipeline.run import run_stages
from pipeline.session import RunFolder, Session, Summary
from pipeline.store import stored_study
from pipeline.study import Study
from pipeline.text_table import print_table


@dataclass(frozen=True)
class Written:
    """What a night has left beside the history.

    Attributes:
        verdict: the verdict.
        folder: where verdict.json, junit.xml, index.html and the evidence are.
    """

    verdict: Verdict
    folder: Path

    @property
    def file(self) -> Path:
        """The verdict's file."""
        return self.folder / "verdict.json"


def regress(options: Namespace) -> int:
    """Run a study, compare it with a baseline, judge it and keep it."""
    check_notification(options.notify, options.notify_block)
    if not options.direct and user_api_url():
        from flows.regression import run_flow

        written = run_flow(options)
    else:
        written = run_and_write(options)
        notify(written.verdict, written.file, options.notify, options.notify_block, _say)
    if options.json:
        print(json.dumps(written.verdict.as_json(), allow_nan=False))
    else:
        print_verdict(Console(), written.verdict)
        print(f"page {written.folder / 'index.html'}, verdict {written.file}")
    return written.verdict.exit


def run_and_write(options: Namespace) -> Written:
    """Run a night, and write what it leaves beside the history.

    Args:
        options: those of the command line: target, baseline, history, folder, overrides, and where
            to run.

    Raises:
        StudyError: if the study or an option is wrong; nothing has been run then.
        StoreError: if the baseline is not to be had, or the history cannot be written.
    """
    order = order_of(options)
    verdict = run_night(order)
    folder = order.folder(verdict.night)
    records = order.history.records()[0]
    again = _again(options, order)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        evidence = write_proof(order, verdict, records, folder / "evidence", again, _say)
        write_atomically(folder / "verdict.json", verdict.text())
        commands = {found.finding.key: found.command for found in evidence}
        write_junit(verdict, folder / "junit.xml", commands)
        write_history(verdict, records, evidence, folder)
        if not options.folder:
            remove_old(folder.parent, order.study.regression.keep_nights)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot write there: {error.strerror}; the night {verdict.night} is in the "
            "history all the same"
        ) from None
    return Written(verdict, folder)


def order_of(options: Namespace) -> Order:
    """What a night is to do, checked before anything is run.

    Raises:
        StudyError: if the study or an option is wrong.
        StoreError: if the history, the baseline or the folder is not to be had.
    """
    if options.folder:
        check_writable(Path(options.folder))
    given = _given(options.target)
    if given is not None and options.overrides:
        raise StudyError(f"-s: the store {given} is finished; allowed: -s with a study file")
    studies = (
        [stored_study(given)]
        if given is not None
        else members_of(Study.load(study_file(options.target), options.overrides))
    )
    study = studies[0]
    history = history_at(options.history, study.name)
    cluster = chosen_cluster(study.cluster, options)
    return Order(
        studies=studies,
        history=history,
        reference=reference(history, options.baseline, study.name),
        folder=partial(_folder, options.folder, study.name),
        run=_runner(cluster, options),
        given=given,
        timed=cluster.kind == "local" and given is None,
    )


def history_at(where: str | None, study: str) -> History:
    """The history at a place; that of a study by default."""
    place = place_of(where, "--history ") if where else Folder(Path("runs") / study / "history")
    return History(place.absolute())


def _folder(wanted: str | None, study: str, night: str) -> Path:
    return Path(wanted) if wanted else Path("runs") / study / "regression" / night


def check_writable(folder: Path) -> None:
    """See that a night's page can go into a folder, and whether one of others is there.

    Raises:
        StoreError: if not.
    """
    if not folder.exists():
        Folder(folder).check_makeable()
    elif not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StoreError(f"--folder {folder}: cannot write there; give another folder")
    elif (folder / "evidence").exists() and not (folder / "index.html").exists():
        raise StoreError(f"{folder / 'evidence'}: not of a night; give another folder")
    check_folder(folder, KIND)


def remove_old(folder: Path, keep: int) -> None:
    """Remove the pages, evidence and logs of all but the newest nights; verdicts are elsewhere."""
    nights = sorted(path for path in folder.iterdir() if NIGHT.fullmatch(path.name))
    for path in nights[:-keep]:
        shutil.rmtree(path, ignore_errors=True)


def _again(options: Namespace, order: Order) -> str:
    """The command that runs a night once more."""
    path = Path(options.target)
    parts = ["meanfield", "regress", str(path.resolve()) if path.exists() else options.target]
    parts += [part for override in options.overrides for part in ("-s", override)]
    parts += ["--history", order.history.place.address]
    parts += ["--workers", str(options.workers)] if options.workers else []
    wanted = order.reference
    return shlex.join([*parts, *(["--baseline", wanted.name] if wanted.name else [])])


def _given(target: str) -> Place | None:
    """The finished store that is meant, if it is no study."""
    place = place_of(target) if "://" in target or Path(target).is_dir() else None
    return place if place is not None and place.has(NAME) else None


def _runner(cluster: Cluster, options: Namespace) -> Runner:
    """What runs the studies of a night, all of them within the allowed time."""
    end = time.monotonic() + options.max_time if options.max_time else None

    def run(study: Study, places: RunFolder) -> Ran:
        from flows.driver import drive

        peaks: list[float] = []

        def stages(session: Session) -> Summary:
            summary = run_stages(session)
            if session.crew.client is not None:
                found = session.crew.client.run(peak_bytes, on_error="ignore")
                peaks.extend(found.values())
            return summary

        left = max(end - time.monotonic(), 0.1) if end else None
        chosen = Namespace(workers=options.workers, direct=True, max_time=left, partial=False)
        summary, _ = drive(study, places, cluster, chosen, study.where, frozenset(), stages)
        if summary.interrupted:
            raise Interruption(summary.interrupted)
        problem = summary.extra.get("problem") or infrastructure(summary.points)
        return Ran(str(problem), max(peaks, default=float("nan")))

    return run


def baseline(options: Namespace) -> int:
    """Set, list, show or remove the names of nights."""
    verbs: dict[str, Callable[[Namespace], dict[str, Any]]] = {
        "set": _set, "list": _list, "show": _show, "remove": _remove,
    }  # fmt: skip
    facts = verbs[options.action](options)
    if options.json:
        head = {"schema": 1, "verb": "baseline", "action": options.action}
        print(json.dumps(head | facts | {"exit": 0}))
    return 0


def _set(options: Namespace) -> dict[str, Any]:
    if NIGHT.fullmatch(options.night):
        history, night = _existing(options), options.night
    else:
        store = place_of(options.night)
        history = history_at(options.history, stored_study(store).name)
        check_name(options.name)
        night = adopt(history, store)
    history.set_baseline(options.name, night)
    if not options.json:
        print(f"the baseline '{options.name}' of {history.place} is the night {night}")
    return {"history": str(history.place), "baseline": options.name, "night": night}


def _list(options: Namespace) -> dict[str, Any]:
    history = _existing(options)
    baselines, (records, problems) = history.baselines(), history.records()
    problems += _lost(baselines, {record.night for record in records})
    names = {night: name for name, night in baselines.items()}
    nights = [
        {
            "night": r.night,
            "outcome": r.outcome,
            "baseline": names.get(r.night),
            "results": history.has_store(r.night, r.study),
        }
        for r in records
    ]
    if not options.json:
        rows = [[str(n["night"]), str(n["outcome"]), str(n["baseline"] or "–"),
                 "yes" if n["results"] else "removed"] for n in nights]  # fmt: skip
        header = ["night", "outcome", "baseline", "results"]
        print_table(Console(), f"nights of {history.place}", header, rows)
        for problem in problems:
            print(problem)
    facts = {"history": str(history.place), "baselines": baselines, "nights": nights}
    return facts | {"problems": problems}


def _lost(baselines: dict[str, str], nights: set[str]) -> list[str]:
    lost = [name for name, night in baselines.items() if night not in nights]
    return [f"the night of the baseline '{name}' is not there; set it anew" for name in lost]


def _show(options: Namespace) -> dict[str, Any]:
    history = _existing(options)
    record = history.baseline(options.name)
    stores = {study: history.store(record.night, study).address for study in record.studies}
    if not options.json:
        print(f"baseline {options.name}: the night {record.night}, {record.outcome}")
        for study, address in stores.items():
            print(f"  {study}: {address}")
        for key in ("commit", "meanfield", "fingerprint", "host"):
            if record.provenance.get(key):
                print(f"  {key}: {record.provenance[key]}")
    return {"baseline": options.name, "night": record.night, "stores": stores,
            "provenance": record.provenance}  # fmt: skip


def _remove(options: Namespace) -> dict[str, Any]:
    history = _existing(options)
    history.remove_baseline(options.name)
    if not options.json:
        print(f"the baseline '{options.name}' is removed; its night stays")
    return {"history": str(history.place), "baseline": options.name}


def _existing(options: Namespace) -> History:
    """The history that is given, or the only one of the runs in this folder.

    Raises:
        StoreError: if there is none.
        StudyError: if it has to be said which one is meant.
    """
    if options.history:
        history = history_at(options.history, "")
    else:
        found = sorted(Path("runs").glob("*/history"))
        if len(found) != 1:
            given = ", ".join(map(str, found)) or "there is none below runs/"
            raise StudyError(f"--history: which one? {given}")
        history = History(Folder(found[0]))
    if not history.exists():
        raise StoreError(f"{history.place}: there is no history of regression runs")
    return history


def _say(text: str) -> None:
    print(f"meanfield: {text}", file=sys.stderr)
