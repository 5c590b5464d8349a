"""One run of a study: its folder and store, who computes, and what came of it.

A session is opened by the command line, by a Prefect flow or by :meth:`Study.run`, which differ
only in who calls :meth:`Session.execute` and from which thread.
"""

import contextlib
import hashlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from pipeline.analysis.analyse import analyse
from pipeline.analysis.rates import widest_half_width
from pipeline.compute import RunSpec
from pipeline.errors import StoreError, StudyError, UnreachableError
from pipeline.execute import Crew, Pace, execute, execute_suspects
from pipeline.files import check_inside, halves_in, write_atomically
from pipeline.folder import Folder
from pipeline.heartbeat import heartbeat
from pipeline.monitor import Monitor
from pipeline.parcel import Inputs, inputs_of, travelling
from pipeline.place import Place, place_of
from pipeline.plan import Count, StepPlan, Task, plan_step
from pipeline.provenance import fingerprint, provenance
from pipeline.root import read_root
from pipeline.secrets import redacted
from pipeline.shards import check_readable
from pipeline.steps.base import Step
from pipeline.store import (
    Store,
    check_usable,
    create,
    open_and_grow,
)
from pipeline.study import Study
from pipeline.trust import remember
from solvers.errors import MeanfieldError

if TYPE_CHECKING:
    from dask.distributed import Client

BATCH_SECONDS = 10.0
MAX_BATCHES = 40
FEWEST_SEEDS = 16
"""Stopping as soon as an interval is narrow favours those that are so by chance: from 4 seeds on
the 95 % intervals held the truth in 90 % of 150 runs."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run leaves things: the folder beside the store, and the store."""

    folder: Path
    store: Place

    @property
    def logs(self) -> Path:
        """The folder for logs of failed points and of servers."""
        return self.folder / "logs"

    @property
    def halves(self) -> frozenset[Path]:
        """Half-written files in the run folder."""
        report = self.folder / "report"
        return halves_in(self.folder, self.logs, report, report / "figures")


WRITTEN = ("logs", "logs/slurm", "logs/prefect-server.log", "report", "report/figures")
"""What is written below a run folder, apart from files that are put in place by a move."""


def run_folder(study: Study, store: str | Path | Place | None = None) -> RunFolder:
    """The places of a run: ``runs/<name>/``, or a folder of its own beside a store that is given.

    Raises:
        StudyError: if the store is no place, or not one for a new store.
    """
    place = Folder(Path("runs") / study.name / "data.zarr") if store is None else _new_place(store)
    return RunFolder(folder_of(place, study.name), place)


def folder_of(store: Place, name: str) -> Path:
    """Where the other files of a run go, so that two stores never share them.

    That is ``runs/<name>/`` for the store ``data.zarr`` in it, also where that folder was moved or
    renamed; ``<store>.run/`` for any other folder; and ``runs/<name>@<digest>/`` for a store that
    is no folder.

    Raises:
        StoreError: if links lead out of it, or it is one that leads elsewhere itself.
    """
    folder = _folder_of(store, name)
    if not (isinstance(store, Folder) and folder == store.path.parent):
        check_inside(folder, folder.parent)
    for inner in WRITTEN:
        check_inside(folder / inner, folder)
    return folder


def _folder_of(store: Place, name: str) -> Path:
    if not isinstance(store, Folder):
        digest = hashlib.sha256(store.address.encode()).hexdigest()[:8]
        return Path("runs") / f"{name}@{digest}"
    path = store.path
    usual = path.resolve().parts[-3:] == ("runs", name, "data.zarr")
    if usual or (path.name == "data.zarr" and (path.parent / "run.json").is_file()):
        return path.parent
    return path.with_name(f"{path.name}.run")


def _new_place(where: str | Path | Place) -> Place:
    """The place of a store that may have to be made.

    Raises:
        StudyError: for one of an unknown kind, or a relative path out of this folder.
    """
    place = place_of(where, "--store ")
    if not isinstance(place, Folder):
        return place
    path = place.path
    if not path.is_absolute() and os.path.normpath(path).startswith(".."):
        raise StudyError(
            f"--store {where}: leads out of the current folder; allowed: a path below it, or an "
            "absolute one"
        )
    if not path.name or path.resolve() == Path.cwd():
        raise StudyError(
            f"--store {where}: not a place for a store; allowed: a path to a new folder"
        )
    return place


