"""Distances of nested independent samples to their law, without drawing the samples.

The empirical process of M samples, M (F_M - F), is for M_1 < M_2 < … approximately the Kiefer
process K(u, M) at u = F(x): a Brownian bridge in u whose increments from M_j to M_(j+1) are
independent bridges of variance M_(j+1) - M_j. The distance of the uniform law is the integral of
|K(u, M)|/M over (0, 1); another law weighs u by 1/f(Q(u)).

References: J. Kiefer, "Skorohod embedding of multivariate RV's, and the sample DF", Z. Wahrsch.
verw. Gebiete 24 (1972) 1-35; E. del Barrio, E. Giné, C. Matrán, "Central limit theorems for the
Wasserstein distance between the empirical and the true distributions", Ann. Probab. 27 (1999)
1009-1071.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

GRID = 128


def kiefer(particles: Sequence[float], curves: int, key: int) -> Iterator[np.ndarray]:
    """Yield K(u, M)/M, (curves, grid), at each M, from the fixed stream of a key.

    Args:
        particles: the numbers M, increasing.
        curves: how many independent processes.
        key: names the random stream.
    """
    random = np.random.Generator(np.random.Philox(key=key))
    u = np.arange(1, GRID + 1) / GRID
    process = np.zeros((curves, GRID))
    for size, added in zip(particles, np.diff(particles, prepend=0.0), strict=True):
        walk = random.standard_normal((curves, GRID)).cumsum(axis=1) / math.sqrt(GRID)
        process += math.sqrt(added) * (walk - walk[:, -1:] * u)
        yield process / size


def nested_distances(particles: Sequence[float], curves: int, key: int) -> np.ndarray:
    """Distances of nested uniform samples, (sizes, curves)."""
    return np.array([np.abs(error).mean(axis=1) for error in kiefer(particles, curves, key)])
