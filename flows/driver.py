"""The driver of a run on the command line: server, workers, warm caches, and a clean end."""

import contextlib
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from flows.cli import Interruption
from flows.clusters import open_crew
from flows.clusters.workers import check_store
from flows.server import (
    EphemeralServer,
    bounded,
    check_home,
    check_server,
    driver_identity,
    mark_crashed,
    prefect_settings,
    settle,
    user_api_url,
)
from pipeline.cluster_settings import Cluster
from pipeline.parcel import travelling
from pipeline.run import make_ready, run_stages
from pipeline.session import RunFolder, Session, Summary, open_session
from pipeline.store import Store
from pipeline.study import Study, point_count
from pipeline.study_checks import check_devices
from solvers import CACHE_DIRECTORY
from solvers.cache import warning


def drive(
    study: Study,
    places: RunFolder,
    cluster: Cluster,
    options: Namespace,
    source: str,
    redo: frozenset[int] = frozenset(),
    stages: Callable[[Session], Summary] = run_stages,
) -> tuple[Summary, Store]:
    """Run a study to its end, or to a clean stop.

    The server takes some seconds to start; meanwhile the workers start and the kernels compile.

    Args:
        study: the study.
        places: its folder and store.
        cluster: where workers run.
        options: of the command line: workers, direct, max_time.
        source: what the flow run shows as its study.
        redo: statuses whose points are computed again.
        stages: runs the stages where no flow is to be started for them.

    Raises:
        StoreError: if the store cannot be used.
        StudyError: if the cluster cannot be, or its workers would lack a GPU.
        ClusterError: if its workers are not fit for the work.
        ServerError: if the Prefect server does not start, or the user's does not answer.
    """
    if cluster.kind == "local":
        check_devices(study)
    url = None if options.direct else user_api_url()
    if url:
        prefect_settings(url)
        check_server(url)
    elif not options.direct:
        check_home(_home())
    resumed = places.store.exists()
    with contextlib.ExitStack() as stack:
        say = partial(print, file=sys.stderr, flush=True)
        open_our_crew = partial(open_crew, cluster, options.workers, places.logs, say)
        remote = cluster.kind != "local"
        if remote and not resumed:  # it may be out of reach, and then nothing is written
            crew = stack.enter_context(open_our_crew())
        session = stack.enter_context(open_session(study, places, redo=redo))
        points = " + ".join(f"{point_count(study.step_axes(s))} {s.name}" for s in study.steps)
        session.monitor.say(f"study {study.name}: {points} points → {places.store}")
        stack.enter_context(_stopping(session, options.max_time))
        session.partial = options.partial
        if resumed and not url and session.has_all():  # then nothing needs to be started
            return stages(session), session.store
        server = None
        if not (options.direct or url):
            log = places.logs / "prefect-server.log"
            server = stack.enter_context(EphemeralServer.start(_home(), log))
            stack.callback(settle)
        warming = stack.enter_context(ThreadPoolExecutor(1)).submit(make_ready, study)
        if resumed or not remote:
            crew = stack.enter_context(open_our_crew())
        session.crew = crew
        stack.enter_context(travelling(session.inputs, crew.client))
        if remote and crew.client:
            check_store(crew.client, session.spec)
        session.compile_seconds = warming.result()
        if trouble := warning(CACHE_DIRECTORY):
            session.monitor.say(trouble)
        ready = f"kernels ready in {session.compile_seconds:.1f} s"
        session.monitor.say(f"{crew.workers} workers, {ready}")
        # The figures need it at the end; meanwhile this thread only waits for the workers.
        threading.Thread(target=import_module, args=("altair",), daemon=True).start()
        summary = stages(session) if options.direct else _run_flow(session, server, options, source)
    return summary, session.store


def _home() -> Path:
    return Path("runs") / ".prefect"


def _run_flow(
    session: Session, server: EphemeralServer | None, options: Namespace, source: str
) -> Summary:
    if server:
        prefect_settings(server.url, home=_home())
    from flows import sweep

    if server:
        server.wait()
    for name in mark_crashed("sweep"):
        session.monitor.say(f"the flow run {name} of a driver that died is marked as crashed")
    summaries: list[Summary] = []
    sweep.prepared.set(session)
    sweep.finished.set(summaries)
    parameters = {
        "study": source,
        "store": str(session.places.store),
        "overrides": tuple(getattr(options, "overrides", ())),
        "cluster": options.cluster,
        "workers": session.crew.workers,
        "partial": options.partial,
        "driver": driver_identity(),
    }
    run = partial(sweep.sweep.with_options(retries=0), **parameters, return_state=True)
    state: Any = bounded(run, lambda: bool(summaries))
    if state is None:
        session.monitor.say("the Prefect server has gone: what it shows of this run is not its end")
    elif not summaries and not session.monitor.stop.is_set():
        state.result()  # what kept the flow from its end
    return summaries[-1] if summaries else session.conclude()


@contextlib.contextmanager
def _stopping(session: Session, max_time: float | None) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and the end of the allowed time into a clean stop."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if session.signal:
            raise Interruption(number)
        session.signal = number
        session.monitor.stop.set()
        session.monitor.say("stopping; press Ctrl-C again to leave at once")

    def on_time() -> None:
        session.monitor.say("the allowed time is over: stopping")
        session.monitor.stop.set()

    session.on_signal = on_signal
    timer = threading.Timer(max_time, on_time) if max_time else None
    main = threading.current_thread() is threading.main_thread()  # others may not set handlers
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = {number: signal.getsignal(number) for number in numbers}
    session.watch_signals()
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stderr.flush()
