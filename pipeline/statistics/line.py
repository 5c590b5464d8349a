"""The least squares line through points (x, y), as linear functionals of y."""

import numpy as np


def slope_functional(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The vector c with slope = c·y, (sizes,)."""
    offset = x - np.average(x, weights=weights)
    return np.asarray(weights * offset / (weights @ offset**2))


def value_functional(x: np.ndarray, weights: np.ndarray, at: float) -> np.ndarray:
    """The vector c with c·y = the line's value at a point, (sizes,)."""
    mean = weights / weights.sum()
    return np.asarray(mean + (at - mean @ x) * slope_functional(x, weights))
