"""Run in a process of its own, with NUMBA_ENABLE_CUDASIM=1: what the kernels of the GPU give.

    python simulated_gpu.py FILE

writes positions and messages into an .npz file. The simulator runs a Python thread for each
thread of the GPU, so the particles are few, and launches small enough that every loop goes round.
"""

import sys
from typing import Any
from unittest.mock import Mock

import numpy as np

from solvers.activations import ACTIVATIONS
from solvers.controls import Controls
from solvers.device import GPU_ACTIVATIONS
from solvers.errors import NonFiniteError, PointTimeoutError
from solvers.flow_map import flow_map
from solvers.particles import INTEGRATORS, integrate
from solvers.time_grid import time_grid

CONTROLS = Controls.of("1 + sin(3*t)", "cos(2*t)")
CROSSING = Controls.of(-30.0, 0.0)  # its Euler steps turn the order of particles round
GROWING = Controls.of(1e200, 0.0)
TIMES, INDICES = time_grid(0.3, 0.1, (), [0.0, 0.1, 0.3])
X = np.linspace(-2.0, 3.0, 300)
FEW = (1, 5)
BEYOND = np.linspace(-2.5, 3.5, 200)


def pushed(device: str) -> dict[str, Any]:
    """Particles on a device, by every integrator and activation, in many launches or one."""
    found: dict[str, Any] = {}

    def put(case: str, x: np.ndarray, *arguments: Any) -> None:
        found[case] = integrate(x, *arguments, device=device)

    for integrator in INTEGRATORS:
        for name in GPU_ACTIVATIONS:
            for count in FEW:
                steps = (ACTIVATIONS[name], CONTROLS, TIMES, INDICES, integrator)
                put(f"{integrator} {name} {count}", X[::60][:count], *steps)
        put(f"{integrator} many", X, ACTIVATIONS["tanh"], CONTROLS, TIMES, INDICES, integrator)
    put("sorted", X[:20], ACTIVATIONS["identity"], CROSSING, TIMES, INDICES, "euler")
    for name in GPU_ACTIVATIONS:
        flow = flow_map((-2.0, 3.0), ACTIVATIONS[name], CONTROLS, TIMES, INDICES, device=device)
        found[f"map {name}"] = flow(BEYOND)
    flow = flow_map((-2.0, 3.0), ACTIVATIONS["tanh"], CONTROLS, TIMES, [0], device=device)
    found["map at 0"] = flow(BEYOND)
    try:
        put("overflow", X[:3], ACTIVATIONS["identity"], GROWING, TIMES, INDICES)
    except NonFiniteError as error:
        found["overflow"] = str(error)
    return found


def limits() -> dict[str, Any]:
    """What stops a point: its time, and the memory and the faults of the GPU."""
    from solvers import gpu

    found: dict[str, str] = {}
    polls: list[int] = []

    def poll() -> None:
        polls.append(len(polls))
        if len(polls) == 3:
            raise PointTimeoutError("late")

    steps = (ACTIVATIONS["identity"], CONTROLS, TIMES[:2], [1], "euler")
    try:
        integrate(X, *steps, poll=poll, device="gpu")
    except PointTimeoutError as error:
        found["stopped"] = str(error)
    for code in ("CUDA_ERROR_OUT_OF_MEMORY", "CUDA_ERROR_ECC_UNCORRECTABLE"):
        gpu.cuda.to_device = Mock(side_effect=gpu.CudaAPIError(code, "to_device"))
        try:
            integrate(X, *steps, device="gpu")
        except (MemoryError, gpu.CudaAPIError) as error:
            found[code] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    from solvers import gpu

    gpu.THREADS, gpu.MOST_BLOCKS, gpu.LEAST, gpu.PUSHED = 4, 2, 64, 90
    np.savez(sys.argv[1], **pushed("gpu"), **limits())
