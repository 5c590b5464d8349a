"""Speed of the finite-volume kernel: nanoseconds a cell and stage, against peers and the machine.

    python benchmarks/transport.py [--write docs/performance.md]

The same scheme (CWENO3, local Lax-Friedrichs, SSP-RK3) is written for whole arrays in NumPy and in
JAX, by the same formulas; in JAX all steps are one jitted ``lax.scan``. Both give the numbers of
this package to rounding, which is checked. PyClaw and py-pde have other schemes: PyClaw's SharpClaw
with WENO5 and SSP-RK3 on a constant velocity (its compiled Riemann solvers know no conservative
equation with a variable one), so it evaluates no activation; py-pde central differences of order 2
in RK4. They are measured per cell and stage all the same.
"""

import harness

# isort: split
import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import limits
import numba
import numpy as np
import plain

from solvers.activations import ACTIVATIONS
from solvers.finite_volumes import CLOSED, advance, work_space
from solvers.warm import warm

LOW, HIGH = -2.0, 3.0
CELLS = (100, 1000, 10_000, 100_000, 1_000_000)
WORK = 600_000  # cells times steps of a call
PEER_WORK = 120_000
NAMES = ("identity", "tanh")
AGREEMENT = 1e-12
OURS, NUMPY, JAX, PYCLAW, PYPDE = "this package", "NumPy", "JAX", "PyClaw", "py-pde"
MOVING = "moving"

# Operations a cell and stage on whole vectors, sigma(x) = x: CWENO3, velocity, flux, Runge-Kutta.
SLOTS = 25 + 1 + 4 + (2 + 5 + 7) / 3
DIVISIONS = 1 + 1 / 3


class Problem:
    """Some steps on some cells; the controls move and the CFL number is 0.4 at most."""

    def __init__(self, name: str, cells: int, steps: int) -> None:
        """Make the grid, the first averages and the table of the steps."""
        self.name, self.cells, self.steps = name, cells, steps
        self.faces = np.linspace(LOW, HIGH, cells + 1)
        self.dx = (HIGH - LOW) / cells
        centres = 0.5 * (self.faces[1:] + self.faces[:-1])
        self.start = np.exp(-8.0 * centres**2) + (np.abs(centres) < 0.4)
        self.h = np.full(steps, 0.1 * self.dx)
        t = np.cumsum(self.h)[:, None] - self.h[0] * np.array([1.0, 0.0, 0.5])
        self.w, self.b = np.cos(3.0 * t), np.sin(5.0 * t)
        self.work, self.left = work_space(), np.zeros(2)

    def ours(self) -> np.ndarray:
        """Return the averages after all steps, by this package."""
        u = np.zeros(self.cells + 4)
        u[2:-2] = self.start
        code = ACTIVATIONS[self.name].code
        advance(
            u, code, 1.0, CLOSED, self.faces, self.h, self.w, self.b, self.dx, self.dx**2,
            self.work, self.left,
        )  # fmt: skip
        return u[2:-2]

    def numpy(self) -> np.ndarray:
        """Return them by NumPy."""
        u = self.start
        for row in zip(self.h, self.w, self.b, strict=True):
            u = plain.step(np, self.name, u, self.faces, self.dx, row)
        return u

    def jax(self) -> Callable[[], np.ndarray]:
        """Return a function that returns them by JAX: all steps in one compiled scan."""
        import jax

        faces, start = jax.numpy.asarray(self.faces), jax.numpy.asarray(self.start)
        table = tuple(jax.numpy.asarray(part) for part in (self.h, self.w, self.b))

        @jax.jit
        def solve(u: jax.Array, table: tuple, faces: jax.Array) -> jax.Array:
            def step(u: jax.Array, row: tuple) -> tuple[jax.Array, None]:
                return plain.step(jax.numpy, self.name, u, faces, self.dx, row), None

            return jax.lax.scan(step, u, table)[0]

        return lambda: np.asarray(solve(start, table, faces))

    def check(self, found: np.ndarray, who: str) -> None:
        """Require that the averages are those of this package, to rounding."""
        gap = float(np.abs(found - self.ours()).max())
        if not gap <= AGREEMENT:
            raise SystemExit(
                f"{who} differs by {gap:.1e} at {self.cells} cells: not the same scheme"
            )


