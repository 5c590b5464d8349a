"""How runs scale: two workers against one, and a simulated run with a thousand.

    python benchmarks/scaling.py [--full] [--write docs/performance.md]

Two workers: the study `convergence`, with fewer seeds and particles, by one and by two local
workers in turns, on warm kernels. Efficiency is the time of one over twice the time of two.

A thousand workers: the real plan of a million points, the real submission and the real scheduler of
Dask; the workers are real too, a hundred to a process, but their tasks sleep as long as the cost
model says, give or take a fifth. Efficiency is the time slept over workers times wall time. By
default a small form of both; `--full` is what docs/performance.md shows.
"""

import harness

# isort: split
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# A profiler, a monitor and a clock in each of a thousand workers are more than two cores carry.
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"
os.environ["DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL"] = "10s"
os.environ["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] = "5s"
os.environ["DASK_DISTRIBUTED__ADMIN__TICK__CYCLE"] = "60s"
os.environ["DASK_DISTRIBUTED__LOGGING__DISTRIBUTED"] = "error"

import numpy as np
import psutil

from pipeline import execute as submission
from pipeline.compute import RunSpec, Token
from pipeline.execute import Crew, Pace, execute
from pipeline.folder import Folder
from pipeline.local_cluster import local_client
from pipeline.monitor import Monitor
from pipeline.plan import Task, plan_step
from pipeline.session import Session, open_session, run_folder
from pipeline.shards import Shard
from pipeline.store import create, open_and_grow
from pipeline.study import Study
from solvers.warm import warm

HOME = Path(__file__).resolve().parents[1]
PER_PROCESS = 100
SPREAD = 0.2


@dataclass(frozen=True)
class Sleep(Shard):
    """A shard that only sleeps."""

    points: int = 0
    seconds: float = 0.0


def sleep_bundle(_spec: RunSpec, shards: Sequence[Sleep]) -> list[Token]:
    """Stand in for `compute_bundle` in a simulated worker."""
    for shard in shards:
        time.sleep(shard.seconds)
    return [Token(shard, points=shard.points, seconds=shard.seconds) for shard in shards]


def two_workers(seeds: int, turns: int) -> list[list[str]]:
    """Return rows: one worker and two, in turns."""
    overrides = ["axes.particles={ from = 1e2, to = 1e5, per_decade = 2 }", "axes.cells=[100, 200]"]
    overrides.append(f"axes.seed={{ count = {seeds} }}")
    study = Study.load(HOME / "studies" / "convergence.toml", overrides)
    found: dict[int, list[tuple[float, float, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for turn in range(turns):
            for workers in found:
                found[workers].append(computed(study, workers, f"{turn}-{workers}.zarr"))
    one, two = (np.array(found[workers]) for workers in found)
    header = ["workers", "wall time [s]", "core-seconds of work", "work over wall × workers"]
    rows = [
        [str(n), harness.spread(t[:, 0]), harness.spread(t[:, 1]), harness.spread(t[:, 2])]
        for n, t in ((1, one), (2, two))
    ]
    return [header, *rows, ["efficiency", harness.spread(one[:, 0] / (2 * two[:, 0])), "", ""]]


def computed(study: Study, workers: int, store: str) -> tuple[float, float, float]:
    """Return wall time, core-seconds and their ratio of computing a study."""
    with (
        local_client(workers) as client,
        open_session(study, run_folder(study, store), client, workers, stream=quiet()) as session,
    ):
        client.run(warm)
        began = time.perf_counter()
        for step in study.steps:
            stage(session, session.plan(step).tasks)
        wall = time.perf_counter() - began
        return wall, session.monitor.core_seconds, session.monitor.core_seconds / wall / workers


def stage(session: Session, tasks: Sequence[Task]) -> None:
    """Compute the tasks of a step."""
    session.crew.pace.begin(sum(task.cost for task in tasks))
    assert not session.execute(tasks)
    assert not session.monitor.stop.is_set()


def quiet() -> Any:
    """Return a stream that swallows what is written."""
    return Path(os.devnull).open("w")


@dataclass(frozen=True)
class Simulated:
    """What a simulated run took.

    Attributes:
        workers: Number of workers.
        points: Number of points.
        shards: Number of shards.
        planning: Seconds of the driver's processor for store and plan.
        work: Seconds slept, of all workers.
        wall: Seconds of the run.
        processor: Seconds of processor time of driver and scheduler.
        memory: MB of driver and scheduler.
    """

    workers: int
    points: int
    shards: int
    planning: float
    work: float
    wall: float
    processor: tuple[float, float]
    memory: tuple[float, float]

    @property
    def efficiency(self) -> float:
        """Time slept over workers times wall time."""
        return self.work / self.workers / self.wall


def simulated(workers: int, points: int) -> Simulated:
    """Plan a study of some points, and run it by workers that sleep."""
    values = 5 * 8
    overrides = [
        "axes.particles={ from = 1e2, to = 3.2e5, per_decade = 2 }",
        'study.steps=["particles"]',
    ]
    overrides.append(f"axes.seed={{ count = {points // values} }}")
    document = (HOME / "studies" / "convergence.toml").read_text()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("study.toml").write_text(re.sub(r"(?m)^cells .*\n", "", document))
        study = Study.load("study.toml", overrides)
        began = time.process_time()
        place = Folder(Path("data.zarr"))
        create(place, study)
        store = open_and_grow(place, study)
        plan = plan_step(store, study.steps[0])
        planning = time.process_time() - began
        noise = np.random.default_rng(0).uniform(1 - SPREAD, 1 + SPREAD, len(plan.tasks))
        tasks = [asleep(task, factor) for task, factor in zip(plan.tasks, noise, strict=True)]
        spent = slept(workers, tasks, Monitor(Path("logs"), place, quiet()))
        return Simulated(workers, plan.count.total, len(tasks), planning, *spent)


def asleep(task: Task, factor: float) -> Task:
    """Return a task that sleeps as long as the cost model says."""
    shard = Sleep(task.shard.step, task.shard.index, None, task.points, factor * task.cost)
    return replace(task, shard=shard)


Spent = tuple[float, float, tuple[float, float], tuple[float, float]]
"""Work, wall time, and of driver and scheduler processor time and memory; see Simulated."""


def slept(workers: int, tasks: Sequence[Task], monitor: Monitor) -> Spent:
    """Have the tasks done by a scheduler and simulated workers."""
    import scaling  # this file, under the name by which workers import it

    spec = RunSpec(Folder(Path("data.zarr")).absolute(), "", "", "")
    submission.compute_bundle = scaling.sleep_bundle
    with cluster(workers) as (client, scheduler):
        both = (psutil.Process(), scheduler)
        before = [sum(process.cpu_times()[:2]) for process in both]
        began = time.perf_counter()
        crew = Crew(client, workers, Pace())
        crew.pace.begin(sum(task.cost for task in tasks))
        assert not execute(spec, tasks, crew, monitor)
        wall = time.perf_counter() - began
        after = [sum(process.cpu_times()[:2]) for process in both]
        driver, server = np.subtract(after, before).tolist()
        memory = [process.memory_info().rss / 1e6 for process in both]
        return monitor.core_seconds, wall, (driver, server), (memory[0], memory[1])


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[Any, psutil.Process]]:
    """A scheduler and workers in processes of their own, and a client."""
    from dask.distributed import Client

    me = [sys.executable, str(Path(__file__).resolve())]
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen([*me, *arguments], stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        scheduler = start("--scheduler")
        address = scheduler.stdout.readline().strip()
        for first in range(0, workers, PER_PROCESS):
            start("--workers-of", address, str(min(PER_PROCESS, workers - first)))
        client = stack.enter_context(Client(address, set_as_default=False, timeout="60s"))
        while client.run_on_scheduler(_present) < workers:  # Dask's own wait asks for all of each
            time.sleep(1.0)
        yield client, psutil.Process(scheduler.pid)


def _present(dask_scheduler: Any) -> int:
    """Return how many workers a scheduler has."""
    return len(dask_scheduler.workers)


async def serve_scheduler() -> None:
    """Run a scheduler until it is killed."""
    from distributed import Scheduler

    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()


async def serve_workers(address: str, count: int) -> None:
    """Run some workers in one process until it is killed."""
    import scaling  # noqa: F401 - what the tasks need, loaded before the first
    from distributed import Worker

    options = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard": False}
    workers = [Worker(address, name=f"{os.getpid()}-{n}", **options) for n in range(count)]
    for worker in workers:
        await worker
    await asyncio.gather(*(worker.finished() for worker in workers))


SECTION = """\
Two workers on the study `convergence` ({seeds} seeds, to 10⁵ particles) against one, in turns, with
warm kernels; medians of {turns}, and in brackets the least and the largest.
Written by

    python benchmarks/scaling.py --full --write docs/performance.md

{machine}

{two}

Simulated runs: the real plan, submission and scheduler; the tasks sleep as long as the cost model
says, give or take a fifth. The workers share two cores with driver and scheduler.

{many}

Growth with the number of workers, {each} points for each of them: the wall time of ideal runs would
not grow, what driver and scheduler do grows with the points. Exponents as in the section Growth.

{growth}

{figure}
"""
ROWS: dict[str, Callable[[Simulated], str]] = {
    "workers": lambda run: str(run.workers),
    "points, shards": lambda run: f"{run.points}, {run.shards}",
    "driver: store and plan [s of processor]": lambda run: f"{run.planning:.1f}",
    "work [core-seconds], wall time [s]": lambda run: f"{run.work:.0f}, {run.wall:.1f}",
    "efficiency": lambda run: f"{run.efficiency:.3f}",
    "driver: processor [s], memory [MB]": lambda run: (
        f"{run.processor[0]:.1f}, {run.memory[0]:.0f}"
    ),
    "scheduler: processor [s], memory [MB]": lambda run: (
        f"{run.processor[1]:.1f}, {run.memory[1]:.0f}"
    ),
}
GROWING: dict[str, Callable[[Simulated], float]] = {
    "wall time [s]": lambda run: run.wall,
    "driver [s]": lambda run: run.processor[0],
    "scheduler [s]": lambda run: run.processor[1],
    "driver [MB]": lambda run: run.memory[0],
    "scheduler [MB]": lambda run: run.memory[1],
}


def growth(crews: Sequence[int], each: int, page: Path | None) -> tuple[str, str]:
    """Return a table of runs of ever more workers, with exponents, and a figure."""
    runs = [simulated(workers, each * workers) for workers in crews]
    found = {name: [value(run) for run in runs] for name, value in GROWING.items()}
    rows = [
        [f"{run.workers}", *(harness.number(values[k]) for values in found.values())]
        for k, run in enumerate(runs)
    ]
    slopes = [f"{harness.exponent(crews, values):.2f}" for values in found.values()]
    table = harness.table(["workers", *GROWING], *rows, ["exponent", *slopes])
    panels = {
        label: {
            name.removesuffix(unit): (crews, values)
            for name, values in found.items()
            if name.endswith(unit)
        }
        for label, unit in (("seconds", " [s]"), ("MB", " [MB]"))
    }
    return table, harness.figure(page, "growth-workers", "workers", panels)


def section(options: harness.Options) -> str:
    """Measure, and return the section."""
    seeds, turns = (16, harness.TURNS) if options.full else (8, 1)
    machine = harness.machine("dask")
    two = two_workers(seeds, turns)
    many = simulated(*(1000, 10**6) if options.full else (100, 10**5))
    crews, each = ((30, 100, 300, 1000), 100) if options.full else ((10, 30, 100), 40)
    growing, figure = growth(crews, each, options.page)
    return SECTION.format(
        seeds=seeds,
        turns=turns,
        machine=machine,
        two=harness.table(*two),
        many=harness.table(["", "measured"], *([name, row(many)] for name, row in ROWS.items())),
        each=each,
        growth=growing,
        figure=figure,
    )


def main() -> None:
    """Print the section, or be a part of the simulated cluster."""
    if sys.argv[1:2] == ["--scheduler"]:
        asyncio.run(serve_scheduler())
    elif sys.argv[1:2] == ["--workers-of"]:
        asyncio.run(serve_workers(sys.argv[2], int(sys.argv[3])))
    else:
        harness.run(__doc__, "Scaling", section)


if __name__ == "__main__":
    main()
