"""Send the tasks of a plan to workers, in bundles, and see that each is done or accounted for.

Bundles take a few seconds each, the most expensive shards first; how long a nominal second really
takes is learnt from the first shards. A bundle that kills its worker is set apart and tried again
alone, halved each time down to one point, and that point is then marked.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.compute import Failure, RunSpec, Token, compute_bundle
from pipeline.errors import ClusterError, StoreChangedError
from pipeline.monitor import Monitor
from pipeline.plan import Task
from pipeline.shards import missing_points, places_of, put, read_block, write_block
from pipeline.status import Status
from pipeline.store import Store

if TYPE_CHECKING:
    from dask.distributed import Client, Future

BUNDLE_SECONDS = 4.0
BUNDLES_PER_WORKER = 2
LOOK_SECONDS = 5.0
WORKERLESS_SECONDS = 120.0


class Pace:
    """Real seconds for a nominal one, as measured so far; shared by all threads of a driver."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._real = self._nominal = 0.0

    def learn(self, real: float, nominal: float) -> None:
        """Take in a finished bundle."""
        with self._lock:
            self._real += real
            self._nominal += nominal

    def real(self, nominal: float) -> float | None:
        """The expected duration of a nominal one; None before anything was measured."""
        with self._lock:
            return nominal * self._real / self._nominal if self._nominal > 0 else None


@dataclass(frozen=True)
class Crew:
    """Who computes: a Dask client, or this process if there is none.

    Attributes:
        client: the client of a running cluster.
        workers: how many bundles can run at once.
        pace: the calibration of the cost model.
        bundle_seconds: the length of bundles to aim for.
    """

    client: "Client | None"
    workers: int
    pace: Pace
    bundle_seconds: float = BUNDLE_SECONDS


def execute(spec: RunSpec, tasks: Sequence[Task], crew: Crew, monitor: Monitor) -> list[Task]:
    """Compute tasks until all are done or the run is stopped.

    Returns:
        the tasks whose bundles killed their workers; see :func:`execute_suspects`.
    """
    if crew.client is None:
        for task in tasks:
            if monitor.stop.is_set():
                break
            _record(compute_bundle(spec, [task.shard]), [task], crew, monitor)
        return []
    return _Submission(spec, tasks, crew, crew.client, monitor).run()


