"""Shards: every point lies in exactly one, for any grid, chunk and growth."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.costs import block_sums
from pipeline.layout import chunk_grid, chunk_slices, shard_shape
from pipeline.study import Study

shapes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 8)), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(axes=shapes, growth=st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_every_point_is_in_one_shard_and_stays_there(
    axes: list[tuple[int, int]], growth: list[int]
) -> None:
    shape = [length for length, _ in axes]
    chunks = [chunk for _, chunk in axes]
    grown = [length + more for length, more in zip(shape, growth, strict=False)]
    owner = _owners(shape, chunks)
    later = _owners(grown, chunks)
    assert (owner >= 0).all()
    assert (later >= 0).all()
    for point in np.ndindex(*shape):
        index = np.array(point) // chunks
        assert tuple(index) in set(np.ndindex(*chunk_grid(shape, chunks)))
        region = chunk_slices(tuple(index), chunks, grown)
        assert all(s.start <= i < s.stop for s, i in zip(region, point, strict=True))


def _owners(shape: list[int], chunks: list[int]) -> np.ndarray:
    """The number of the shard that owns each point; fails if two do."""
    owner = np.full(shape, -1)
    for number, index in enumerate(np.ndindex(*chunk_grid(shape, chunks))):
        region = chunk_slices(index, chunks, shape)
        assert (owner[region] == -1).all()
        owner[region] = number
    return owner


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seeds=st.integers(1, 5000),
    particles=st.lists(st.integers(1, 10**7), min_size=1, max_size=8, unique=True),
)
def test_shards_are_bounded(tiny: dict[str, Any], seeds: int, particles: list[int]) -> None:
    tiny["axes"]["seed"] = {"count": seeds}
    tiny["axes"]["particles"] = particles
    study = Study(**tiny)
    limit, step = study.steps
    shape = shard_shape(study, step)
    points = int(np.prod(list(shape.values())))
    assert 1 <= points <= 4096
    assert points <= max(1, 2 * seeds * len(particles) / 32)
    assert set(shard_shape(study, limit).values()) == {1}
    each = [step.cost(study.case({"activation": "tanh", "particles": m})) for m in particles]
    dearest = max(block_sums(np.array(each), [shape["particles"]]))
    assert points == 1 or shape["activation"] * shape["seed"] * dearest <= 10.0 * (1 + 1e-12)
