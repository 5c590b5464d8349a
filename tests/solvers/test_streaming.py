"""Streams against the particles in memory: the same numbers, however the work is divided."""

import tracemalloc

import numpy as np
import pytest

from solvers.activations import ACTIVATIONS
from solvers.arrays import FloatArray
from solvers.characteristics import Reference, reference
from solvers.controls import Controls
from solvers.distributions import Beta, Mixture, Normal, Samples, Uniform
from solvers.errors import InputError, MeasureError, NonFiniteError, PointTimeoutError
from solvers.flow_map import FlowMap, exact_flow, flow_map
from solvers.particles import integrate, moments
from solvers.sampling import SAMPLINGS, TILE, SampleTiles, SortedUniforms, sample, sorted_uniforms
from solvers.streaming import Stream
from solvers.time_grid import time_grid
from solvers.wasserstein import Measure, PiecewiseLinearCdf, PointMasses, StreamedW1, w1

LAW = Normal(0.3, 1.0)
SIGMA, CONTROLS = ACTIVATIONS["tanh"], Controls.of("exp(t) - 1", "-5*t**2 + t")
TIMES, INDICES = time_grid(1.0, 0.05, (), [0.0, 0.5, 1.0])


@pytest.fixture(scope="module")
def exact() -> Reference:
    return reference(LAW, SIGMA, CONTROLS, TIMES[INDICES])


@pytest.fixture(scope="module")
def flow() -> FlowMap:
    return flow_map(LAW.support(), SIGMA, CONTROLS, TIMES, INDICES)


class TestTiles:
    @pytest.mark.parametrize("kind", SAMPLINGS)
    @pytest.mark.parametrize("law", [LAW, Uniform(-1, 2), Samples([0.0, 1.0, 3.0])])
    def test_they_are_the_sample(self, law: object, kind: str) -> None:
        for particles in (1, 1000, TILE, 2 * TILE + 17):
            tiles = SampleTiles(law, particles, kind, (3, 4))
            parts = list(tiles)
            assert len(parts) == len(tiles)
            assert all(part.size == TILE for part in parts[:-1])
            expected = sample(law, particles, kind, (3, 4))
            np.testing.assert_array_equal(np.concatenate(parts), expected)

    def test_any_tile_without_the_others(self) -> None:
        numbers = SortedUniforms(3 * TILE + 5, (1, 2))
        whole = sorted_uniforms(3 * TILE + 5, (1, 2))
        for k in (3, 0, 2):
            np.testing.assert_array_equal(numbers.tile(k), whole[k * TILE : (k + 1) * TILE])

    @pytest.mark.parametrize("law", [Beta(0.5, 2), Mixture([1, 1], [LAW, Uniform(3, 4)])])
    def test_laws_whose_quantiles_are_found_by_iteration(self, law: object) -> None:
        tiles = list(SampleTiles(law, TILE + 9, "quantile"))
        np.testing.assert_array_equal(np.concatenate(tiles), sample(law, TILE + 9, "quantile"))

    def test_memory_does_not_grow(self) -> None:
        def peak(particles: int) -> int:
            tracemalloc.start()
            for _ in SampleTiles(Uniform(0, 1), particles, "iid-sorted", (0, 0)):
                pass
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        assert peak(40 * TILE) < 1.2 * peak(4 * TILE)

    def test_bad_arguments(self) -> None:
        with pytest.raises(InputError, match="particles"):
            SampleTiles(LAW, 0, "iid-sorted")
        with pytest.raises(InputError, match="iid, quantile"):
            SampleTiles(LAW, 3, "halton")


def laws() -> list[Measure]:
    edges = np.linspace(-4.0, 4.0, 31)
    return [
        PiecewiseLinearCdf(edges, cdf=np.linspace(0.0, 1.0, 31)),
        reference(LAW, SIGMA, CONTROLS, [1.0]).measure(0),
        PointMasses([-1.0, 0.0, 0.0, 2.0]),
        PointMasses([-1.0, 0.25, 2.0], [0.25, 0.5, 0.25]),
    ]