class _Submission:
    """The bundles of one batch: those waiting, and those with the scheduler."""

    def __init__(
        self, spec: RunSpec, tasks: Sequence[Task], crew: Crew, client: "Client", monitor: Monitor
    ) -> None:
        self._spec = spec
        self._waiting = deque(tasks)
        self._crew = crew
        self._client = client
        self._monitor = monitor
        self._running: dict[Any, tuple[Future[Any], list[Task]]] = {}
        self._ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._suspects: list[Task] = []
        self._looked = self._seen = time.monotonic()

    def run(self) -> list[Task]:
        try:
            while (self._waiting or self._running) and not self._monitor.stop.is_set():
                self._submit()
                try:
                    self._collect(self._ended.get(timeout=0.2))
                except queue.Empty:
                    self._look_for_workers()
        finally:
            self._client.cancel([future for future, _ in self._running.values()])
        return self._suspects

    def _submit(self) -> None:
        while self._waiting and len(self._running) < BUNDLES_PER_WORKER * self._crew.workers:
            bundle = self._next_bundle()
            future = self._client.submit(
                compute_bundle,
                self._spec,
                [task.shard for task in bundle],
                pure=False,
                priority=sum(task.cost for task in bundle),
            )
            self._running[future.key] = (future, bundle)
            future.add_done_callback(self._ended.put)

    def _look_for_workers(self) -> None:
        """Give up when there has been nobody to do the work for two minutes."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        if self._client.scheduler_info(n_workers=-1)["workers"]:
            self._seen = now
        elif now - self._seen > WORKERLESS_SECONDS:
            raise ClusterError(
                f"the cluster has had no worker for {WORKERLESS_SECONDS:g} s; start some, and run "
                "again to go on"
            )

    def _next_bundle(self) -> list[Task]:
        """The next tasks: about four seconds of them, less towards the end."""
        left = self._crew.pace.real(sum(task.cost for task in self._waiting))
        bundle = [self._waiting.popleft()]
        if left is None:
            return bundle
        wanted = min(self._crew.bundle_seconds, left / (3 * self._crew.workers))
        cost = bundle[0].cost
        while self._waiting and (self._crew.pace.real(cost + self._waiting[0].cost) or 0) <= wanted:
            bundle.append(self._waiting.popleft())
            cost += bundle[-1].cost
        return bundle

    def _collect(self, future: "Future[Any]") -> None:
        _, bundle = self._running.pop(future.key)
        if future.status == "cancelled":
            self._waiting.extend(bundle)
            return
        error = future.exception() if future.status == "error" else None
        if error is not None and type(error).__name__ == "KilledWorker":
            self._suspects.extend(bundle)
        elif error is not None:
            raise error
        else:
            _record(future.result(), bundle, self._crew, self._monitor)
        future.release()


def _record(tokens: Sequence[Token], tasks: Sequence[Task], crew: Crew, monitor: Monitor) -> None:
    """Count what a bundle has done.

    Raises:
        StoreChangedError: if a worker gave up a shard.
    """
    cost = sum(task.cost for task in tasks)
    crew.pace.learn(sum(token.seconds for token in tokens), cost)
    monitor.finished(tokens, cost)
    for token in tokens:
        if token.abandoned:
            raise StoreChangedError(token.abandoned)


def execute_suspects(
    spec: RunSpec, store: Store, suspects: Sequence[Task], crew: Crew, monitor: Monitor
) -> None:
    """Run tasks that were in a worker when it died, one at a time with nothing beside them.

    A task that kills again is halved, down to one point; that point is marked out-of-memory, the
    usual cause, and the others are computed.
    """
    alone = replace(crew, workers=1, bundle_seconds=0.0)
    waiting = [_with_points(store, spec, task) for task in suspects]
    while waiting and not monitor.stop.is_set():
        task = waiting.pop()
        if not task.shard.only or not execute(spec, [task], alone, monitor):
            continue
        if len(task.shard.only) > 1:
            half = len(task.shard.only) // 2
            waiting += [_part(task, task.shard.only[half:]), _part(task, task.shard.only[:half])]
        else:
            _mark_killer(store, task, monitor)


def _with_points(store: Store, spec: RunSpec, task: Task) -> Task:
    """A task that names its missing points, so that it can be halved."""
    step = store.study.step(task.shard.step)
    tables = step.tables_in(store.study.header.steps)
    blocks = [read_block(store, step, table, task.shard, spec.redo) for table in tables]
    points = tuple(tuple(offset) for offset in np.argwhere(missing_points(blocks)).tolist())
    return replace(task, shard=replace(task.shard, only=points), points=len(points))


def _part(task: Task, points: tuple[tuple[int, ...], ...]) -> Task:
    share = len(points) / task.points
    return Task(replace(task.shard, only=points), len(points), task.cost * share)


def _mark_killer(store: Store, task: Task, monitor: Monitor) -> None:
    """Mark a point that kills its worker, and what depends on it in further tables."""
    step = store.study.step(task.shard.step)
    (offset,) = task.shard.only or ()
    tables = step.tables_in(store.study.header.steps)
    blocks = [read_block(store, step, table, task.shard, frozenset()) for table in tables]
    first = blocks[0]
    for block in reversed(blocks):
        status = Status.OUT_OF_MEMORY if block is first else Status.UPSTREAM
        for place in places_of(first, block, offset):
            if block.missing[place]:
                put(block, place, {}, status)
        if block.changed:
            write_block(store, step, block)
    values = store.values_at(first.axes, first.index(offset)) or {}
    reason = "the worker was killed, twice, with nothing else in it; most likely by lack of memory"
    failure = Failure(step.name, values, Status.OUT_OF_MEMORY, reason, "")
    monitor.finished([Token(task.shard, 1, 1, [failure])], task.cost)
