"""Memory: what a point takes, what its worker has, and the refusal of a point that does not fit.

Steps declare the peak of a point from its parameters. A point that takes more than its worker has
is refused before it runs: the system would end the worker, and with it the points beside it.
"""

import math
from collections.abc import Mapping, Sequence

from pipeline.case import Case
from pipeline.layout import corner_points, inner_lengths
from pipeline.shards import TableBlock
from pipeline.steps.base import Step
from pipeline.study import Study
from pipeline.words import in_words

WORKER_BYTES = 350e6
"""A worker before its first point: Python, packages, kernels."""
LEAST_BYTES = 500e6
"""What any worker has; it would not start with less."""
COPIES = 3
"""The numbers of a shard: those in memory, and a chunk as it is encoded and written."""
SIZES = {
    "particles": "particles",
    "cells": "cells",
    "training_particles": "training particles",
    "training_cells": "training cells",
}
"""Keys on which a point's memory depends most, and what they are called."""


def check_fits(step: Step, case: Case, blocks: Sequence[TableBlock]) -> None:
    """See that a point fits into this process, beside the shard that is in memory already.

    Args:
        step: the point's step.
        case: the point.
        blocks: its shard.

    Raises:
        MemoryError: if not; it says how much the point needs.
    """
    numbers = sum(values.nbytes for block in blocks for values in block.data.values())
    needed = _needed(step, case, numbers)
    if needed is None or needed <= LEAST_BYTES or needed <= (allowed := allowed_bytes()):
        return
    fewer = next((f"fewer {name}" for key, name in SIZES.items() if key in step.keys), "")
    raise MemoryError(
        f"needs about {in_words(needed)}, the worker may use {in_words(allowed)}: more memory per "
        f"worker, or {fewer or 'a smaller problem'}"
    )


def peak_bytes(study: Study, step: Step, shard: Mapping[str, int]) -> int | None:
    """The memory that a worker needs for a step; None if the step does not tell.

    Args:
        study: the study.
        step: one of its steps.
        shard: points per shard along each axis of the step.
    """
    numbers = 8 * sum(_shard_numbers(study, step, shard))
    cases = (study.case(values) for values in corner_points(study, study.step_axes(step)))
    peaks = [_needed(step, case, numbers) for case in cases]
    return max((peak for peak in peaks if peak is not None), default=None)


def allowed_bytes() -> float:
    """What this process may use: its share of its Dask worker's memory, or of the machine's.

    Dask takes the limits of control groups and of the process into account; it ends a worker that
    comes close to its limit.
    """
    import dask
    from distributed import get_worker
    from distributed.system import MEMORY_LIMIT

    try:
        worker = get_worker()
    except ValueError:
        return float(MEMORY_LIMIT)
    limit = worker.memory_manager.memory_limit or MEMORY_LIMIT
    share = dask.config.get("distributed.worker.memory.terminate") or 1.0
    return float(limit * share / worker.state.nthreads)


def _needed(step: Step, case: Case, shard_bytes: float) -> int | None:
    peak = step.peak_bytes(case)
    return None if peak is None else math.ceil(WORKER_BYTES + COPIES * shard_bytes + peak)


def _shard_numbers(study: Study, step: Step, shard: Mapping[str, int]) -> Sequence[int]:
    """How many numbers each variable of a shard has."""
    lengths = inner_lengths(study)
    found = []
    for table in step.tables_in(study.header.steps):
        axes = study.step_axes(*(study.step(name) for name in table.steps))
        points = math.prod(shard.get(axis.name, len(axis)) for axis in axes)
        found += [
            points * math.prod(lengths[name] for name in variable.dims)
            for variable in table.variables
            if not variable.per
        ]
    return found
