"""Controls tabulated at the stage times of a one-step method."""

import numpy as np

from solvers.arrays import FloatArray
from solvers.controls import Controls
from solvers.vector_controls import VectorControls


def stage_controls(
    controls: Controls | VectorControls, times: FloatArray, stages: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return w and b at the stage times of every step, each of shape (n, stages).

    In R^d the shapes are (n, stages, d, d) and (n, stages, d).

    Args:
        controls: The controls.
        times: The n + 1 ends of the steps.
        stages: Nodes of the method as fractions of the step; 0 and 1 are the ends exactly.
    """
    start, end = times[:-1], times[1:]
    columns = []
    for fraction in stages:
        if fraction in (0.0, 1.0):
            columns.append(start if fraction == 0.0 else end)
        else:
            columns.append(start + fraction * (end - start))
    w, b = controls.evaluate(np.stack(columns, axis=1))
    return np.ascontiguousarray(w), np.ascontiguousarray(b)
