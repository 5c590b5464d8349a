"""Weights of the sizes in a fit, from the scatter of the seeds.

The weight of a size is one over the variance of its log mean, var(w)/(n mean²). From few seeds n
these variances are themselves noise, and weights that follow it make intervals too narrow. So they
follow only the trend of the variances with M, a power law; and its exponent is shrunk towards 0 by
the share of its square that noise explains: the log of a normal sample's variance scatters with
variance trigamma((n - 1)/2).

Reference: C. N. Morris, "Parametric empirical Bayes inference", JASA 78 (1983) 47-55.
"""

import numpy as np
import scipy

from pipeline.statistics.bootstrap import FEWEST
from pipeline.statistics.line import slope_functional

ROUNDING = 1e-12  # relative scatter below this is none


def scatter_weights(x: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Weights of mean one for the sizes, (sizes,); equal ones where there is no scatter.

    Args:
        x: log M, (sizes,).
        curves: positive distances, (sizes, seeds).
    """
    sizes, seeds = curves.shape
    equal = np.ones(sizes)
    if seeds < FEWEST:
        return equal
    scatter = curves.std(axis=1, ddof=1) / curves.mean(axis=1)
    if scatter.min() <= ROUNDING:
        return equal
    functional = slope_functional(x, equal)
    exponent = float(functional @ np.log(scatter**2))
    noise = float(scipy.special.polygamma(1, (seeds - 1) / 2) * (functional @ functional))
    exponent *= max(0.0, 1.0 - noise / exponent**2) if exponent else 0.0
    weights = np.exp(-exponent * (x - x.mean()))
    return np.asarray(weights / weights.mean())
