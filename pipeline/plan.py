"""What a run has to do: the points of a study, those that the store lacks, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.axes import Axis, Value
from pipeline.layout import all_arrays, chunk_grid, shard_shape
from pipeline.memory import peak_bytes
from pipeline.shards import Shard, TableBlock, WholeReader, missing_points, read_block, shards_of
from pipeline.status import KEEPS_DATA, Status
from pipeline.steps.base import Step
from pipeline.store import Store
from pipeline.study import Study, point_count


@dataclass(frozen=True)
class Task:
    """A shard that lacks points.

    Attributes:
        shard: which shard.
        points: how many of its points are to be computed.
        cost: their nominal seconds.
    """

    shard: Shard
    points: int
    cost: float


@dataclass
class Count:
    """The points of a step by what became of them."""

    total: int = 0
    done: int = 0
    pending: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    @property
    def failures(self) -> int:
        """How many failed, for whatever cause."""
        return sum(self.failed.values())

    def as_json(self) -> dict[str, Any]:
        """The count as the JSON interface spells it."""
        return {
            "total": self.total,
            "done": self.done,
            "pending": self.pending,
            "failed": dict(sorted(self.failed.items())),
        }


@dataclass(frozen=True)
class StepPlan:
    """A step's tasks, most expensive first, and the count of its points."""

    step: Step
    tasks: tuple[Task, ...]
    count: Count


def plan_step(store: Store, step: Step, redo: frozenset[int] = frozenset()) -> StepPlan:
    """Find the points of a step that the store lacks.

    Reads every chunk of the step, so that damage and gaps are found too.

    Args:
        store: the study's store.
        step: one of its steps.
        redo: statuses whose points are to be computed again.
    """
    tables = step.tables_in(store.study.header.steps)
    costs = Costs(store.study, step)
    count = Count()
    reader = WholeReader(store)
    tasks = []
    for shard in shards_of(store, step):
        blocks = [read_block(store, step, table, shard, redo, reader) for table in tables]
        missing = missing_points(blocks)
        _tally(store, blocks, missing, count)
        offsets = np.argwhere(missing)
        if len(offsets):
            first = blocks[0]
            cost = sum(
                costs.at(store.values_at(first.axes, first.index(o))) for o in offsets.tolist()
            )
            tasks.append(Task(shard, len(offsets), cost))
    tasks.sort(key=lambda task: (-task.cost, task.shard.index))
    return StepPlan(step, tuple(tasks), count)


def _tally(store: Store, blocks: list[TableBlock], missing: np.ndarray, count: Count) -> None:
    """Add a shard's points: failed if the point or any of its further tables failed."""
    first = blocks[0]
    wanted = store.wanted(first.axes, first.region)
    worst = first.status.copy()
    own = {axis.name for axis in first.axes}
    for block in blocks[1:]:
        extra = tuple(i for i, axis in enumerate(block.axes) if axis.name not in own)
        known = np.where(store.wanted(block.axes, block.region), block.status, 0)
        failed = np.where(np.isin(known, [int(s) for s in KEEPS_DATA]), 0, known).max(axis=extra)
        worst = np.where((failed > 0) & np.isin(worst, KEEPS_DATA), failed, worst)
    count.total += int(wanted.sum())
    count.pending += int((wanted & missing).sum())
    for status in np.unique(worst[wanted & ~missing]):
        number = int((worst[wanted & ~missing] == status).sum())
        if status == Status.DONE:
            count.done += number
        else:
            name = str(int(status))
            count.failed[name] = count.failed.get(name, 0) + number


class Costs:
    """Nominal seconds of points; equal settings, seeds and activations apart, are asked once."""

    def __init__(self, study: Study, step: Step) -> None:
        self._study = study
        self._step = step
        self._known: dict[tuple[Any, ...], float] = {}

    def at(self, values: Mapping[str, Value] | None) -> float:
        """The cost of one point."""
        values = values or {}
        key = tuple(str(v) for k, v in values.items() if k not in ("seed", "activation"))
        if key not in self._known:
            self._known[key] = self._step.cost(self._study.case(values))
        return self._known[key]


@dataclass(frozen=True)
class Estimate:
    """What a step will take, before anything runs.

    Attributes:
        step: its name.
        axes: its axes.
        points: how many points they have.
        shards: how many shards.
        core_seconds: nominal seconds of one core.
        stored_bytes: of its variables, before compression.
        peak_bytes: memory that a worker needs; None if the step does not tell.
    """

    step: str
    axes: tuple[Axis, ...]
    points: int
    shards: int
    core_seconds: float
    stored_bytes: int
    peak_bytes: int | None


def estimate(study: Study) -> list[Estimate]:
    """Points, shards, core time and bytes of each step of a study, without a store."""
    shards = {step.name: shard_shape(study, step) for step in study.steps}
    stored = {a.name: Axis(a.name, a.keys, _columns(a)) for a in study.axes}
    sizes = {
        step.name: sum(
            int(np.prod(spec.shape)) * (1 if spec.dtype == "i1" else 8)
            for spec in all_arrays(study, stored, shards)
            if spec.path.split("/")[0] == step.name
        )
        for step in study.steps
    }
    return [_estimate(study, step, shards[step.name], sizes[step.name]) for step in study.steps]


def _estimate(study: Study, step: Step, shard: Mapping[str, int], size: int) -> Estimate:
    axes = study.step_axes(step)
    lengths = [len(axis) for axis in axes]
    chunks = chunk_grid(lengths, [shard[axis.name] for axis in axes])
    return Estimate(
        step.name,
        axes,
        point_count(axes),
        int(np.prod(chunks)),
        _total_cost(study, step, axes),
        size,
        peak_bytes(study, step, shard),
    )


def _total_cost(study: Study, step: Step, axes: tuple[Axis, ...]) -> float:
    """The cost of a grid; it does not depend on seeds and activations."""
    free = [axis for axis in axes if set(axis.keys) <= {"seed", "activation"}]
    rest = [axis for axis in axes if axis not in free]
    fixed = study.values_at(free, [0] * len(free))
    total = 0.0
    for index in np.ndindex(*(len(axis) for axis in rest)):
        total += step.cost(study.case({**fixed, **study.values_at(rest, index)}))
    return total * point_count(free)


def _columns(axis: Axis) -> tuple[tuple[Value, ...], ...]:
    return tuple(zip(*(axis.labels(key) for key in axis.keys), strict=True))
