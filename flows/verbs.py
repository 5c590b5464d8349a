"""What each verb of the command line does; every function returns the exit status."""

import json
import re
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from flows.server import leave_unless_settled
from flows.studies import shipped_studies, studies_folder, study_file
from pipeline.analysis.records import analysis_records
from pipeline.analysis.text import print_analysis
from pipeline.axes import label
from pipeline.errors import StudyError
from pipeline.layout import analysis_tables
from pipeline.place import Place, place_of
from pipeline.plain_json import without_nan
from pipeline.plan import estimate, plan_step
from pipeline.point import recompute
from pipeline.power import outlook
from pipeline.root import root_is_readable
from pipeline.session import (
    RunFolder,
    Summary,
    analyse_and_draw,
    folder_of,
    run_folder,
)
from pipeline.status import Status, redone
from pipeline.store import (
    Store,
    check_usable,
    check_writable,
    open_store,
    open_stored,
    stored_study,
)
from pipeline.study import Study
from pipeline.terminal import (
    print_counts,
    print_differences,
    print_plan,
    print_run,
)
from pipeline.validation import nearest
from pipeline.verify import verify as verify_store


def init(options: Namespace) -> int:
    """Write a study file, from one that ships."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", options.name):
        raise StudyError(f"init {options.name}: allowed: letters, digits, '.', '_' and '-'")
    shipped = shipped_studies()
    if options.source not in shipped:
        raise StudyError(
            f"--from {options.source}: no such study; {nearest(options.source, shipped)}"
        )
    target = Path(f"{options.name}.toml")
    text = shipped[options.source].read_text()
    named = re.sub(r'(?m)^(name\s*=\s*)".*?"', rf'\g<1>"{options.name}"', text, count=1)
    try:
        with target.open("x") as stream:
            stream.write(named)
    except FileExistsError:
        raise StudyError(f"{target}: exists already; give another name") from None
    except OSError as error:
        raise StudyError(f"{target}: cannot be written: {error.strerror}") from None
    for name in set(re.findall(r'file\s*=\s*"([^"/]+)"', named)):
        if not Path(name).exists():
            shutil.copyfile(studies_folder() / name, name)
    if options.json:
        print(json.dumps({"schema": 1, "verb": "init", "file": str(target), "exit": 0}))
    else:
        print(f"wrote {target}; next: meanfield plan {target}, meanfield run {target}")
    return 0


def plan(options: Namespace) -> int:
    """Say what a study will take."""
    study = Study.load(study_file(options.study), options.overrides)
    estimates = estimate(study)
    if options.json:
        steps = {
            e.step: {
                "points": e.points,
                "shards": e.shards,
                "core_seconds": round(e.core_seconds, 3),
                "bytes": e.stored_bytes,
                "memory_per_worker": e.peak_bytes,
                "axes": {axis.name: len(axis) for axis in e.axes},
            }
            for e in estimates
        }
        power = outlook(study)
        _print_json(
            {
                "schema": 1,
                "verb": "plan",
                "study": study.name,
                "steps": steps,
                "power": power and vars(power),
                "exit": 0,
            }
        )
    else:
        print_plan(Console(), estimates, outlook(study))
    return 0


def run(options: Namespace) -> int:
    """Compute what is missing, analyse, and report."""
    from flows.clusters import chosen_cluster
    from flows.driver import drive

    study = Study.load(study_file(options.study), options.overrides)
    places = run_folder(study, options.store)
    cluster = chosen_cluster(study.cluster, options)
    if options.dry_run and places.store.exists():
        return _dry_run(study, places.store, options)
    check_usable(places.store, study)
    if options.dry_run:
        return plan(options)
    return _end(*drive(study, places, cluster, options, options.study), places, options)


def submit(options: Namespace) -> int:
    """Submit the driver of a run as a job of Slurm."""
    from flows.clusters import chosen_cluster
    from flows.clusters.slurm import check_programs
    from flows.clusters.submit import batch_script, run_arguments, submit_script

    study = Study.load(study_file(options.study), options.overrides)
    places = run_folder(study, options.store)
    cluster = chosen_cluster(study.cluster, options)
    check_usable(places.store, study)
    if cluster.kind == "local" and options.workers:
        cluster = cluster.model_copy(update={"cores": options.workers})
    script = batch_script(cluster, run_arguments(options, cluster), places.logs)
    if options.dry_run:
        found: dict[str, Any] = {"script": script}
    else:
        check_programs("sbatch")
        found = {"job": submit_script(script, places.logs), "logs": str(places.logs)}
    if options.json:
        _print_json({"schema": 1, "verb": "submit", "study": study.name, **found, "exit": 0})
    elif options.dry_run:
        print(script, end="")
    else:
        print(f"job {found['job']}; what it says goes to {places.logs}/driver-{found['job']}.log")
    return 0


def retry(options: Namespace) -> int:
    """Compute failed points again: those of codes 6 to 9, or all."""
    from flows.clusters import chosen_cluster
    from flows.driver import drive

    place = place_of(options.store)
    study = stored_study(place)
    check_usable(place, study)
    cluster = chosen_cluster(None, options)
    redo = redone("all" if options.all else "failed")
    places = RunFolder(folder_of(place, study.name), place)
    return _end(*drive(study, places, cluster, options, str(place), redo), places, options)


def serve(options: Namespace) -> int:
    """Serve studies on a Prefect server until the process is told to end."""
    from flows.serve import serve as serve_studies

    return serve_studies(options)


def regress(options: Namespace) -> int:
    """Run a study, compare it with a baseline, judge it and keep it."""
    from flows.regress import regress as run_night

    return run_night(options)


def baseline(options: Namespace) -> int:
    """Set, list, show or remove the baselines of regression runs."""
    from flows.regress import baseline as manage

    return manage(options)


def _end(summary: Summary, store: Store, places: RunFolder, options: Namespace) -> int:
    """Report a run and say how to go on where it is not complete."""
    summary.verb = options.verb
    if options.json:
        _print_json(summary.as_json())
    elif "problem" in summary.extra:  # what the store holds may be out of reach
        print_counts(Console(), summary.points)
    else:
        print_run(Console(), store, summary)
        figures = ", ".join(str(path) for path in sorted(places.folder.glob("*.png")))
        print(f"store {places.store}" + (f", figures {figures}" if figures else ""))
    if summary.exit:
        print(f"meanfield: {_how_to_go_on(summary, places.logs)}", file=sys.stderr)
    leave_unless_settled(summary.exit)
    return summary.exit


def verify(options: Namespace) -> int:
    """Look at every chunk of a store.

    The exit status is 1 for damage, and where points are pending: a status that is lost reads as
    never computed. Points that failed are no damage.
    """
    place = place_of(options.store)
    damages = verify_store(place)
    study = stored_study(place)
    counts = {}
    if root_is_readable(place):
        store = open_stored(place)
        counts = {step.name: plan_step(store, step).count for step in study.steps}
    summary = _summary("verify", place, study, counts)
    pending = any(count.pending for count in counts.values())
    exit_status = int(bool(damages) or pending)
    if options.json:
        found = [
            {"path": d.path, "chunk": d.chunk and list(d.chunk), "problem": d.problem}
            for d in damages
        ]
        _print_json(summary.as_json() | {"damaged": found, "exit": exit_status})
        return exit_status
    for damage in damages:
        print(damage)
    print_counts(Console(), summary.points)
    print(f"{len(damages)} damaged; `run` mends them" if damages else "no damage")
    return exit_status


def _dry_run(study: Study, place: Place, options: Namespace) -> int:
    """Say what would be computed, without writing anything."""
    store = open_store(place, study)
    summary = _summary(
        "run", place, study, {s.name: plan_step(store, s).count for s in study.steps}
    )
    if options.json:
        _print_json(summary.as_json())
    else:
        print_counts(Console(), summary.points)
    return 0


def status(options: Namespace) -> int:
    """Say how far a store is."""
    place = place_of(options.store)
    store = open_stored(place)
    study = store.study
    plans = [plan_step(store, step) for step in study.steps]
    summary = _summary("status", place, study, {p.step.name: p.count for p in plans})
    left = sum(task.cost for p in plans for task in p.tasks)
    summary.extra = {"core_seconds_left": round(left, 3)}
    if options.json:
        _print_json(summary.as_json())
    else:
        console = Console()
        print_counts(console, summary.points)
        if left:
            console.print(f"about {left / 3600:.3g} core-hours left")
    return summary.exit


def analyse(options: Namespace) -> int:
    """Compute the rates of a store anew."""
    place = place_of(options.store)
    store = open_stored(place)
    study = store.study
    if not analysis_tables(study):
        raise StudyError(f"{place}: nothing to analyse: the study has no rates and no orders")
    check_writable(place)
    analyse_and_draw(store, folder_of(place, study.name), partial=options.partial)
    counts = {step.name: plan_step(store, step).count for step in study.steps}
    summary = _summary("analyse", place, study, counts)
    if options.json:
        summary.extra = analysis_records(store)
        _print_json(summary.as_json())
    else:
        print_analysis(Console(), store)
    return summary.exit


def report(options: Namespace) -> int:
    """Write the page of a store, or of two side by side."""
    from pipeline.report.page import write_report

    place = place_of(options.store)
    other = place_of(options.other, "--with ") if options.other else None
    store = open_stored(place)
    study = store.study
    if options.partial and analysis_tables(study):
        check_writable(place)
        analyse_and_draw(store, folder_of(place, study.name), partial=True)
    folder = Path(options.folder) if options.folder else folder_of(place, study.name) / "report"
    page = write_report(place, folder, other)
    counts = {step.name: plan_step(store, step).count for step in study.steps}
    summary = _summary("report", place, study, counts)
    if options.json:
        _print_json(summary.as_json() | {"report": str(page)})
    else:
        print(f"wrote {page}")
    return summary.exit


def compare(options: Namespace) -> int:
    """Compare two stores, number by number."""
    from pipeline.compare import compare as compare_stores

    left, right = place_of(options.store), place_of(options.other)
    differences = compare_stores(left, right)
    exit_status = int(not all(d.within(options.tolerance) for d in differences))
    if options.json:
        _print_json(
            {
                "schema": 1,
                "verb": "compare",
                "store": str(left),
                "other": str(right),
                "variables": [vars(d) for d in differences],
                "exit": exit_status,
            }
        )
    else:
        print_differences(Console(), [d for d in differences if not d.reason])
        for reason in dict.fromkeys(d.reason for d in differences if d.reason):
            names = ", ".join(d.variable for d in differences if d.reason == reason)
            print(f"not compared, because {reason}: {names}")
        print("they differ" if exit_status else "they agree")
    return exit_status


def export(options: Namespace) -> int:
    """Write results to CSV tables or one netCDF file."""
    from pipeline.export import export as export_store

    files = export_store(place_of(options.store), Path(options.target))
    if options.json:
        written = [str(file) for file in files]
        _print_json({"schema": 1, "verb": "export", "store": options.store, "files": written})
    else:
        print("\n".join(f"wrote {file}" for file in files))
    return 0


def point(options: Namespace) -> int:
    """Recompute one point in the foreground, and compare it with the store."""
    place = place_of(options.store)
    study = stored_study(place)
    result = recompute(open_store(place, study), options.step, options.values)
    exit_status = 0 if result.status == Status.DONE else 1
    if options.json:
        _print_json(
            {
                "schema": 1,
                "verb": "point",
                "store": str(place),
                "study": study.name,
                "step": options.step,
                "point": {key: label(value) for key, value in result.values.items()},
                "status": int(result.status),
                "reason": result.reason,
                "outputs": {k: np.asarray(v).tolist() for k, v in result.outputs.items()},
                "differs": result.differs,
                "exit": exit_status,
            }
        )
        return exit_status
    for name, value in result.outputs.items():
        numbers = np.asarray(value)
        text = np.array2string(numbers, max_line_width=100, threshold=12)
        mark = "   (the store has other bits)" if name in result.differs else ""
        print(f"{name:>16} {text}{mark}")
    if result.reason:
        print(f"{result.status.meaning}: {result.reason}", file=sys.stderr)
    if options.traceback:
        print(result.trace, file=sys.stderr)
    return exit_status


def _summary(verb: str, place: Place, study: Study, points: dict[str, Any]) -> Summary:
    return Summary(verb=verb, store=str(place), study=study.name, points=points)


def _how_to_go_on(summary: Summary, logs: Path) -> str:
    if summary.interrupted:
        return "interrupted; nothing that was finished is lost: the same command goes on"
    if "problem" in summary.extra:
        return "stopped early; nothing that was finished is lost: the same command goes on"
    codes = {code for count in summary.points.values() for code in count.failed}
    if codes == {str(int(Status.NOT_CONVERGED))}:
        return "some trainings did not converge; their numbers are kept, stop_reason says why"
    if codes:
        return f"some points failed; their logs, with a command that reproduces each: {logs}"
    if any(count.pending for count in summary.points.values()):
        return "some points are pending; the same command goes on"
    return "whether the rates need more seeds is not settled; the same command goes on"


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(without_nan(value), allow_nan=False))