def pyclaw(cells: int, steps: int) -> Callable[[], object]:
    """Return PyClaw's SharpClaw: WENO5 and SSP-RK3, constant velocity."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # it leaves a log
        from clawpack import pyclaw, riemann

    logging.getLogger("pyclaw").setLevel(logging.ERROR)
    solver = pyclaw.SharpClawSolver1D(riemann.advection_1D)
    solver.kernel_language, solver.time_integrator = "Fortran", "SSP33"
    solver.weno_order, solver.lim_type, solver.dt_variable = 5, 2, False
    solver.cfl_desired, solver.cfl_max = 0.5, 1.0
    solver.bc_lower[0] = solver.bc_upper[0] = pyclaw.BC.extrap
    grid = pyclaw.Domain(pyclaw.Dimension(LOW, HIGH, cells, name="x"))
    state = pyclaw.State(grid, 1)
    state.problem_data["u"] = 1.0
    state.q[0] = np.exp(-8.0 * state.grid.x.centers**2)
    solution = pyclaw.Solution(state, grid)
    solver.dt = 0.1 * (HIGH - LOW) / cells
    solver.max_steps = 10 * steps
    solver.setup(solution)

    def run() -> None:
        solver.evolve_to_time(solution, solution.t + steps * solver.dt)

    return run


def pypde(name: str, cells: int, steps: int) -> Callable[[], object]:
    """Return py-pde: central differences in RK4, compiled by Numba."""
    import pde

    sigma = {"identity": "0.8*x + 0.1", "tanh": "tanh(0.8*x + 0.1)"}[name]
    grid = pde.CartesianGrid([(LOW, HIGH)], cells, periodic=False)
    state = pde.ScalarField(grid, np.exp(-8.0 * grid.axes_coords[0] ** 2))
    equation = pde.PDE({"u": f"-d_dx(({sigma})*u)"}, bc={"value": 0})
    solver = pde.RungeKuttaSolver(equation, adaptive=False, backend="numba")
    dt = 0.1 * (HIGH - LOW) / cells
    advance = solver.make_stepper(state, dt=dt)
    return lambda: advance(state.copy(), 0.0, steps * dt)


@numba.njit(nogil=True)
def move(u: np.ndarray, faces: np.ndarray, steps: int) -> None:
    """Read and write all averages and read all faces, which is what a step moves at least."""
    for _ in range(steps):
        for i in range(u.size):
            u[i] += faces[i]


def moving(cells: int) -> Callable[[], object]:
    """Return what moves through caches and memory as much as this package must, for WORK."""
    u, faces = np.zeros(cells), np.ones(cells)
    return lambda: move(u, faces, max(1, WORK // cells))


def functions(name: str, cells: int) -> tuple[dict[str, Callable], dict[str, int]]:
    """Return what is measured, and how many cells times stages each call works through."""
    many, few = (max(2, work // cells) for work in (WORK, PEER_WORK))
    large, small = Problem(name, cells, many), Problem(name, cells, few)
    found: dict[str, Callable] = {OURS: large.ours, NUMPY: small.numpy}
    amount = {OURS: 3 * cells * many, NUMPY: 3 * cells * few}
    small.check(small.numpy(), NUMPY)
    if harness.peer("jax"):
        found[JAX], amount[JAX] = large.jax(), 3 * cells * many
        large.check(found[JAX](), JAX)
    if harness.peer("clawpack"):
        with contextlib.redirect_stdout(io.StringIO()):
            found[PYCLAW] = pyclaw(cells, few)
        amount[PYCLAW] = 3 * cells * few
    if harness.peer("pde"):
        found[PYPDE], amount[PYPDE] = pypde(name, cells, few), 4 * cells * few
    return found, amount


def row(name: str, cells: int) -> list[str]:
    """Return a row of the table: nanoseconds a cell and stage."""
    found, amount = functions(name, cells)
    bounds = limits.loops() | {MOVING: moving(cells)}
    seconds = harness.turns(found | bounds, clock=time.process_time)
    times = {who: harness.Times(1e9 * seconds[who].seconds / amount[who]) for who in found}
    ours = times[OURS]
    others = [
        harness.spread(times[who].seconds) if who in times else harness.ABSENT
        for who in (NUMPY, JAX, PYCLAW, PYPDE)
    ]
    same = {who: t for who, t in times.items() if who in (OURS, NUMPY, JAX, PYCLAW)}
    best = harness.best(same, OURS)
    ahead = "" if best is None else f"{harness.ratio(times[best], ours)} ({best})"
    memory = 1e9 * seconds[MOVING].seconds / amount[OURS]
    limit = np.maximum(1e9 * limits.least(seconds, SLOTS, DIVISIONS), memory)
    share = f"{100 * np.median(limit / ours.seconds):.0f} %" if name == "identity" else ""
    return [f"{name}, {cells}", harness.spread(ours.seconds), *others, ahead, share]


def on_two_cores() -> str:
    """Return how many times faster two threads solve two problems than one does."""
    problems = [Problem("tanh", 10_000, 600) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: time.sleep(0.01), range(2)))  # starts the threads
        times = harness.turns(
            {
                "one": lambda: [problem.ours() for problem in problems],
                "two": lambda: list(pool.map(lambda problem: problem.ours(), problems)),
            }
        )
    return harness.spread(times["one"].over(times["two"]))


TEXT = """\
Nanoseconds a cell and stage of the finite-volume kernel (CWENO3, local Lax–Friedrichs, SSP-RK3),
against the same formulas for whole arrays in NumPy and in JAX (one division a cell in CWENO3; in
JAX one jitted `lax.scan`; the numbers agree to {agreement:.0e}), and against two packages with
other schemes: PyClaw's SharpClaw (WENO5, SSP-RK3, a constant velocity and so no activation to
evaluate) and py-pde (central differences, RK4), a scheme of a few operations a cell that oscillates
at jumps; it is not counted among the peers in the last column but one. One thread each. Written by

    python benchmarks/transport.py --write docs/performance.md

