"""The Prefect flow of a study: stages and batches as task runs, the rates as an artifact.

Prefect sees what a person wants to see, at most some tens of task runs; points are Dask's business
and the store's. A task run sits in a thread of the driver, submits its bundles and waits; workers
never talk to Prefect.
"""

import contextvars
from collections.abc import Sequence
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from flows.clusters import crew_client
from pipeline.analysis.text import rate_rows
from pipeline.plan import StepPlan, Task
from pipeline.session import Session, Summary, batches, open_session, run_folder
from pipeline.study import Study
from solvers.warm import warm

prepared: contextvars.ContextVar[Session] = contextvars.ContextVar("prepared")
"""A session that the command line opened while the server started; the flow makes its own else."""

finished: contextvars.ContextVar[list[Summary]] = contextvars.ContextVar("finished")
"""Where the flow leaves its summary for the command line that called it."""


THREADS: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=4)


@flow(name="sweep", task_runner=THREADS, validate_parameters=False)  # type: ignore[arg-type]
def sweep(
    study: str,
    store: str | None = None,
    overrides: Sequence[str] = (),
    cluster: str = "local",
    workers: int | None = None,
    driver: str = "",  # noqa: ARG001
) -> dict[str, object] | State[None]:
    """Run a study: what the store lacks is computed, analysed and drawn.

    Args:
        study: path of the study file.
        store: path of the store; ``runs/<name>/data.zarr`` by default.
        overrides: settings that replace the file's, as ``section.key=value``.
        cluster: where workers run: local, or the address of a Dask scheduler.
        workers: how many local workers; one per core by default.
        driver: which process runs the flow, so that a later run can tell that it has died.

    Returns:
        the run's summary, as ``--json`` prints it; a Cancelled state if it was stopped.
    """
    session = prepared.get(None)
    if session is not None:
        return _run(session)
    loaded = Study.load(study, overrides)
    places = run_folder(loaded, store)
    warm()
    with (
        crew_client(cluster, workers) as (client, count),
        open_session(loaded, places, client, count) as session,
    ):
        return _run(session)


def _run(session: Session) -> dict[str, object] | State[None]:
    session.watch_signals()  # Prefect has put its own handlers in place
    more = True
    while more:
        for step in session.study.steps:
            if not session.monitor.stop.is_set():
                _run_stage(session, step.name)
        more = session.sample_more()
    summary = conclude(session)
    if (summaries := finished.get(None)) is not None:
        summaries.append(summary)
    if session.monitor.stop.is_set():
        return Cancelled(message="stopped; run again to go on")
    if "particles" in session.study.header.steps:
        publish(session)
    return summary.as_json()


def _run_stage(session: Session, step: str) -> None:
    plan = plan_stage.with_options(task_run_name=f"plan {step}")(session, step)
    cut = batches(plan)
    if not cut:
        return
    with session.stage(plan):
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


@task(name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish(session: Session) -> None:
    """Show the rates as a table artifact."""
    header, rows = rate_rows(session.store)
    key = "rates-" + "".join(c if c.isalnum() else "-" for c in session.study.name.lower())
    create_table_artifact(
        table=[dict(zip(header, row, strict=True)) for row in rows],
        key=key,
        description=f"Convergence in M of the study {session.study.name}",
    )
