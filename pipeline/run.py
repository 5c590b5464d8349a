"""Run a study without Prefect: every stage in turn, from the caller's thread."""

from pathlib import Path
from typing import TYPE_CHECKING

from solvers.warm import warm

if TYPE_CHECKING:
    import xarray as xr

from pipeline.local_cluster import local_client
from pipeline.session import Session, Summary, open_session, run_folder
from pipeline.study import Study


def run_study(study: Study, store: str | Path | None = None, workers: int = 1) -> "xr.DataTree":
    """Compute what the store lacks, analyse, and return the store; see :meth:`Study.run`."""
    import xarray as xr

    places = run_folder(study, store)
    warm()
    if workers == 1:
        with open_session(study, places) as session:
            run_stages(session)
    else:
        with (
            local_client(workers) as client,
            open_session(study, places, client, workers) as session,
        ):
            run_stages(session)
    return xr.open_datatree(places.store, engine="zarr")


def run_stages(session: Session) -> Summary:
    """Run every step of a session's study, and conclude."""
    for step in session.study.steps:
        if session.monitor.stop.is_set():
            break
        plan = session.plan(step)
        if not plan.tasks:
            continue
        with session.stage(plan):
            suspects = session.execute(plan.tasks)
            session.execute_suspects(suspects)
    return session.conclude()