Processor time. Medians, and in brackets the least and the largest, of {turns} turns.
{machine}

{rows}

The limit is counted for σ(x) = x. A cell and stage takes {slots:.1f} additions, multiplications,
fused multiply-adds, comparisons and choices (25 in CWENO3, 1 for the velocity, 4 for the flux, 4.7
in Runge–Kutta) and {divisions:.2f} divisions, which a processor does beside the others. The
limit is the longest of three times, measured in the same turns: that of as many fused multiply-adds
on the widest vectors, that of the divisions alone, and that of reading averages and faces and
writing averages once in three stages.

Two threads on two problems of 10⁴ cells are {two} times as fast as one. The kernels are compiled
without reference counts, so nothing in them can allocate; a test holds it.
"""


def section(_options: harness.Options) -> str:
    """Measure, and return the section."""
    warm()
    rows = [row(name, cells) for name in NAMES for cells in CELLS]
    header = ["σ, cells", OURS, NUMPY, JAX, PYCLAW, PYPDE, "best peer over ours", "of the limit"]
    return TEXT.format(
        agreement=AGREEMENT,
        turns=harness.TURNS,
        machine=harness.machine("jax", "clawpack", "py-pde"),
        rows=harness.table(header, *rows),
        slots=SLOTS,
        divisions=DIVISIONS,
        two=on_two_cores(),
    )


if __name__ == "__main__":
    harness.run(__doc__, "Transport", section)
