"""What a run has to do: the points of a study, those that the store lacks, and what they cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.axes import Axis, Value
from pipeline.costs import block_sums, costs, total
from pipeline.layout import all_arrays, chunk_grid, shard_shape
from pipeline.memory import peak_bytes
from pipeline.shards import Shard, TableBlock, missing_points, survey
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

    Reads every chunk that the step has, so that damage and gaps are found too.

    Args:
        store: the study's store.
        step: one of its steps.
        redo: statuses whose points are to be computed again.
    """
    blocks = survey(store, step, redo)
    missing = missing_points(blocks)
    tasks = sorted(_tasks(store, step, missing), key=lambda task: (-task.cost, task.shard.index))
    return StepPlan(step, tuple(tasks), _count(store, blocks, missing))


def _tasks(store: Store, step: Step, missing: np.ndarray) -> Iterator[Task]:
    """The shards with points that are missing."""
    if not missing.any():
        return
    shape = store.chunk_of(step)
    points = block_sums(missing.astype(np.int64), shape)
    seconds = block_sums(np.where(missing, _stored_costs(store, step), 0.0), shape)
    where = np.nonzero(points)
    found = zip(points[where].tolist(), seconds[where].tolist(), strict=True)
    for index, (number, cost) in zip(np.transpose(where).tolist(), found, strict=True):
        yield Task(Shard(step.name, tuple(index)), number, cost)


def _stored_costs(store: Store, step: Step) -> np.ndarray:
    """Nominal seconds at the stored points of a step; 0 where the study has none."""
    found = costs(store.study, step)
    for dimension, axis in enumerate(store.table_axes(step.tables[0])):
        if found.shape[dimension] > 1:
            stored = np.zeros((*found.shape[:dimension], len(axis), *found.shape[dimension + 1 :]))
            stored[(slice(None),) * dimension + (store.positions(axis.name),)] = found
            found = stored
    return found


def _count(store: Store, blocks: Sequence[TableBlock], missing: np.ndarray) -> Count:
    """Count the points: failed if the point or any of its further tables failed."""
    count = Count()
    first = blocks[0]
    wanted = store.wanted(first.axes, first.region)
    worst = first.status.copy()
    own = {axis.name for axis in first.axes}
    for block in blocks[1:]:
        extra = tuple(i for i, axis in enumerate(block.axes) if axis.name not in own)
        known = np.where(store.wanted(block.axes, block.region), block.status, 0)
        failed = np.where(np.isin(known, [int(s) for s in KEEPS_DATA]), 0, known).max(axis=extra)
        worst = np.where((failed > 0) & np.isin(worst, KEEPS_DATA), failed, worst)
    count.total = int(wanted.sum())
    count.pending = int((wanted & missing).sum())
    found = np.unique(worst[wanted & ~missing], return_counts=True)
    count.failed = {str(status): int(number) for status, number in zip(*found, strict=True)}
    count.done = count.failed.pop(str(int(Status.DONE)), 0)
    return count


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
        total(costs(study, step), axes),
        size,
        peak_bytes(study, step, shard),
    )


def _columns(axis: Axis) -> tuple[tuple[Value, ...], ...]:
    return tuple(zip(*(axis.labels(key) for key in axis.keys), strict=True))
