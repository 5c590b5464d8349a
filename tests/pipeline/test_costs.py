"""Costs of grids: exact where each point is asked, interpolated where there are too many."""

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import costs as module
from pipeline.costs import block_sums, costs, dearest_block, total
from pipeline.steps.base import Step
from pipeline.study import Study


@pytest.fixture
def study(tiny: dict[str, Any]) -> Study:
    tiny["axes"] |= {"particles": list(range(1, 301)), "time_step": [0.1, 0.05, 0.02]}
    del tiny["numerics"]["time_step"]
    return Study(**tiny)


def asking(step: Step) -> tuple[Step, list[int]]:
    """The step with a cost linear in M, and how many points are asked."""
    asked: list[int] = []

    def cost(case: Any) -> float:
        asked.append(case.particles)
        return float(case.particles * case.problem.times.size)

    return dataclasses.replace(step, cost=cost), asked


def brute(study: Study, step: Step) -> np.ndarray:
    axes = study.step_axes(step)
    found = np.empty([len(axis) for axis in axes])
    for index in np.ndindex(*found.shape):
        found[index] = step.cost(study.case(study.values_at(axes, index)))
    return found


def test_seeds_and_activations_are_not_asked(study: Study) -> None:
    step, asked = asking(study.step("particles"))
    found = costs(study, step)
    assert found.shape == (1, 300, 1, 3)  # activation, particles, seed, time_step
    assert len(asked) == 900
    every = brute(study, step)
    np.testing.assert_array_equal(np.broadcast_to(found, every.shape), every)
    assert total(found, study.step_axes(step)) == pytest.approx(every.sum(), rel=1e-12)


def test_long_axes_are_interpolated(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ASKED", 64)
    step, asked = asking(study.step("particles"))
    found = costs(study, step)
    assert len(asked) <= 64
    every = brute(study, step)
    np.testing.assert_allclose(np.broadcast_to(found, every.shape), every, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 8)), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_over_blocks(lengths: list[tuple[int, int]], seed: int) -> None:
    shape = [length for length, _ in lengths]
    block = [min(width, length) for length, width in lengths]
    values = np.random.default_rng(seed).random(shape)
    sums = block_sums(values, block)
    for index in np.ndindex(*sums.shape):
        part = tuple(slice(i * w, (i + 1) * w) for i, w in zip(index, block, strict=True))
        assert sums[index] == pytest.approx(values[part].sum(), rel=1e-12)
    assert dearest_block(values[..., None], [*block, 5]) == pytest.approx(5 * sums.max())


def test_a_million_points_take_no_more_than_thousands(tiny: dict[str, Any]) -> None:
    tiny["axes"] |= {"particles": list(range(1, 10_001)), "seed": {"count": 50}}
    study = Study(**copy.deepcopy(tiny))
    step, asked = asking(study.step("particles"))
    found = costs(study, step)
    assert math.prod(len(axis) for axis in study.step_axes(step)) == 10**6
    assert found.shape == (1, 10_000, 1)
    assert len(asked) <= module.MOST_ASKED
