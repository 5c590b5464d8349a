"""Orders in the cells that theory gives for the PDE scheme, which is of third order.

                 L1 of the cell averages    W1 of the piecewise linear distribution function
    smooth f_0              3                                   2
    f_0 with jumps         3/4                                 3/2

At a jump a scheme of order p smears the solution over h^(p/(p+1)). Where f_0 is continuous with
kinks, or relu puts a kink into the flow, theory gives nothing that the data could be held against.
"""

import math

import numpy as np

from solvers.activations import Activation
from solvers.distributions import Distribution

SMOOTH = (3.0, 2.0)
JUMPS = (0.75, 1.5)
UNKNOWN = (math.nan, math.nan)
KINKED = ("relu",)


def expected_orders(law: Distribution, activation: Activation) -> tuple[float, float]:
    """The orders of l1_error and w1_error after some time of the flow."""
    points = law.breakpoints()
    if not points.size:
        return UNKNOWN if activation.name in KINKED else SMOOTH
    return JUMPS if _jumps(law, points) else UNKNOWN


def _jumps(law: Distribution, points: np.ndarray) -> bool:
    """Whether the density jumps at one of the points, by more than a thousandth of its size."""
    step = 1e-9 * float(points[-1] - points[0])
    left, right = law.pdf(points - step), law.pdf(points + step)
    size = float(np.max(law.pdf(0.5 * (points[1:] + points[:-1])), initial=0.0))
    return bool(np.any(np.abs(right - left) > 1e-3 * size))
