"""The level at which the distance to the PDE solution ends as the number of particles grows.

Sampling and discretisation combine about as w1_pde² = w1² + floor² (independent errors); the floor
is the least squares estimate with weights 1/w1_pde⁴, which lets the largest M decide.
"""

import math

import numpy as np


def fit_floor(w1: np.ndarray, w1_pde: np.ndarray) -> float:
    """The floor of w1_pde at one number of cells; NaN where there is no result.

    Args:
        w1: distances to the exact limit, (sizes, seeds); NaN where there is no result.
        w1_pde: distances to the PDE solution, (sizes, seeds).
    """
    known = ~(np.isnan(w1) | np.isnan(w1_pde))
    if not known.any():
        return math.nan
    count = known.sum(axis=1)
    sampled = np.where(known, w1, 0.0).sum(axis=1)[count > 0] / count[count > 0]
    total = np.where(known, w1_pde, 0.0).sum(axis=1)[count > 0] / count[count > 0]
    if not (total > 0).all():
        return math.nan
    squared = np.average(total**2 - sampled**2, weights=total**-4.0)
    return math.sqrt(max(squared, 0.0))
