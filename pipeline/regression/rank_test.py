"""Whether the level of a series has moved: Wilcoxon's test at every night at once.

Let p_k be the exact two-sided p-value of Wilcoxon's test of the first k of n values against the
others, and

    T = min p_k,     5 ≤ k ≤ n − 5.

Where the values are exchangeable, the law of T depends on n alone, whatever their own law: heavy
tails and outliers raise no false alarm. It is tabulated by 100 000 random permutations. The least
p-value tells the ends of a series from its middle, where the sum of the ranks, standardised, would
not: three values above all others are less likely near an end than its normal law says.
"""

import zlib
from functools import lru_cache

import numpy as np
from scipy import special

from solvers.arrays import FloatArray

SHORTEST = 5
"""Nights of either side. Of fewer, more scatter looks like another level too often."""
PERMUTATIONS = 100_000
AT_ONCE = 10_000
SEED = 20261121


def ranks_of(values: FloatArray) -> np.ndarray:
    """The ranks of a series, from 1; ties are broken at random, in one way for one series."""
    key = zlib.crc32(np.ascontiguousarray(values, dtype=float).tobytes())
    random = np.random.default_rng((SEED, key)).random(len(values))
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.lexsort((random, values))] = np.arange(1, len(values) + 1)
    return ranks


def change_p_value(values: FloatArray) -> float:
    """The probability of so small a T if the values are exchangeable; 1 for too few of them."""
    n = len(values)
    if n < 2 * SHORTEST:
        return 1.0
    least = _least(ranks_of(values)[None], _wilcoxon(n))[0]
    return float(np.searchsorted(_minima(n), least, side="right") + 1) / (PERMUTATIONS + 1)


@lru_cache(maxsize=128)
def _minima(n: int) -> FloatArray:
    """The ascending values of T over random permutations."""
    rng, table = np.random.default_rng((SEED, n)), _wilcoxon(n)
    rows = np.tile(np.arange(1, n + 1), (AT_ONCE, 1))
    found = [_least(rng.permuted(rows, axis=1), table) for _ in range(PERMUTATIONS // AT_ONCE)]
    return np.sort(np.concatenate(found))


def _least(ranks: np.ndarray, table: FloatArray) -> FloatArray:
    """T of each row."""
    n = ranks.shape[1]
    k = np.arange(SHORTEST, n - SHORTEST + 1)
    sums = np.cumsum(ranks, axis=1)[:, k - 1]
    return np.asarray(table[k, sums].min(axis=1))


@lru_cache(maxsize=128)
def _wilcoxon(n: int) -> FloatArray:
    """The two-sided p-value of each sum of k of the ranks 1 … n, (n, sums + 1).

    The number of subsets of {1, …, r} with k elements and the sum s is that of those without r and
    that of those with it.
    """
    subsets = np.zeros((n, n * (n + 1) // 2 + 1))
    subsets[0, 0] = 1.0
    for rank in range(1, n + 1):
        subsets[1:, rank:] += subsets[:-1, :-rank].copy()
    share = subsets / special.comb(n, np.arange(n))[:, None]
    below = np.cumsum(share, axis=1)
    above = np.cumsum(share[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.minimum(2.0 * np.minimum(below, above), 1.0).astype(np.float32))
