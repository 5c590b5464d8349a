"""Nominal seconds of the points of a study, for its shards, its plan and its bundles.

A step says what one point costs, in some tens of microseconds. A grid of a million points is asked
at some thousands of them; between these costs are interpolated, position by position.
"""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.axes import Axis
from pipeline.steps.base import Step
from pipeline.study import Study

MOST_ASKED = 4096
"""How many points of a grid are asked for their cost."""


def costs(study: Study, step: Step) -> np.ndarray:
    """Nominal seconds of one core at the points of a step.

    Returns:
        an array with a dimension for each axis of the step, of length 1 where the axis does not
        matter: costs depend on neither seeds nor activations.
    """
    axes = study.step_axes(step)
    asked = _asked([1 if _free(axis) else len(axis) for axis in axes])
    found = np.empty([len(positions) for positions in asked])
    for place in np.ndindex(*found.shape):
        index = [positions[i] for positions, i in zip(asked, place, strict=True)]
        found[place] = step.cost(study.case(study.values_at(axes, index)))
    for dimension, (axis, positions) in enumerate(zip(axes, asked, strict=True)):
        if not _free(axis) and len(positions) < len(axis):
            found = _between(found, dimension, positions, len(axis))
    return found


def total(found: np.ndarray, axes: Sequence[Axis]) -> float:
    """The cost of all points of some axes, given what :func:`costs` returns for them."""
    return float(found.sum()) * math.prod(len(axis) for axis in axes) / found.size


def dearest_block(found: np.ndarray, shape: Sequence[int]) -> float:
    """The cost of the most expensive block of points, given what :func:`costs` returns.

    Args:
        found: the costs.
        shape: the lengths of a block.
    """
    repeated = [n if length == 1 else 1 for n, length in zip(shape, found.shape, strict=True)]
    return float(block_sums(found, shape).max()) * math.prod(repeated)


def block_sums(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The sums over the blocks that an array is cut into, those at the ends being smaller."""
    for dimension, length in enumerate(shape):
        starts = np.arange(0, values.shape[dimension], length)
        values = np.add.reduceat(values, starts, axis=dimension)
    return values


def _free(axis: Axis) -> bool:
    """Whether costs do not depend on an axis."""
    return set(axis.keys) <= {"seed", "activation"}


def _asked(lengths: Sequence[int]) -> list[np.ndarray]:
    """For each axis the positions to ask at: all, or of the longest axes some, ends included."""
    counts = list(lengths)
    while math.prod(counts) > MOST_ASKED and max(counts) > 2:
        longest = counts.index(max(counts))
        counts[longest] = max(2, counts[longest] // 2)
    return [
        np.linspace(0, length - 1, count).round().astype(int)
        for length, count in zip(lengths, counts, strict=True)
    ]


def _between(values: np.ndarray, dimension: int, asked: np.ndarray, length: int) -> np.ndarray:
    """Interpolate along a dimension that was asked at some positions only."""
    place = np.interp(np.arange(length), asked, np.arange(len(asked)))
    left = np.minimum(place.astype(int), len(asked) - 2)
    weight = (place - left).reshape([-1 if d == dimension else 1 for d in range(values.ndim)])
    low, high = (np.take(values, left + i, axis=dimension) for i in (0, 1))
    return np.asarray((1 - weight) * low + weight * high)
