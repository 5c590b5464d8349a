"""The sliced Wasserstein distance SW1 in R^d: the mean of W1 over projections to lines.

    SW1(mu, nu) = E W1(<theta, .> # mu, <theta, .> # nu),   theta uniform on the unit sphere,

by Monte Carlo over directions, each projection exactly (:mod:`solvers.wasserstein`; for clouds of
equal size the mean distance of the sorted points). Its standard error falls like the inverse root
of the number of projections; time O(L (M log M + N log N)), memory O(d (M + N)).

It is not normalised: SW1 <= c_d W1 with c_d = E|theta_1| = Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)),
that is 1, 2/pi, 1/2 for d = 1, 2, 3, with equality for translations. Between clouds of M
independent points it falls like M^-1/2 in every dimension.

References: J. Rabin, G. Peyre, J. Delon, M. Bernot, "Wasserstein barycenter and its application to
texture mixing", SSVM 2011; K. Nadjahi et al., "Statistical and topological properties of sliced
probability divergences", NeurIPS 2020 (rates).
"""

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, Poll, integer
from solvers.clouds import two_clouds
from solvers.particles import tiled_sum
from solvers.sampling import uniforms
from solvers.wasserstein import PointMasses, w1


class SlicedW1(NamedTuple):
    """SW1, estimated, and the standard error that comes from the number of projections."""

    distance: float
    error: float


def sliced_w1(
    x: ArrayLike,
    y: ArrayLike,
    projections: int = 256,
    key: tuple[int, int] = (0, 0),
    poll: Poll | None = None,
) -> SlicedW1:
    """Return the sliced W1 distance of two clouds of equally weighted points.

    Args:
        x: The points of the first, shape (M, d), or (M,) on the line.
        y: The points of the second, shape (N, d) or (N,).
        projections: The number L of directions, at least 2; on the line one serves.
        key: Names the random stream of directions; see :func:`solvers.sampling.uniforms`. Those of
            L projections are the first of those of 2 L.
        poll: Called before every projection; may raise PointTimeoutError.

    Raises:
        MeasureError: if the clouds are not valid.
        InputError: if another argument is out of range.
    """
    first, second = (cloud.T.copy() for cloud in two_clouds(x, y))
    count = integer(projections, "projections", 2)
    if first.shape[0] == 1:
        return SlicedW1(_on_the_line(first[0], second[0]), 0.0)
    distances = np.empty(count)
    for number, direction in enumerate(directions(count, first.shape[0], key)):
        if poll is not None:
            poll()
        distances[number] = _on_the_line(_project(first, direction), _project(second, direction))
    return SlicedW1(float(distances.mean()), float(distances.std(ddof=1) / np.sqrt(count)))


def directions(projections: int, dimension: int, key: tuple[int, int]) -> FloatArray:
    """Return independent uniform unit vectors, shape (L, d): normal vectors over their lengths."""
    normal: FloatArray = scipy.special.ndtri(uniforms(projections, key, dimension))
    lengths: FloatArray = np.sqrt((normal**2).sum(axis=1, keepdims=True))
    return normal / lengths


def _project(components: FloatArray, direction: FloatArray) -> FloatArray:
    """Return <theta, x> of all points, summed in the order of the components, whatever M is."""
    out: FloatArray = components[0] * direction[0]
    for component, factor in zip(components[1:], direction[1:], strict=True):
        out += component * factor
    return out


def _on_the_line(x: FloatArray, y: FloatArray) -> float:
    x, y = np.sort(x), np.sort(y)
    if x.size == y.size:
        return tiled_sum(np.abs(x - y)) / x.size
    return w1(PointMasses(x, sorted=True), PointMasses(y, sorted=True))
