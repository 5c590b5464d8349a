"""Speed of the particles and of the flow map on a GPU, against the same kernels of the processor.

    python benchmarks/gpu.py [--full] [--write docs/performance.md]

It needs an NVIDIA GPU and `pip install "meanfield[gpu]"`, else it ends with status 2. Before it
measures, positions of the GPU are compared with those of the processor, for every integrator and
activation.

Measured are whole calls, which bring particles to the GPU and back and look through them, and the
kernels alone on what is there already. The limits are measured in the same turns: the time in which
the GPU makes as many fused multiply-adds in float64 as the formulas of the processor have
operations (particles.py), and that in which it copies the positions that the flow map reads and
writes in its memory.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import harness
import numba.cuda
import numpy as np
from particles import OPERATIONS, RK4_OPERATIONS

from solvers import gpu
from solvers.activations import ACTIVATIONS
from solvers.controls import Controls
from solvers.device import DEVICES, check_device
from solvers.errors import InputError
from solvers.flow_map import flow_map
from solvers.particles import INTEGRATORS, integrate
from solvers.stages import stage_controls
from solvers.time_grid import time_grid

cuda: Any = numba.cuda

CONTROLS = Controls.of("exp(t) - 1", "-5*t**2 + t")
TIMES, INDICES = time_grid(1.0, 1e-2, (), [1.0])
SUPPORT = (-5.0, 5.0)
SIZES = (10**5, 10**6, 10**7)
LARGEST = 10**8  # with --full
ON_PROCESSOR = 10**7  # the most particles that the processor takes through all steps
MANY = 10**7
AGREE = 1e-12
CHECKED = 10**4
CHAINS = 8
ROUNDS = 4096
THREADS = 1 << 20

Functions = dict[str, Callable[[], object]]


@cuda.jit
def multiply_adds(start: float, rounds: int, out: np.ndarray) -> None:
    """Run CHAINS independent chains of fused multiply-adds in every thread."""
    i = cuda.grid(1)
    a = start + i
    b, c, d, e, f, g, h = a + 1.0, a + 2.0, a + 3.0, a + 4.0, a + 5.0, a + 6.0, a + 7.0
    for _ in range(rounds):
        a, b = cuda.fma(a, start, start), cuda.fma(b, start, start)
        c, d = cuda.fma(c, start, start), cuda.fma(d, start, start)
        e, f = cuda.fma(e, start, start), cuda.fma(f, start, start)
        g, h = cuda.fma(g, start, start), cuda.fma(h, start, start)
    if i < out.shape[0]:
        out[i] = a + b + c + d + e + f + g + h


def limits(count: int) -> Functions:
    """Return what makes THREADS * ROUNDS * CHAINS multiply-adds, and what copies numbers."""
    sums, x = cuda.device_array(THREADS), cuda.to_device(np.zeros(count))
    y = cuda.device_array(count)

    def copy() -> None:
        y.copy_to_device(x)
        cuda.synchronize()

    return {
        "multiply-adds": lambda: gpu.launch(multiply_adds, THREADS, 0.5, ROUNDS, sums),
        "copying": copy,
    }


def in_threads(call: Callable[[np.ndarray], object], x: np.ndarray) -> Callable[[], object]:
    """Return what has every core do its part of the particles."""
    cores = os.cpu_count() or 1
    parts = np.array_split(x, cores)

    def run() -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(call, parts))

    return run


def particle_functions(name: str, x: np.ndarray) -> Functions:
    """Return what takes particles through all steps: whole calls, and the kernel alone."""
    sigma = ACTIVATIONS[name]
    steps = (sigma, CONTROLS, TIMES, INDICES)
    w, b = stage_controls(CONTROLS, TIMES, INTEGRATORS["rk4"][1])
    tables = [cuda.to_device(table) for table in (np.diff(TIMES), w, b)]
    start, moved = gpu.uploaded(x), gpu.uploaded(x)

    def kernel() -> None:
        moved.copy_to_device(start)
        gpu.launch(gpu.KERNELS["rk4"], x.size, moved, sigma.code, *tables)

    functions: Functions = {"call": lambda: integrate(x, *steps, device="gpu"), "kernel": kernel}
    if x.size <= ON_PROCESSOR:
        functions["core"] = lambda: integrate(x, *steps)
        functions["cores"] = in_threads(lambda part: integrate(part, *steps), x)
    return functions


def map_functions(x: np.ndarray) -> Functions:
    """Return what evaluates the flow map of tanh: whole calls, and the kernel alone."""
    problem = (SUPPORT, ACTIVATIONS["tanh"], CONTROLS, TIMES, INDICES)
    here, there = flow_map(*problem), flow_map(*problem, device="gpu")
    out = np.empty((INDICES.size, x.size))
    pieces = [cuda.to_device(table) for table in (here.edges, here.coefficients)]
    start, moved = gpu.uploaded(x), cuda.device_array(out.shape)
    return {
        "call": lambda: there(x, out),
        "kernel": lambda: gpu.launch(gpu.evaluate, x.size, *pieces, start, moved),
        "core": lambda: here(x, out),
        "cores": in_threads(here, x),
    }


def row(label: str, functions: Functions, x: np.ndarray, limit: str, work: float) -> list[str]:
    """Measure, and return a row.

    Args:
        label: What stands first.
        functions: What is measured.
        x: The particles.
        limit: Which of :func:`limits` the kernel is held against.
        work: How many times that one's work the kernel has to do.
    """
    times = harness.turns(functions | {"limit": limits(x.size)[limit]})
    nanoseconds = [harness.spread(1e9 * times[n].seconds / x.size) for n in ("call", "kernel")]
    ratios = [
        harness.spread(times[other].over(times[ours])) if other in times else ""
        for other in ("core", "cores")
        for ours in ("call", "kernel")
    ]
    least = work * np.median(times["limit"].seconds)
    return [label, *nanoseconds, *ratios, f"{100 * least / times['kernel'].median:.0f} %"]


def particle_row(label: str, name: str, count: int) -> list[str]:
    """Return a row of particles that take all steps."""
    operations = OPERATIONS[name][0] + RK4_OPERATIONS
    work = count * 4 * (TIMES.size - 1) * operations / (THREADS * ROUNDS * CHAINS)
    x = np.linspace(*SUPPORT, count)
    return row(label, particle_functions(name, x), x, "multiply-adds", work)


def map_row(count: int) -> list[str]:
    """Return a row of particles that go through the flow map; it reads one and writes one each."""
    x = np.linspace(*SUPPORT, count)
    return row(f"{count:.0e}", map_functions(x), x, "copying", 1.0)


def check_agreement(count: int = CHECKED) -> None:
    """See that the GPU gives the processor's positions."""
    x, steps = np.linspace(*SUPPORT, count), (CONTROLS, TIMES, INDICES)
    pairs = {
        (integrator, name): [integrate(x, sigma, *steps, integrator, device=d) for d in DEVICES]
        for integrator in INTEGRATORS
        for name, sigma in ACTIVATIONS.items()
    }
    maps = [flow_map(SUPPORT, ACTIVATIONS["tanh"], *steps, device=d) for d in DEVICES]
    pairs["flow map", "tanh"] = [flow(x) for flow in maps]
    for (way, name), (here, there) in pairs.items():
        gap = float(np.abs(here - there).max() / np.abs(here).max())
        if gap > AGREE:
            raise SystemExit(f"the GPU and the processor differ by {gap:.1e} ({way}, {name})")


