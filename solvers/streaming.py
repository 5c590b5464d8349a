"""Distances and moments of any number of particles in constant memory.

The particles are drawn in increasing order (:class:`solvers.sampling.SampleTiles`), pushed by the
flow map (:mod:`solvers.flow_map`) and compared with laws (:class:`solvers.wasserstein.StreamedW1`)
tile by tile, once through. A tile is a fixed range of particles, and sums of tiles are exact; so
the bits depend on no division of work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from solvers.arrays import FloatArray, Poll
from solvers.flow_map import FlowMap
from solvers.sampling import TILE, SampleTiles
from solvers.wasserstein import Measure, StreamedW1


@dataclass
class _Moments:
    """Sums of distances to a centre near the mean, and of their squares, tile by tile."""

    centre: float
    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)

    def add(self, points: FloatArray) -> None:
        distance = points - self.centre
        self.first.append(float(distance.sum()))
        distance *= distance
        self.second.append(float(distance.sum()))

    def of(self, particles: int) -> tuple[float, float]:
        """Return mean and variance; little cancels, because the centre is near the mean."""
        offset = math.fsum(self.first) / particles
        return self.centre + offset, math.fsum(self.second) / particles - offset * offset


@dataclass(frozen=True)
class Stream:
    """Particles that are not in memory.

    Attributes:
        tiles: The initial ones.
        flow: What takes them to the output times.
    """

    tiles: SampleTiles
    flow: FlowMap

    @property
    def snapshots(self) -> FloatArray:
        """All particles at the output times, in memory after all, shape (S, M)."""
        return np.concatenate([self.flow(x) for x in self.tiles], axis=1)

    def summary(
        self,
        laws: Sequence[Sequence[Measure]],
        initial: Measure | None = None,
        exact: FlowMap | None = None,
        centres: Sequence[float] = (),
        poll: Poll | None = None,
    ) -> "Summary":
        """Go through all particles once.

        Args:
            laws: Of each kind one law per output time.
            initial: What the initial particles are compared with.
            exact: Another flow map, of which the distance is asked for.
            centres: About the means at the output times; none if moments are not asked for.
            poll: Called at every tile; may raise PointTimeoutError.
        """
        count, snapshots = self.tiles.particles, self.flow.error.size
        streams = [[StreamedW1(law, count) for law in kind] for kind in laws]
        start = [] if initial is None else [StreamedW1(initial, count)]
        moments = [_Moments(float(centre)) for centre in centres]
        apart = np.zeros(snapshots)
        out, other = np.empty((2, snapshots, min(TILE, count)))
        for x in self.tiles:
            if poll is not None:
                poll()
            y = self.flow(x, out)
            for stream in start:
                stream.add(x)
            for kind in streams:
                for stream, row in zip(kind, y, strict=True):
                    stream.add(row)
            for moment, row in zip(moments, y, strict=bool(moments)):
                moment.add(row)
            if exact is not None:
                np.maximum(apart, np.abs(exact(x, other) - y).max(axis=1), out=apart)
        return Summary(
            np.array([[stream.distance() for stream in kind] for kind in streams]),
            start[0].distance() if start else math.nan,
            apart,
            np.array([moment.of(count) for moment in moments]).reshape(-1, 2),
        )


@dataclass(frozen=True)
class Summary:
    """What one pass over the particles tells.

    Attributes:
        w1: Distances to the laws, shape (laws, S).
        w1_initial: That of the initial particles; NaN where it was not asked for.
        apart: The largest distance to the particle that the other flow map pushes, shape (S,).
        moments: Mean and variance (divisor M) at each output time, shape (S, 2).
    """

    w1: FloatArray
    w1_initial: float
    apart: FloatArray
    moments: FloatArray