@dataclass(frozen=True)
class Precision:
    """How narrow the intervals of the rates are.

    Attributes:
        wanted: half the width that the study asks for.
        reached: that of the widest.
        seeds: from how many seeds.
        exhausted: whether these are all that the study allows.
    """

    wanted: float
    reached: float
    seeds: int
    exhausted: bool = False

    def as_json(self) -> dict[str, Any]:
        """The precision as the JSON interface spells it."""
        return vars(self) | ({"reached": None} if math.isnan(self.reached) else {})

    def __str__(self) -> str:
        if math.isnan(self.reached):
            return f"no rate has an interval, wanted ± {self.wanted:g}"
        end = ", the most that analysis.max_seeds allows" if self.exhausted else ""
        return (
            f"the widest interval of a rate is ± {self.reached:.3g} with {self.seeds} seeds{end}; "
            f"wanted ± {self.wanted:g}"
        )


@dataclass
class Summary:
    """What a run did, as ``--json`` prints it and run.json keeps it."""

    verb: str
    store: str
    study: str
    points: dict[str, Count]
    computed: int = 0
    core_seconds: float = 0.0
    wall_seconds: float = 0.0
    interrupted: int = 0
    precision: Precision | None = None
    settled: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def exit(self) -> int:
        """The exit status: 0 all done, 1 something failed or pending, 130/143 interrupted."""
        if self.interrupted:
            return 128 + self.interrupted
        incomplete = any(count.failures or count.pending for count in self.points.values())
        return int(incomplete or not self.settled or "problem" in self.extra)

    def as_json(self) -> dict[str, Any]:
        """The object of the JSON interface, schema 1."""
        return {
            "schema": 1,
            "verb": self.verb,
            "store": self.store,
            "study": self.study,
            "points": {step: count.as_json() for step, count in self.points.items()},
            "computed": self.computed,
            "core_seconds": round(self.core_seconds, 3),
            "wall_seconds": round(self.wall_seconds, 3),
            "exit": self.exit,
            **({"precision": self.precision.as_json()} if self.precision else {}),
            **self.extra,
        }


ANALYSED = (
    "particles/status",
    "particles/status_pde",
    "particles/w1",
    "particles/w1_initial",
    "particles/w1_pde",
    "particles/sliced_w1",
    "limit/status",
    "limit/l1_error",
    "limit/w1_error",
    "train/status",
    "train/control_distance",
    "train/cost_gap",
)


def analyse_and_draw(store: Store, folder: Path, *, partial: bool = False) -> None:
    """Compute the analysis of a store anew, and its figures where there is a folder for them.

    Args:
        store: the store.
        folder: where figures go.
        partial: whether rows that lack points are fitted from what is there.

    Raises:
        StoreError: if what it needs is damaged, or the store has grown under the run.
    """
    check_readable(store, *ANALYSED)
    store.check_unchanged()
    analyse(store, partial=partial)
    if folder.is_dir():
        from pipeline.figures import draw_figures  # a second to import, for those who draw alone

        draw_figures(store, folder)


SignalHandler = Callable[[int, FrameType | None], None]


