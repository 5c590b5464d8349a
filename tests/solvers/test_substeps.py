import itertools

import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.controls import Controls
from solvers.errors import CflError
from solvers.substeps import CflCondition, max_speed

EDGES = np.linspace(-2.0, 3.0, 101)
FAST = Controls.of("4*sin(30*t)**2", "3*cos(17*t)")


def condition(name: str, most: int = 10**6) -> CflCondition:
    return CflCondition(ACTIVATIONS[name], EDGES, 0.05, 0.45, most)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_condition_holds_at_all_stages_and_hardly_more(name: str) -> None:
    times = np.linspace(0.0, 1.0, 11)
    (found,) = condition(name).divide(FAST, times)
    assert found.counts.sum() == found.ends.size - 1 > 10
    np.testing.assert_array_equal(found.ends[np.append(0, np.cumsum(found.counts))], times)
    speed = max_speed(ACTIVATIONS[name], found.w, found.b, EDGES)
    number = np.diff(found.ends) * speed.max(axis=1) / 0.05
    assert number.max() <= 0.45 * (1 + 1e-9)
    largest = np.maximum.reduceat(number, np.cumsum(found.counts) - found.counts)
    divided = found.counts > 1
    enough = found.counts - 1 - found.counts // 4  # a count grows by a quarter at most at a time
    assert np.all((largest * found.counts / 0.45 > enough)[divided])
    np.testing.assert_allclose(found.w[:, 2], FAST.w(found.ends[:-1] + 0.5 * np.diff(found.ends)))


def test_slow_steps_are_left_alone() -> None:
    times = np.linspace(0.0, 1.0, 1001)
    groups = list(condition("tanh").divide(Controls.of(1.0, "t"), times))
    np.testing.assert_array_equal(np.unique(np.concatenate([g.ends for g in groups])), times)
    assert all(np.all(group.counts == 1) for group in groups)


def test_many_substeps_come_in_groups() -> None:
    times = np.linspace(0.0, 1.0, 9)
    groups = list(condition("identity").divide(Controls.of(-1e4, "t"), times))
    assert len(groups) > 1
    for before, after in itertools.pairwise(groups):
        assert before.ends[-1] == after.ends[0]
    assert sum(group.counts.size for group in groups) == 8
    assert all(group.w.shape == (group.ends.size - 1, 3) for group in groups)


def test_too_many_substeps() -> None:
    with pytest.raises(CflError, match="at most 1000 are allowed"):
        list(condition("identity", 1000).divide(Controls.of(-1e4, 0.0), np.array([0.0, 1.0])))
