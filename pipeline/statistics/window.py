"""The pre-asymptotic window: which of the smallest M a power law does not hold for.

The smallest M is compared with the line through all larger ones, in log-log: their distance over
its standard error, which whole seed curves give (so that the correlation between sizes counts), is
Student's t with seeds - 1 degrees of freedom where the power law holds. If it is significant (at
5 %), that M is dropped. A bend that has been seen once does not end where it ceases to be
significant: from then on the next M are dropped until the distance is a small share of its error.
Three sizes always remain. The resamples of a fit with a bend choose their windows anew, so that the
uncertainty of the choice is in the interval. A bend too faint for the test stays in the fit and
shifts its rate: no test can tell it.

Reference: H. Leeb, B. M. Pötscher, "Model selection and inference: facts and fiction", Econometric
Theory 21 (2005) 21-59.
"""

import numpy as np
import scipy

from pipeline.statistics.bootstrap import FEWEST, shares
from pipeline.statistics.line import value_functional
from pipeline.statistics.weights import ROUNDING

SIGNIFICANCE = 0.05
NEGLIGIBLE = 0.25  # standard errors
REMAINING = 3


def first_asymptotic(x: np.ndarray, curves: np.ndarray, weights: np.ndarray) -> int:
    """The position of the smallest size that a power law holds for.

    Args:
        x: log M, increasing, (sizes,).
        curves: positive distances, (sizes, seeds).
        weights: of the sizes, (sizes,).
    """
    seeds = curves.shape[1]
    if seeds < FEWEST or x.size <= REMAINING:
        return 0
    bends = _bends(x, curves, weights, np.full((1, seeds), 1.0 / seeds))
    if bends[0, 0] <= scipy.special.stdtrit(seeds - 1, 1.0 - SIGNIFICANCE / 2.0):
        return 0
    return max(1, int(_end(bends)[0]))


def resampled_firsts(x: np.ndarray, curves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same in each resample, given that there is a bend, (resamples,)."""
    return _end(_bends(x, curves, weights, shares(curves.shape[1])))


def _end(bends: np.ndarray) -> np.ndarray:
    """The first position where a bend is negligible, else that of the last three sizes."""
    over = bends <= NEGLIGIBLE
    return np.asarray(np.where(over.any(axis=1), over.argmax(axis=1), bends.shape[1]))


def _bends(x: np.ndarray, curves: np.ndarray, weights: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """How far each size lies off the line through all larger ones, in standard errors.

    Args:
        x: log M, (sizes,).
        curves: distances, (sizes, seeds).
        weights: of the sizes.
        drawn: the share of each seed, (draws, seeds).

    Returns:
        absolute values, (draws, sizes - 3); 0 where the seeds do not scatter.
    """
    seeds = curves.shape[1]
    means = drawn @ curves.T
    found = np.zeros((len(drawn), x.size - REMAINING))
    for i in range(found.shape[1]):
        line = value_functional(x[i + 1 :], weights[i + 1 :], float(x[i]))
        functional = np.concatenate([[1.0], -line])
        parts = (functional / means[:, i:]) @ curves[i:]
        parts -= (drawn * parts).sum(axis=1, keepdims=True)
        error = np.sqrt((drawn * parts**2).sum(axis=1) / (seeds - 1))
        distance = np.abs(np.log(means[:, i:]) @ functional)
        np.divide(distance, error, out=found[:, i], where=error > ROUNDING)
    return found
