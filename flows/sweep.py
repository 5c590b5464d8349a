"""The Prefect flow of a study: stages and batches as task runs, what the run found as artifacts.

Prefect sees what a person wants to see, at most some tens of task runs; points are Dask's business
and the store's. A task run sits in a thread of the driver, submits its bundles and waits; workers
never talk to Prefect. The store is the truth: a run that the server has lost sight of goes on.
"""

import contextvars
import logging
from argparse import ArgumentTypeError, Namespace
from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun, FailedRun
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import artifacts
from flows.cli import duration
from flows.clusters import chosen_cluster
from flows.driver import drive
from flows.studies import study_file
from pipeline.errors import StudyError
from pipeline.heartbeat import other_drivers
from pipeline.plan import StepPlan, Task
from pipeline.report.page import write_report
from pipeline.session import Session, Summary, batches, run_folder
from pipeline.status import redone
from pipeline.study import Study

prepared: contextvars.ContextVar[Session] = contextvars.ContextVar("prepared")
"""A session that the command line opened while the server started; the flow makes its own else."""

finished: contextvars.ContextVar[list[Summary]] = contextvars.ContextVar("finished")
"""Where the flow leaves its summary for the command line that called it."""


def _unless_it_returned_a_state(record: logging.LogRecord) -> bool:
    """Whether to log what Prefect would: a run that ends as Cancelled or Failed has not crashed."""
    error = record.exc_info and record.exc_info[1]
    return not isinstance(error, (CancelledRun, FailedRun))


logging.getLogger("prefect.flow_runs").addFilter(_unless_it_returned_a_state)

THREADS: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=4)


@flow(
    name="sweep",
    task_runner=THREADS,  # type: ignore[arg-type]
    validate_parameters=False,
    retries=1,
    retry_delay_seconds=60,
)
def sweep(
    study: str,
    store: str | None = None,
    overrides: tuple[str, ...] = (),
    cluster: str | None = None,
    workers: int | None = None,
    max_time: str | None = None,
    retry: Literal["none", "failed", "all"] = "none",
    partial: bool = False,
    driver: str = "",  # noqa: ARG001
) -> dict[str, object] | State[Any]:
    """Run a study: what the store lacks is computed, analysed and drawn.

    Args:
        study: path of a study file where the flow runs, or the name of a study that ships.
        store: path or URL of the store; `runs/<name>/data.zarr` by default.
        overrides: settings that replace the file's, each as `section.key=value`.
        cluster: where workers run: local, slurm, kubernetes, or the address of a Dask scheduler; as
            the study says by default.
        workers: how many workers; one per core of this machine by default.
        max_time: stop cleanly after this time, as `90s`, `30m` or `2h`; the next run goes on.
        retry: which failed points are computed again: none, those that failed by lack of time or
            memory or by an error, or all.
        partial: whether rates are fitted where points are missing.
        driver: set by the command line; leave it empty.

    Returns:
        the run's summary, as `--json` prints it. A run that was stopped, or that found another
        driver at work on the store, is Cancelled; one that something ended early is Failed.
    """
    session = prepared.get(None)
    if session is not None:
        return _outcome(session, _run(session))
    options = Namespace(
        cluster=cluster, workers=workers, max_time=seconds(max_time), partial=partial, direct=True
    )
    loaded = Study.load(study_file(study), overrides)
    places = run_folder(loaded, store)
    if others := other_drivers(places.store):
        text = f"{places.store}: another driver is at work: {', '.join(others)}; nothing was done"
        return Cancelled(name="Skipped", message=text)
    opened: list[Session] = []

    def stages(session: Session) -> Summary:
        opened.append(session)
        return _run(session)

    chosen = chosen_cluster(loaded.cluster, options)
    summary, _ = drive(loaded, places, chosen, options, study, redone(retry), stages)
    return _outcome(opened[0], summary)


def seconds(text: str | None) -> float | None:
    """The seconds of a time span such as 2h; None without one.

    Raises:
        StudyError: if it is none.
    """
    try:
        return duration(text) if text else None
    except ArgumentTypeError as error:
        raise StudyError(f"max_time: {error}") from None


def _run(session: Session) -> Summary:
    more = True
    while more:
        for step in session.study.steps:
            if not session.monitor.stop.is_set():
                _run_stage(session, step.name)
        more = session.sample_more()
    summary = conclude(session)
    if (summaries := finished.get(None)) is not None:
        summaries.append(summary)
    if prepared.get(None) is None and not session.monitor.stop.is_set():
        report(session, return_state=True)  # for who sees the run on the server alone
    publish(session, summary)
    return summary


def _outcome(session: Session, summary: Summary) -> dict[str, object] | State[Any]:
    """What the server is told of a run."""
    if session.problem:
        return Failed(message=f"{session.problem}; nothing that was finished is lost: run again")
    if session.monitor.stop.is_set():
        return Cancelled(message="stopped; run again to go on")
    if summary.exit:
        failed = sum(count.failures for count in summary.points.values())
        pending = sum(count.pending for count in summary.points.values())
        text = f"{failed} points failed, {pending} are pending; see the artifact on failures"
        return Completed(name="Incomplete", message=text)
    return summary.as_json()


def _run_stage(session: Session, step: str) -> None:
    plan = plan_stage.with_options(task_run_name=f"plan {step}")(session, step)
    cut = batches(plan)
    if not cut:
        return
    with session.stage(plan), artifacts.progress(session, step):
        running = [
            run_batch.with_options(task_run_name=f"{plan.step.name} {i} of {len(cut)}").submit(
                session, batch
            )
            for i, batch in enumerate(cut, start=1)
        ]
        suspects = [task for future in running for task in future.result()]
        session.execute_suspects(suspects)


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
def plan_stage(session: Session, step: str) -> StepPlan:
    """Find what a step lacks."""
    return session.plan(next(s for s in session.study.steps if s.name == step))


@task(name="batch", cache_policy=NO_CACHE, persist_result=False)
def run_batch(session: Session, tasks: tuple[Task, ...]) -> list[Task]:
    """Compute a batch of shards; returns those that killed their workers."""
    return session.execute(tasks)


@task(name="conclude", cache_policy=NO_CACHE, persist_result=False)
def conclude(session: Session) -> Summary:
    """Analyse the store, draw it, and write run.json."""
    return session.conclude()


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(session: Session) -> None:
    """Write the page of the store."""
    write_report(session.places.store, artifacts.report_folder(session))


@task(name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish(session: Session, summary: Summary) -> None:
    """Show the rates, the failures and the report as artifacts."""
    try:
        artifacts.publish(session, summary)
    except Exception as error:  # noqa: BLE001 - whatever ails the server, the run is in the store
        reason = type(error).__name__
        session.monitor.say(
            f"the Prefect server has not taken the artifacts of this run ({reason})"
        )
