"""Speed of the flow map and of streams, against all steps, a spline and reading the array once.

    python benchmarks/flow_map.py [--full] [--write docs/performance.md]

* Pushing sorted particles to two output times by the tabulated flow map, tile by tile as streams do
  (a tile is used while it lies in the cache) or into an array of all positions; against the RK4
  steps themselves and against a spline of SciPy through values on a grid.
* Drawing, pushing and comparing M particles that are never in memory: time and peak memory of a
  process of its own, against the same with all of them in memory. `--full` goes to 10^9 particles.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import harness
import limits
import numpy as np
from scipy.interpolate import CubicSpline

from solvers.activations import ACTIVATIONS
from solvers.controls import Controls
from solvers.distributions import Normal
from solvers.flow_map import FlowMap, flow_map
from solvers.particles import integrate
from solvers.time_grid import time_grid

CONTROLS = Controls.of("exp(t) - 1", "-5*t**2 + t")
LAW = Normal(0.0, 1.0)
TIMES, INDICES = time_grid(1.0, 1e-2, (), [0.5, 1.0])
SIZES = (10**6, 10**7, 10**8)
STEPPED, STORED = 10**6, 10**7  # the most particles taken through all steps, and stored
TILE = 65536
NODES = 16_001  # of the spline
STREAMED = (10**4, 10**5, 10**6, 10**7)
LARGEST = (10**8, 10**9)
IN_MEMORY = 10**6

STREAM = """
import resource, sys, time
import numpy as np
from solvers.activations import ACTIVATIONS
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.distributions import Normal
from solvers.flow_map import flow_map
from solvers.particles import integrate
from solvers.sampling import SampleTiles, sample
from solvers.streaming import Stream
from solvers.time_grid import time_grid
from solvers.warm import warm
from solvers.wasserstein import PointMasses, w1

law, sigma = Normal(0.0, 1.0), ACTIVATIONS["tanh"]
controls = Controls.of("exp(t) - 1", "-5*t**2 + t")
times, indices = time_grid(1.0, 1e-2, (), [0.5, 1.0])
exact = reference(law, sigma, controls, times[indices])
laws = [exact.measure(s) for s in range(2)]

def stream(count):
    flow = flow_map(law.support(), sigma, controls, times, indices)
    return Stream(SampleTiles(law, count, "iid-sorted", (0, 1)), flow).summary([laws]).w1[0]

def in_memory(count):
    x = integrate(sample(law, count, "iid-sorted", (0, 1)), sigma, controls, times, indices)
    return [w1(PointMasses(y, sorted=True), nu) for y, nu in zip(x, laws)]

