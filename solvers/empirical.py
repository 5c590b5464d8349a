"""The expected distance of an empirical measure from its law, in one dimension.

For M independent samples of a law with distribution function F,

    E W1(f^M, f) = int E|Bin(M, F(x))/M - F(x)| dx,

and by de Moivre E|Bin(M, p) - M p| = 2 m (1 - p) P(Bin(M, p) = m) with m = floor(M p) + 1. For
M -> infinity it behaves as sqrt(2/pi) int sqrt(F (1 - F)) dx M^(-1/2).

Reference: S. Bobkov, M. Ledoux, "One-dimensional empirical measures, order statistics, and
Kantorovich transport distances", Mem. Amer. Math. Soc. 261 (2019), section 3.
"""

import math
from typing import Protocol

import numpy as np
import scipy
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, integer

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
EXACT_LIMIT = 20000
OUTER_KINKS = 5000
TAIL = 1e-17


class Law(Protocol):
    """What is needed of a law: a Distribution and a PiecewiseCdf have it."""

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse of the cdf."""

    def support(self, tail: float = ...) -> tuple[float, float]:
        """Return the ends of the (effective) support."""

    def breakpoints(self) -> FloatArray:
        """Return the points where the density is not smooth."""

    def landmarks(self, tail: float = ...) -> FloatArray:
        """Return where the laws lie of which this one is made."""


def expected_w1(law: Law, particles: int) -> float:
    """Return E W1 of M independent samples, exactly.

    The integrand has a kink wherever M F is an integer. The quadrature splits there for M up to
    20 000; beyond, only at the outer 5000 on each side: those between are too weak to matter.

    Args:
        law: The law; for a snapshot of the limit, ``Reference.measure(s)``.
        particles: The number M of samples.

    Raises:
        InputError: if M is less than 1.
    """
    count = integer(particles, "particles", 1)
    kinks = np.arange(1, min(count, EXACT_LIMIT))
    if count > EXACT_LIMIT:
        outer = np.arange(1, OUTER_KINKS)
        kinks = np.concatenate([outer, count - outer])
    x, weights = _nodes(law, kinks / count)
    return float(np.dot(weights, mean_deviation(count, law.cdf(x))))


def asymptotic_prefactor(law: Law) -> float:
    """Return lim sqrt(M) E W1 = sqrt(2/pi) int sqrt(F (1 - F)) dx."""
    x, weights = _nodes(law, np.empty(0))
    f = np.clip(law.cdf(x), 0.0, 1.0)
    return math.sqrt(2.0 / math.pi) * float(np.dot(weights, np.sqrt(f * (1.0 - f))))


def mean_deviation(count: int, p: FloatArray) -> FloatArray:
    """Return E|Bin(M, p)/M - p| by de Moivre's formula."""
    p = np.clip(p, 0.0, 1.0)
    m = np.minimum(np.floor(count * p) + 1.0, count)
    return np.asarray(2.0 * (1.0 - p) * m / count * _binomial(count, m, p))


def _binomial(n: int, m: FloatArray, p: FloatArray) -> FloatArray:
    """Return P(Bin(n, p) = m) for 1 <= m <= n by Loader's saddle-point formula.

    Unlike a difference of log-gamma functions it loses no digits for large n.

    Reference: C. Loader, "Fast and accurate computation of binomial probabilities" (2000).
    """
    q, rest = 1.0 - p, n - m
    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = _deviance(m, n * p) + _deviance(rest, n * q)
        correction = _stirling_error(np.float64(n)) - _stirling_error(m) - _stirling_error(rest)
        central = np.exp(correction - deviance) * np.sqrt(n / (2.0 * np.pi * m * rest))
    edge = np.exp(scipy.special.xlogy(float(n), p))
    return np.asarray(np.where(rest > 0, np.where((p > 0) & (p < 1), central, 0.0), edge))


def _deviance(x: FloatArray, mean: FloatArray) -> FloatArray:
    """Return x log(x/mean) + mean - x without cancellation near x = mean."""
    e = (x - mean) / mean
    near = np.abs(e) < 0.01
    small = np.where(near, e, 0.0)
    series = np.zeros_like(small)  # (1 + e) log(1 + e) - e = sum (-e)^k / (k (k - 1))
    for k in range(10, 1, -1):
        series = series * -small + 1.0 / (k * (k - 1))
    far = scipy.special.xlogy(x, x / mean) + mean - x
    return np.asarray(np.where(near, mean * series * small * small, far))


def _stirling_error(n: FloatArray | np.float64) -> FloatArray:
    """Return log n! - log(sqrt(2 pi n) (n/e)^n)."""
    n = np.asarray(n, dtype=np.float64)
    large = np.maximum(n, 16.0)
    s = 1.0 / (large * large)
    series = (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / large
    small = np.clip(n, 1.0, 16.0)
    stirling = 0.5 * np.log(2.0 * np.pi * small) + small * np.log(small) - small
    direct = scipy.special.gammaln(small + 1.0) - stirling
    return np.where(n > 16.0, series, np.where(n > 0.0, direct, 0.0))


def _nodes(law: Law, inner: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return Gauss nodes and weights over the support, graded geometrically to its ends."""
    tail = np.concatenate([10.0 ** np.arange(-17, -3, 0.25), np.linspace(1e-3, 0.5, 200)])
    u = np.unique(np.concatenate([tail, 1.0 - tail[tail > 1e-15], inner]))
    low, high = law.support(TAIL)
    points = np.concatenate([law.quantile(u), law.breakpoints(), law.landmarks(TAIL), [low, high]])
    ends = np.unique(points[(points >= low) & (points <= high)])
    ends = np.unique(np.concatenate([ends, _graded(ends)]))
    centre, half = 0.5 * (ends[1:] + ends[:-1]), 0.5 * np.diff(ends)
    x = centre[:, None] + half[:, None] * NODES
    return x.ravel(), (half[:, None] * WEIGHTS).ravel()


def _graded(ends: FloatArray) -> FloatArray:
    """Return points that approach the first and the last end geometrically."""
    shares = 2.0 ** -np.arange(1.0, 50.0)
    width = ends[-1] - ends[0]
    return np.concatenate([ends[0] + width * shares, ends[-1] - width * shares])