@dataclass
class Session:
    """An open run.

    Attributes:
        study: what is computed.
        places: its folder and store.
        store: the open store.
        crew: who computes.
        monitor: what has happened so far.
        redo: statuses whose points are computed again.
        partial: whether fits are made where points are missing.
        leftovers: what killed writers had left in the store when the session opened.
        halves: and in the run folder.
        started: when that was.
        compile_seconds: what compiling or loading the kernels took.
        signal: the signal that stopped the run, if one did.
        on_signal: what turns SIGINT and SIGTERM into a clean stop.
        problem: what ended the run early, if something did.
        away: whether that was a store that does not answer; it is not asked again then.
        precision: how narrow the intervals are, where the study asks for a width.
        settled: whether it has been decided that no more seeds are needed.
        inputs: the files and modules that the study needs.
    """

    study: Study
    places: RunFolder
    store: Store
    crew: Crew
    monitor: Monitor
    redo: frozenset[int] = frozenset()
    partial: bool = False
    leftovers: frozenset[str] = frozenset()
    halves: frozenset[Path] = frozenset()
    started: float = field(default_factory=time.perf_counter)
    compile_seconds: float = 0.0
    signal: int = 0
    on_signal: SignalHandler | None = None
    problem: str = ""
    away: bool = False
    precision: Precision | None = None
    settled: bool = True
    inputs: Inputs = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = inputs_of(self.study)

    @property
    def spec(self) -> RunSpec:
        """What workers have to know."""
        stored = self.study.text == self.store.root.attrs["study"]
        document = "" if stored else self.study.text  # with 10⁵ seeds that is half a megabyte
        place, root = self.store.place.absolute(), self.store.digest
        return RunSpec(place, root, document, fingerprint(), self.redo, self.inputs)

    def plan(self, step: Step) -> StepPlan:
        """What a step lacks; nothing where the store cannot be read, which ends the run."""
        plan = StepPlan(step, (), Count())
        with self._ending_cleanly():
            plan = plan_step(self.store, step, self.redo)
        return plan  # noqa: RET504 - the context may swallow an error

    def has_all(self) -> bool:
        """Whether the store lacks no point, and more seeds are not asked for."""
        open_ended = self.study.analysis.rate_half_width is not None
        return not open_ended and not any(self.plan(step).tasks for step in self.study.steps)

    def execute(self, tasks: Sequence[Task]) -> list[Task]:
        """Compute some tasks; returns those that killed their workers.

        What ends the run (a disk that is full, no workers) stops it cleanly and is said.
        """
        suspects: list[Task] = []
        with self._ending_cleanly():
            suspects = execute(self.spec, tasks, self.crew, self.monitor)
        return suspects  # noqa: RET504 - the context may swallow an error

    def execute_suspects(self, tasks: Sequence[Task]) -> None:
        """Compute tasks that killed their workers, alone."""
        with self._ending_cleanly():
            execute_suspects(self.spec, self.store, tasks, self.crew, self.monitor)

    def sample_more(self) -> bool:
        """Double the seeds if the study wants narrower intervals than it has; whether it did.

        What it decides depends on the study and on the results alone, so a run that was
        interrupted, or is run once more, comes to the same seeds.
        """
        wanted, most = self.study.analysis.rate_half_width, self.study.analysis.max_seeds
        if wanted is None:
            return False
        self.settled = False
        if self.monitor.stop.is_set():
            return False
        grown = False
        with self._ending_cleanly():
            grown = self._add_seeds(wanted, most)
        return grown  # noqa: RET504 - the context may swallow an error

    def _add_seeds(self, wanted: float, most: int) -> bool:
        check_readable(self.store, *ANALYSED)
        reached = widest_half_width(self.store, self.partial)
        seeds = next(len(axis) for axis in self.study.axes if axis.name == "seed")
        self.precision = Precision(wanted, reached, seeds, exhausted=seeds >= most)
        narrow = reached <= wanted and seeds >= FEWEST_SEEDS
        self.settled = (narrow or seeds >= most) and not math.isnan(reached)
        if self.settled or math.isnan(reached):
            return False
        study = self.study.with_seeds(min(2 * seeds, most))
        self.monitor.say(f"{self.precision}: on to {min(2 * seeds, most)} seeds")
        self.store = open_and_grow(self.store.place, study)
        self.study = study
        return True

    @contextlib.contextmanager
    def _ending_cleanly(self) -> Iterator[None]:
        try:
            yield
        except (MeanfieldError, OSError) as error:
            if not self.monitor.stop.is_set():
                ours = isinstance(error, MeanfieldError)
                text = str(error) if ours else f"{self.store.place}: {error}"
                self.problem = redacted(" ".join(text.split("\n")))
                self.monitor.say(f"stopping: {self.problem}")
            self.away |= isinstance(error, UnreachableError)
            self.monitor.stop.set()

    def watch_signals(self) -> None:
        """Stop cleanly on SIGINT and SIGTERM; only the main thread can ask for that.

        A signal that the caller has switched off (a background job's SIGINT) stays off.
        """
        if self.on_signal and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, self.on_signal)

    @contextlib.contextmanager
    def stage(self, plan: StepPlan) -> Iterator[None]:
        """Show the progress of a step."""
        points = sum(task.points for task in plan.tasks)
        cost = sum(task.cost for task in plan.tasks)
        self.crew.pace.begin(cost)
        with self.monitor.stage(plan.step.name, points, cost, self.crew.workers):
            yield

    def _counts(self) -> dict[str, Count]:
        """Remove what killed writers had left, and count the points; none if the store has gone."""
        place, points = self.store.place, dict[str, Count]()
        with self._ending_cleanly():
            place.remove_leftovers(self.leftovers & place.leftovers())
            for file in self.halves & self.places.halves:
                file.unlink(missing_ok=True)
            counts = {s.name: plan_step(self.store, s).count for s in self.study.steps}
            read_root(place)  # a store that has gone reads as if it were empty
            points = counts
        return points  # noqa: RET504 - the context may swallow an error

    def conclude(self) -> Summary:
        """Analyse what there is, draw it, and write run.json.

        A store that is out of reach at the end leaves the counts empty.
        """
        if not self.monitor.stop.is_set():
            with self._ending_cleanly():
                analyse_and_draw(self.store, self.places.folder, partial=self.partial)
        points = {} if self.away else self._counts()
        summary = Summary(
            verb="run",
            store=str(self.store.place),
            study=self.study.name,
            points=points,
            computed=self.monitor.computed,
            core_seconds=self.monitor.core_seconds,
            wall_seconds=time.perf_counter() - self.started,
            interrupted=self.signal,
            precision=self.precision,
            settled=self.settled,
            extra={"compile_seconds": round(self.compile_seconds, 3)},
        )
        if self.problem:
            summary.extra["problem"] = self.problem
        record = summary.as_json() | {"provenance": provenance()}
        with self._ending_cleanly():
            text = redacted(json.dumps(record, indent=2))
            write_atomically(self.places.folder / "run.json", text + "\n")
        return summary