warm()
run, count = {"stream": stream, "memory": in_memory}[sys.argv[1]], int(sys.argv[2])
run(10)
began = time.process_time()
found = run(count)
print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, *found)
"""


def tiled(flow: FlowMap, x: np.ndarray) -> Callable[[], None]:
    """Return what pushes all particles, tile by tile, each into the same small array."""
    out = np.empty((INDICES.size, TILE))

    def run() -> None:
        for start in range(0, x.size, TILE):
            flow(x[start : start + TILE], out)

    return run


def spline(sigma: str, x: np.ndarray, flow: FlowMap) -> Callable[[], None]:
    """Return what pushes all particles by SciPy, tile by tile, as accurately as the flow map.

    Of what SciPy has, a piecewise polynomial of both output times is fastest, and degree 3 with
    more nodes faster than degree 5.
    """
    activation = ACTIVATIONS[sigma]
    nodes = np.linspace(-9.0, 9.0, NODES)
    found = CubicSpline(nodes, integrate(nodes, activation, CONTROLS, TIMES, INDICES).T)
    exact = integrate(x, activation, CONTROLS, TIMES, INDICES)
    gap, ours = np.abs(found(x).T - exact).max(), np.abs(flow(x) - exact).max()
    if not gap <= ours:
        raise SystemExit(f"the error of the spline is {gap:.1e}, that of the flow map {ours:.1e}")

    def run() -> None:
        for start in range(0, x.size, TILE):
            found(x[start : start + TILE])

    return run


def push_row(sigma: str, count: int) -> list[str]:
    """Return a row of the first table."""
    x = np.linspace(-5.0, 5.0, count)
    flow = flow_map(LAW.support(), ACTIVATIONS[sigma], CONTROLS, TIMES, INDICES)
    words = x.view(np.int64)
    functions: dict[str, Callable[[], object]] = {
        "reading": lambda: limits.read(words),
        "tiles": tiled(flow, x),
    }
    if count <= STORED:
        out = np.empty((INDICES.size, count))
        functions["stored"] = lambda: flow(x, out)
    if count <= STEPPED:
        functions["steps"] = lambda: integrate(x, ACTIVATIONS[sigma], CONTROLS, TIMES, INDICES)
        if sigma != "relu":  # a spline does not see kinks
            functions["spline"] = spline(sigma, x, flow)
    times = harness.turns(functions, clock=time.process_time)
    tiles = times["tiles"]
    over = [harness.spread(times[n].over(tiles)) if n in times else "" for n in ("steps", "spline")]
    nanoseconds = [
        harness.spread(times[name].seconds / count * 1e9) if name in times else ""
        for name in ("tiles", "stored")
    ]
    return [
        f"{sigma}, {count:.0e}".replace("e+0", "e"),
        str(flow.edges.size - 1),
        *nanoseconds,
        harness.spread(tiles.over(times["reading"])),
        *over,
    ]


def in_a_process(way: str, count: int) -> tuple[float, float, list[float]]:
    """Return processor seconds, peak memory in MB and the distances of a process of its own."""
    command = [sys.executable, "-c", STREAM, way, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, kilobytes, *distances = map(float, done.stdout.split())
    return seconds, kilobytes * 1024 / 1e6, distances


def stream_row(count: int, repeats: int) -> list[str]:
    """Return a row of the second table."""
    ways = ["stream", "memory"] if count <= IN_MEMORY else ["stream"]
    found: dict[str, list[tuple[float, float, list[float]]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            found[way].append(in_a_process(way, count))
    distances = [run[2] for runs in found.values() for run in runs]
    if not np.allclose(distances, distances[0], rtol=0.0, atol=1e-12):
        raise ArithmeticError(f"the distances of {count} particles differ: {distances}")
    row = [f"{count:.0e}".replace("e+0", "e")]
    for way in ("stream", "memory"):
        runs = found.get(way, [])
        row.append(harness.spread([run[0] / count * 1e9 for run in runs]) if runs else "")
        row.append(f"{max(run[1] for run in runs):.0f}" if runs else "")
    return row


TEXT = """\
Sorted particles at two output times, σ = tanh or relu, normal initial law, 100 steps of RK4.
"Tiles" is the flow map where each tile of {tile} particles is used while it lies in the cache, as
streams do; "stored" writes all positions, which costs the writing of two arrays; "reading" says how
many times as long the tiles take as reading the initial positions once from memory. A ratio says
how many times longer the peer takes than the tiles: all RK4 steps (vectorised, the default), and a
piecewise polynomial of SciPy that is as accurate (`CubicSpline` of both times through {nodes}
nodes, tile by tile too). Written by

    python benchmarks/flow_map.py --write docs/performance.md

Processor time of one core; medians of {turns} turns, and in brackets the least and the largest.
{machine}

{push}

Streams: M order statistics drawn, pushed to both times and compared with the exact limit by W1, in
a process of its own, whose peak memory is shown (Python, NumPy and the kernels take most of it);
and the same with all particles in memory and all RK4 steps. Distances agree to 1e-12.

{streams}
"""


def section(options: harness.Options) -> str:
    """Measure, and return the section."""
    cases = [("tanh", count) for count in SIZES] + [("relu", SIZES[1])]
    streams = [stream_row(count, harness.TURNS) for count in STREAMED]
    streams += [stream_row(count, 1) for count in LARGEST] if options.full else []
    return TEXT.format(
        tile=TILE,
        nodes=NODES,
        turns=harness.TURNS,
        machine=harness.machine("scipy"),
        push=harness.table(
            ["", "pieces", "tiles [ns]", "stored [ns]", "reading", "all steps", "spline"],
            *(push_row(*case) for case in cases),
        ),
        streams=harness.table(
            ["M", "stream [ns a particle]", "MB", "in memory [ns a particle]", "MB"], *streams
        ),
    )


if __name__ == "__main__":
    harness.run(__doc__, "Flow map and streaming", section)
