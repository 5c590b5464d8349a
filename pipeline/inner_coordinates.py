"""Coordinates of the dimensions that are no axes: output times, cells, time nodes of controls."""

from collections.abc import Mapping
from typing import Any

import numpy as np

NORMS = ("C0", "L2")
BUDGETS = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4)
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "snapshot": {"long_name": "output time", "axis": "T"},
    "x": {"long_name": "cell centre", "axis": "X"},
    "time": {"long_name": "node of the controls' time grid"},
    "iteration": {"long_name": "number of the iteration"},
    "budget": {"long_name": "nominal computing time of one realisation", "units": "s"},
    "norm": {"long_name": "largest entry over time (C0), or root of the integral of squares (L2)"},
}
"""The dimensions that have a coordinate, and its attributes."""
TYPES = {"norm": "str", "iteration": "i8"}


def inner_coordinate(document: Mapping[str, Any], name: str, length: int) -> np.ndarray:
    """The values of a coordinate.

    Args:
        document: the resolved study's tables.
        name: the dimension, one of ATTRIBUTES.
        length: its length.
    """
    problem = document["problem"]
    if name == "snapshot":
        return np.array(document["numerics"]["snapshots"])
    if name == "budget":
        return np.array(BUDGETS)
    if name == "norm":
        return np.array(NORMS, dtype=object)
    if name == "iteration":
        return np.arange(length)
    if name == "time":
        return np.linspace(0.0, float(problem["horizon"]), length)
    low, high = problem["domain"]
    faces = np.linspace(float(low), float(high), length + 1)
    return np.asarray((faces[1:] + faces[:-1]) / 2)
