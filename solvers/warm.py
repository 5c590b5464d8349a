"""Compiling every kernel, or loading it from the cache, before work begins.

Numba's cache is not safe against several processes that compile the same kernel at once, so one
process per host calls :func:`warm` first.
"""

import time

import numpy as np

from solvers.activations import ACTIVATIONS
from solvers.characteristics import characteristics
from solvers.controls import Controls
from solvers.distributions import Uniform
from solvers.particles import INTEGRATORS, integrate
from solvers.transport import solve_transport
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1


def warm() -> float:
    """Run every kernel on tiny inputs of the types used in production; return the seconds."""
    began = time.perf_counter()
    controls = Controls.of(1.0, "t")
    times = np.array([0.0, 0.01])
    sigma = ACTIVATIONS["tanh"]
    sigma.derivative([0.0])
    for integrator in INTEGRATORS:
        integrate([0.0, 1.0], sigma, controls, times, [1], integrator)
    characteristics([0.0, 1.0], sigma, controls, times)
    solution = solve_transport(Uniform(0.0, 1.0), sigma, controls, (-1.0, 2.0), 60, times, [1])
    w1(PointMasses([0.0, 1.0]), PiecewiseLinearCdf(solution.edges, solution.density[0]))
    return time.perf_counter() - began