def device() -> str:
    """Return what the GPU is called, its rate of arithmetic and that of its memory."""
    name = cuda.current_context().device.name
    times = harness.turns(limits(MANY))
    flops = 2.0 * THREADS * ROUNDS * CHAINS / times["multiply-adds"].seconds
    copied = 16.0 * MANY / times["copying"].seconds
    return (
        f"{name.decode() if isinstance(name, bytes) else name}: {harness.spread(flops / 1e12)} "
        "Tflop/s in fused multiply-adds of float64 (two each), "
        f"{harness.spread(copied / 1e9)} GB/s read and written in its memory."
    )


HEADER = [
    *("call [ns]", "kernel [ns]", "one core / call", "one core / kernel", "all cores / call"),
    *("all cores / kernel", "of the limit"),
]

TEXT = """\
The kernels of the GPU against the same of the processor, in float64: nanoseconds a particle, and
how many times longer the processor takes. A "call" brings the particles to the GPU and back and
sees whether they are finite and in order; the "kernel" finds them there. The limit of the first two
tables is the time in which the GPU makes as many fused multiply-adds as the processor's formulas
have operations, that of the last the time in which it copies the positions in its memory. Written
by

    python benchmarks/gpu.py --write docs/performance.md

Wall time; medians of {turns} turns, and in brackets the least and the largest.
{machine}
{device}

{steps} steps of RK4, {many} particles:

{activations}

The same by the number of particles M, tanh:

{sizes}

The flow map of these steps:

{maps}
"""


def section(options: harness.Options) -> str:
    """Measure, and return the section."""
    try:
        check_device("gpu")
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    check_agreement()
    sizes = [*SIZES, *([LARGEST] if options.full else [])]
    return TEXT.format(
        turns=harness.TURNS,
        machine=harness.machine("numba-cuda"),
        device=device(),
        steps=TIMES.size - 1,
        many=f"{MANY:.0e}",
        activations=harness.table(
            ["σ", *HEADER], *(particle_row(name, name, MANY) for name in ACTIVATIONS)
        ),
        sizes=harness.table(["M", *HEADER], *(particle_row(f"{m:.0e}", "tanh", m) for m in sizes)),
        maps=harness.table(["M", *HEADER], *(map_row(m) for m in sizes)),
    )


if __name__ == "__main__":
    harness.run(__doc__, "GPU", section)
