"""Exponents of M that theory gives for the distance of M particles to their limit.

They are those of samples of the initial law, since the flow is Lipschitz and so is its inverse. All
hold for laws with a density between two positive bounds on a bounded convex set, as uniform ones,
and for laws on the line with finite integral of sqrt(F(1-F)); those of Sobol points for M = 2^m.

    independent        M^-1/2,  sqrt(log M / M),  M^-1/d          d = 1, 2, >= 3
    quantile           M^-1                                       on the line
    Sobol              M^-1/d
    sliced             M^-1/2;  Sobol M^-(d+1)/(2d)               any d

Where logarithms enter, the exponent is the slope of a straight fit through the expression at the
same M. (In the plane it is known to leading order only: sqrt((log M + c) / M) with c > 0 is
steeper at finite M.) Distances between two independent clouds have the same exponents.

References: N. Fournier, A. Guillin, Probab. Theory Relat. Fields 162 (2015) 707-738, theorem 1.
M. Ajtai, J. Komlos, G. Tusnady, Combinatorica 4 (1984) 259-264 (d = 2). M. Talagrand, "Upper and
lower bounds for stochastic processes" (2014), chapters 4 and 14. Sobol: a (t, m, d)-net has equally
many points in all cubes of volume 2^(t-m); half-spaces by Z. He, X. Wang, SIAM J. Numer. Anal. 53
(2015) 2488-2503.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray


def expected_rate(sampling: str, dimension: int, particles: ArrayLike) -> float:
    """The exponent of E W1 in M, sharp for uniform-like laws.

    Args:
        sampling: "iid", "iid-sorted", "quantile" or "sobol".
        dimension: the dimension d.
        particles: the M of a fit; they matter for independent samples in the plane only, and there
            the exponent is NaN for fewer than two.
    """
    if sampling == "quantile":
        return -1.0
    if sampling == "sobol":
        return -1.0 / dimension
    if dimension == 2:
        return _slope(particles, lambda m: np.sqrt(np.log(m) / m))
    return -1.0 / max(2, dimension)


def upper_bound_rate(dimension: int, particles: ArrayLike) -> float:
    """The exponent of the bound on E W1 by Fournier and Guillin, for independent samples.

    It holds for every law with enough moments: M^-1/2, M^-1/2 log(1 + M), M^-1/d.

    Args:
        dimension: the dimension d.
        particles: as of :func:`expected_rate`.
    """
    if dimension == 2:
        return _slope(particles, lambda m: np.log1p(m) / np.sqrt(m))
    return -1.0 / max(2, dimension)


def expected_sliced_rate(sampling: str, dimension: int) -> float:
    """The exponent of E SW1 in M: that of the error of one projection's distribution function."""
    if sampling == "quantile":
        return -1.0
    return -(dimension + 1) / (2 * dimension) if sampling == "sobol" else -0.5


def _slope(particles: ArrayLike, distance: Callable[[FloatArray], FloatArray]) -> float:
    """The slope of log distance in log M by least squares; M = 1, where log M = 0, apart."""
    m = np.unique(np.asarray(particles, dtype=np.float64))
    m = m[m > 1.0]
    if m.size < 2:
        return float("nan")
    return float(np.polyfit(np.log(m), np.log(distance(m)), 1)[0])
