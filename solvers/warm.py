"""Compiling every kernel, or loading it from the cache, before work begins.

Numba's cache is not safe against several processes that compile the same kernel at once (numba
issue 4807), so the processes of a host take turns here: the first compiles, the others load.
"""

import contextlib
import fcntl
import functools
import time
from collections.abc import Iterator

import numpy as np

from solvers import CACHE_DIRECTORY
from solvers.activations import ACTIVATIONS
from solvers.characteristics import characteristics
from solvers.controls import Controls
from solvers.distributions import Uniform
from solvers.flow_map import flow_map
from solvers.particles import INTEGRATORS, integrate
from solvers.sampling import SampleTiles
from solvers.streaming import Stream
from solvers.training import (
    EulerianDiscretization,
    LagrangianDiscretization,
    Quadratic,
    TrainingProblem,
)
from solvers.transport import solve_transport
from solvers.vector_controls import VectorControls
from solvers.vector_particles import integrate_vectors
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1


def warm(*, training: bool = True) -> float:
    """Run every kernel on tiny inputs of the types used in production; return the seconds.

    Args:
        training: Whether to run the kernels of training too, half of the time.
    """
    began = time.perf_counter()
    with _turn():
        _run_kernels()
    if training:
        warm_training()
    return time.perf_counter() - began


@functools.cache
def warm_training() -> None:
    """Do so with the kernels of training; once in a process."""
    with _turn():
        _run_kernels_of_training()


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Hold a lock of this cache; without one where the file system has none."""
    CACHE_DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (CACHE_DIRECTORY / "warm.lock").open("w") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_kernels() -> None:
    controls = Controls.of(1.0, "t")
    times = np.array([0.0, 0.01])
    sigma = ACTIVATIONS["tanh"]
    sigma.derivative([0.0])
    for integrator in INTEGRATORS:
        integrate([0.0, 1.0], sigma, controls, times, [1], integrator)
    plane = VectorControls.isotropic(controls, 2)
    for particles in (1, 1 << 19):  # one block of them, and several: arrays of another layout
        integrate_vectors(np.zeros((particles, 2)), sigma, plane, times, [1])
    characteristics([0.0, 1.0], sigma, controls, times)
    law = Uniform(0.0, 1.0)
    solution = solve_transport(law, sigma, controls, (-1.0, 2.0), 60, times, [1])
    limit = PiecewiseLinearCdf(solution.edges, solution.density[0])
    w1(limit, limit)
    w1(PointMasses([0.0, 1.0]), PointMasses([1.0]))
    flow = flow_map(law.support(), sigma, controls, times, [1])
    Stream(SampleTiles(law, 2, "iid-sorted"), flow).summary([[limit]])


def _run_kernels_of_training() -> None:
    problem = TrainingProblem(
        ACTIVATIONS["tanh"], Uniform(0.0, 1.0), Quadratic(1.0), 1.0, 1.0, 0.01
    )
    for discretization in (
        LagrangianDiscretization(problem, 1),
        LagrangianDiscretization(problem, 1, "euler"),
        EulerianDiscretization(problem, 1, (-1.0, 2.0), 60),
    ):
        discretization.cost_and_gradient(1.0, 0.0)
