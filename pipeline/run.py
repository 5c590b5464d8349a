"""Run a study without Prefect: every stage in turn, from the caller's thread."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from solvers.warm import warm

if TYPE_CHECKING:
    import xarray as xr

from pipeline.local_cluster import local_client
from pipeline.place import Place
from pipeline.session import Session, Summary, open_session, run_folder
from pipeline.steps.base import Step
from pipeline.study import Study
from pipeline.study_checks import check_devices


def make_ready(study: Study) -> float:
    """Have the kernels that a study needs compiled; return the seconds."""
    began = time.perf_counter()
    warm(training=False)
    for step in study.steps:
        step.prepare()
    return time.perf_counter() - began


def run_study(
    study: Study, store: str | Path | Place | None = None, workers: int = 1
) -> "xr.DataTree":
    """Compute what the store lacks, analyse, and return the store; see :meth:`Study.run`."""
    check_devices(study)
    places = run_folder(study, store)
    make_ready(study)
    if workers == 1:
        with open_session(study, places) as session:
            run_stages(session)
    else:
        with (
            local_client(workers) as client,
            open_session(study, places, client, workers) as session,
        ):
            run_stages(session)
    return places.store.open_tree()


def run_stages(session: Session) -> Summary:
    """Run every step of a session's study, again while it takes more seeds, and conclude."""
    more = True
    while more:
        for step in session.study.steps:
            _run_stage(session, step)
        more = session.sample_more()
    return session.conclude()


def _run_stage(session: Session, step: Step) -> None:
    if session.monitor.stop.is_set():
        return
    plan = session.plan(step)
    if plan.tasks:
        with session.stage(plan):
            suspects = session.execute(plan.tasks)
            session.execute_suspects(suspects)