@pytest.mark.parametrize("law", laws(), ids=["linear", "exact", "points", "weighted points"])
def test_w1_has_the_same_bits_for_any_parts(law: Measure) -> None:
    random = np.random.default_rng(5)
    for particles in (1, 2, 30, 5000):
        points = np.sort(np.round(random.normal(size=particles), 3))  # many ties
        points[particles // 2 :] += 0.25
        expected = w1(PointMasses(points), law)
        weighted = PointMasses(points, np.full(particles, 1 / particles))
        assert expected == pytest.approx(w1(weighted, law), rel=1e-12)
        assert w1(law, PointMasses(points)) == expected
        for _ in range(5):
            stream = StreamedW1(law, particles)
            ends = np.unique(np.append(random.integers(1, particles + 1, 6), particles))
            for start, stop in zip([0, *ends[:-1]], ends, strict=True):
                stream.add(points[start:stop])
            assert stream.distance() == expected


def test_points_that_fall_back_by_rounding_are_nothing() -> None:
    points = np.sort(np.random.default_rng(0).normal(size=3000))
    fallen = points.copy()
    fallen[1::2] = np.minimum(fallen[1::2], np.nextafter(fallen[:-1:2], -np.inf))
    stream = StreamedW1(laws()[1], 3000)
    stream.add(fallen)
    assert stream.distance() == pytest.approx(w1(PointMasses(fallen), laws()[1]), rel=1e-13)


@pytest.mark.parametrize(
    "points", [[np.nan, 1.0, 2.0], [0.0, np.nan, 2.0], [0.0, np.inf, np.inf], [-1e200, 0.0, 1.0]]
)
def test_points_that_are_not_finite_are_refused(points: list[float]) -> None:
    with pytest.raises(NonFiniteError, match=r"a point of a sample is (nan|inf|1e\+200) in size"):
        StreamedW1(laws()[0], 3).add(np.array(points))


@pytest.mark.parametrize("parts", [[[0.0, 3.0, 2.0]], [[0.0, 3.0], [2.0]]])
def test_points_out_of_order_are_refused(parts: list[list[float]]) -> None:
    stream = StreamedW1(laws()[0], 3)
    for points in parts:
        stream.add(np.array(points))
    with pytest.raises(MeasureError, match="not in increasing order: one lies 1 left"):
        stream.distance()


def test_a_part_may_be_empty() -> None:
    stream = StreamedW1(laws()[0], 2)
    for points in ([], [0.5], [], [1.0]):
        stream.add(np.array(points))
    assert stream.distance() == w1(PointMasses([0.5, 1.0]), laws()[0])


def test_missing_points_are_noticed() -> None:
    stream = StreamedW1(laws()[0], 3)
    stream.add(np.array([0.0, 1.0]))
    with pytest.raises(MeasureError, match="2 points of 3"):
        stream.distance()


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_a_stream_tells_what_the_particles_in_memory_do(
    kind: str, exact: Reference, flow: FlowMap
) -> None:
    particles = 2 * TILE + 100
    x = sample(LAW, particles, kind, (7, 8))
    y = integrate(x, SIGMA, CONTROLS, TIMES, INDICES)
    measures = [exact.measure(s) for s in range(3)]
    target = PiecewiseLinearCdf([-2.0, 1.0], [1 / 3])
    found = Stream(SampleTiles(LAW, particles, kind, (7, 8)), flow).summary(
        [measures, [target] * 3], measures[0], exact_flow(exact), [exact.mean(s) for s in range(3)]
    )
    for s in range(3):
        cloud = PointMasses(y[s], sorted=True)
        assert found.w1[0, s] == pytest.approx(w1(cloud, measures[s]), abs=1e-12)
        assert found.w1[1, s] == pytest.approx(w1(cloud, target), abs=1e-12)
        apart = np.abs(y[s] - exact.flow(s, x)).max()
        assert found.apart[s] == pytest.approx(apart, abs=2e-12)
        np.testing.assert_allclose(found.moments[s], moments(y[s]), atol=1e-12)
    assert found.w1_initial == w1(PointMasses(x, sorted=True), measures[0])


def test_the_same_bits_as_of_one_pushed_array(exact: Reference, flow: FlowMap) -> None:
    """The stream is the in-memory computation on the pushed particles, tile by tile."""
    particles = TILE + 3000
    pushed: FloatArray = flow(sample(LAW, particles, "iid-sorted", (1, 1)))
    tiles = SampleTiles(LAW, particles, "iid-sorted", (1, 1))
    found = Stream(tiles, flow).summary([[exact.measure(s) for s in range(3)]])
    for s in range(3):
        assert found.w1[0, s] == w1(PointMasses(pushed[s], sorted=True), exact.measure(s))


def test_it_can_be_interrupted_at_every_tile(flow: FlowMap) -> None:
    def poll() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise PointTimeoutError("late")

    tiles = SampleTiles(LAW, 5 * TILE, "quantile")
    calls: list[None] = []
    with pytest.raises(PointTimeoutError):
        Stream(tiles, flow).summary([], poll=poll)
    calls.clear()
    with pytest.raises(PointTimeoutError):
        SampleTiles(LAW, 5 * TILE, "iid-sorted", poll=poll)
