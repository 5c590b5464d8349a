"""Send the tasks of a plan to workers, in bundles, and see that each is done or accounted for.

Bundles take a few seconds each, the most expensive shards first; how long a nominal second really
takes is learnt from the first shards. A bundle that kills its worker is set apart and tried again
alone, halved each time down to one point, and that point is then marked. How many bundles are on
their way follows the workers, who may come and go as long as the run lasts.
"""

import contextlib
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
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
BUNDLES_PER_SECOND = 50.0
"""What a scheduler takes with ease: beyond 200 workers bundles are longer."""
BUNDLES_PER_WORKER = 2
LOOK_SECONDS = 5.0
PATIENCE = 120.0


class Pace:
    """Real seconds for a nominal one, as measured so far, and how many a stage has still to send.

    Shared by all threads of a driver.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._real = self._nominal = 0.0
        self._waiting = 0.0

    def begin(self, nominal: float) -> None:
        """Begin a stage of so many nominal seconds."""
        with self._lock:
            self._waiting = nominal

    def send(self, nominal: float) -> None:
        """Note that so much has been sent to workers, or come back if it is negative."""
        with self._lock:
            self._waiting -= nominal

    @property
    def left(self) -> float:
        """The expected duration of what is still to be sent."""
        return self.real(max(self._waiting, 0.0))

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return self._nominal > 0

    def learn(self, real: float, nominal: float) -> None:
        """Take in a finished bundle."""
        with self._lock:
            self._real += real
            self._nominal += nominal

    def real(self, nominal: float) -> float:
        """The expected duration of a nominal one, which is itself before anything was measured."""
        with self._lock:
            return nominal * self._real / self._nominal if self._nominal > 0 else nominal


class Roster:
    """How many bundles the workers can run at once, asked now and then; shared by all threads.

    Args:
        client: the client of a cluster.
        most: how many workers the cluster may grow to; 0 if it does not grow.
        patience: for how many seconds to wait while there is no worker.
        tend: what has to be done for the cluster now and then.
    """

    def __init__(
        self,
        client: "Client",
        most: int = 0,
        patience: float = PATIENCE,
        tend: Callable[[], None] | None = None,
    ) -> None:
        self._client = client
        self._most = most
        self._patience = patience
        self._tend = tend
        self._lock = threading.Lock()
        self._present = 0
        self._looked = -math.inf
        self._seen = time.monotonic()

    def ask(self) -> int:
        """How many bundles can run at once now.

        Raises:
            ClusterError: if there has been no worker for too long, or there is no scheduler.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= (LOOK_SECONDS if self._present else 0.5):
                self._looked = now
                self._look(now)
            return self._present

    def wanted(self) -> int:
        """How many bundles to have with the scheduler.

        Two for each worker, and one for each that may come, so that the cluster grows.
        """
        present = max(self.ask(), 1)
        return BUNDLES_PER_WORKER * present + max(self._most - present, 0)

    def _look(self, now: float) -> None:
        try:
            self._present = sum(self._client.nthreads().values())
        except (OSError, RuntimeError, AttributeError) as error:  # as Dask says that it has gone
            raise ClusterError(
                "the cluster's scheduler does not answer any more; start it again, and run again "
                f"to go on ({type(error).__name__})"
            ) from None
        if self._tend:
            self._tend()
        if self._present:
            self._seen = now
        elif now - self._seen > self._patience:
            raise ClusterError(
                f"the cluster has had no worker for {self._patience:g} s (cluster.patience); start "
                "some, and run again to go on"
            )


def bundle_seconds(pace: Pace, workers: int, aim: float = BUNDLE_SECONDS) -> float:
    """How long the next bundle should take.

    As long as is aimed for, or longer where so many workers would want more bundles than a
    scheduler takes with ease; a quarter of it until the pace is known; and towards the end of the
    stage less and less, so that the workers end together, but not so little that bundles swamp
    the scheduler.
    """
    eased = workers / BUNDLES_PER_SECOND
    longest = max(aim, eased) if pace.known else max(aim, eased) / 4
    return min(longest, max(pace.left / (3 * workers), eased / 2))


@dataclass(frozen=True)
class Crew:
    """Who computes: a Dask client, or this process if there is none.

    Attributes:
        client: the client of a running cluster.
        workers: how many bundles can run at once, to begin with.
        pace: the calibration of the cost model.
        bundle_seconds: the length of bundles to aim for.
        roster: how many workers there are as the run goes on.
    """

    client: "Client | None"
    workers: int
    pace: Pace
    bundle_seconds: float = BUNDLE_SECONDS
    roster: Roster | None = None


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
        self._roster = crew.roster or Roster(client)

    def run(self) -> list[Task]:
        try:
            while (self._waiting or self._running) and not self._monitor.stop.is_set():
                self._submit()
                self._monitor.workers = self._roster.ask()
                self._collect(self._wait_for_some())
        finally:
            self._client.cancel([future for future, _ in self._running.values()])
        return self._suspects

    def _submit(self) -> None:
        while self._waiting and len(self._running) < self._roster.wanted():
            bundle = self._next_bundle()
            cost = sum(task.cost for task in bundle)
            self._crew.pace.send(cost)
            future = self._client.submit(
                compute_bundle,
                self._spec,
                [task.shard for task in bundle],
                pure=False,
                priority=cost,
            )
            self._running[future.key] = (future, bundle)
            future.add_done_callback(self._ended.put)

    def _next_bundle(self) -> list[Task]:
        """The next tasks, for as long as a bundle should take."""
        pace = self._crew.pace
        wanted = bundle_seconds(pace, max(self._roster.ask(), 1), self._crew.bundle_seconds)
        bundle = [self._waiting.popleft()]
        cost = bundle[0].cost
        while self._waiting and pace.real(cost + self._waiting[0].cost) <= wanted:
            bundle.append(self._waiting.popleft())
            cost += bundle[-1].cost
        return bundle

    def _give_back(self, tasks: Sequence[Task]) -> None:
        self._waiting.extend(tasks)
        self._crew.pace.send(-sum(task.cost for task in tasks))

    def _wait_for_some(self) -> list["Future[Any]"]:
        """The bundles that have ended since the last look; none after a while without any."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._ended.get(timeout=0.2))
            while True:
                found.append(self._ended.get_nowait())
        return found

    def _collect(self, ended: Sequence["Future[Any]"]) -> None:
        """Count bundles that have ended; what they return is fetched in one go.

        One by one, a thousand workers would wait for the driver.
        """
        bundles = {future: self._running.pop(future.key)[1] for future in ended}
        fine = [future for future in ended if future.status not in ("cancelled", "error")]
        for future, tokens in zip(fine, self._client.gather(fine), strict=True):
            self._count(tokens, bundles.pop(future))
        for future, bundle in bundles.items():
            if future.status == "cancelled":
                self._give_back(bundle)
                continue
            error = future.exception()
            if type(error).__name__ != "KilledWorker":
                raise error
            self._suspects.extend(bundle)
        for future in ended:
            future.release()

    def _count(self, tokens: Sequence[Token], bundle: Sequence[Task]) -> None:
        left = {token.shard for token in tokens if token.left}  # the worker had to end
        self._give_back([task for task in bundle if task.shard in left])
        done = [task for task in bundle if task.shard not in left]
        _record([t for t in tokens if not t.left], done, self._crew, self._monitor)


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