def batches(plan: StepPlan) -> list[tuple[Task, ...]]:
    """Cut a step's tasks into at most 40 batches of some ten nominal seconds, in their order."""
    cost = sum(task.cost for task in plan.tasks)
    number = min(MAX_BATCHES, len(plan.tasks), max(1, math.ceil(cost / BATCH_SECONDS)))
    if not plan.tasks:
        return []
    ends = [round(len(plan.tasks) * i / number) for i in range(number + 1)]
    return [plan.tasks[a:b] for a, b in pairwise(ends)]


@contextlib.contextmanager
def open_session(
    study: Study,
    places: RunFolder,
    client: "Client | None" = None,
    workers: int = 1,
    *,
    redo: frozenset[int] = frozenset(),
    stream: TextIO | None = None,
) -> Iterator[Session]:
    """Make or open the store and the run folder; without a client this process computes.

    As long as the session lasts, other drivers see that this one is at work.

    Raises:
        StoreError: if the store cannot be used, or belongs to another study.
    """
    check_usable(places.store, study)
    place = places.store.patient()
    leftovers, halves = place.leftovers(), places.halves
    try:
        places.logs.mkdir(parents=True, exist_ok=True)
        write_atomically(places.folder / "study.toml", study.toml())
    except OSError as error:
        raise StoreError(f"{places.folder}: cannot write there: {error.strerror}") from None
    create(place, study)
    remember(study)
    with heartbeat(places.store):
        store = open_and_grow(place, study)
        monitor = Monitor(places.logs, place, stream)
        crew = Crew(client, workers, Pace())
        session = Session(
            study, places, store, crew, monitor, redo, leftovers=leftovers, halves=halves
        )
        with travelling(session.inputs, client):
            yield session
