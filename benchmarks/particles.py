"""Speed of the particle kernels, against what one would use otherwise and against the arithmetic.

    python benchmarks/particles.py [--full] [--write docs/performance.md]

All take the same particles through the same time interval, in float64 on one thread, NumPy, JAX
(``lax.scan``, jitted), PyTorch and this package by the same RK4 steps; torchdiffeq by its RK4,
SciPy by RK45 and diffrax by Tsit5 with steps of a fixed length. All go block by block, so that the
particles of a block stay in the cache for all steps; one table has them take all particles at once,
which is how one writes it first. What counts is the processor time per particle and evaluation of
sigma(w x + b).

The arithmetic limit counts the operations of the branch-free formulas, each as one instruction on a
vector, whether an addition, a fused multiply-add, a comparison or a shift. Their number is
multiplied by the time that a fused multiply-add takes in a loop of nothing else (limits.py), which
is measured in the same turns. Divisions are done beside the other operations; where they alone take
longer than all operations so counted, that is the limit.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import harness
import limits
import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import expit

from solvers.activations import ACTIVATIONS
from solvers.controls import Controls
from solvers.particles import integrate
from solvers.vector_controls import VectorControls
from solvers.vector_particles import integrate_vectors
from solvers.warm import warm

OURS = "meanfield"
CONTROLS_OF = ("exp(t) - 1", "-5*t**2 + t")
CONTROLS = Controls.of(*CONTROLS_OF)
OPERATIONS = {
    "identity": (0, 0),
    "relu": (1, 0),
    "sigmoid": (24, 1),
    "tanh": (28, 1),
    "gcu": (24, 0),
}
"""Of the formulas in solvers/exp.py: all, and the divisions among them."""
RK4_OPERATIONS = 1 + 7 / 4  # w x + b, and a quarter of the seven of a step
STEPS, MANY = 100, 10**6
SMALL_BLOCK, BLOCK = 10_000, 25_000  # numbers in a block: of compiled loops, of whole arrays
AGREE = {"scipy": 0.1, "diffrax": 0.1, "torchdiffeq": 0.1}  # other methods; 1e-12 otherwise

Run = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Case:
    """What everybody computes.

    Attributes:
        name: The activation.
        x: Initial positions, shape (M,) or (M, d).
        steps: Number of time steps from 0 to 1.
        blocks: Whether others take the particles block by block.
    """

    name: str
    x: np.ndarray
    steps: int
    blocks: bool = True

    @property
    def times(self) -> np.ndarray:
        """The ends of the steps."""
        return np.linspace(0.0, 1.0, self.steps + 1)

    @property
    def matrix(self) -> np.ndarray:
        """What w(t) is multiplied by: a rotation by 1 in each pair of neighbours; 1 for d = 1."""
        if self.x.ndim == 1:
            return np.ones(())
        c, s = np.cos(1.0), np.sin(1.0)
        return np.kron(np.eye(self.x.shape[1] // 2), [[c, -s], [s, c]])

    def block(self, numbers: int) -> int:
        """Return how many particles are a block of at most some numbers; it divides all sizes."""
        if not self.blocks:
            return len(self.x)
        return min(len(self.x), numbers * len(self.x) // self.x.size)


def case_of(name: str, particles: int, dimension: int = 1, steps: int = STEPS) -> Case:
    """Return a case with normal particles."""
    rng = np.random.default_rng(0)
    if dimension == 1:
        return Case(name, np.sort(rng.normal(size=particles)), steps)
    return Case(name, rng.normal(size=(particles, dimension)), steps)


def controls(t: Any, exp: Callable[[Any], Any] = np.exp) -> tuple[Any, Any]:
    """Return the scalars w(t) and b(t), by the exponential function of a library."""
    return exp(t) - 1.0, t - 5.0 * t * t


def argument(case: Case, w: Any, b: Any, x: Any, matrix: Any) -> Any:
    """Return w(t) x + b(t) for all particles, in whatever library x belongs to."""
    return w * x + b if case.x.ndim == 1 else x @ (w * matrix.T) + b


def rk4(rate: Callable[[Any, Any], Any], h: float, x: Any, w: Any, b: Any) -> Any:
    """Return particles after a step; the controls are those at t, t + h/2 and t + h."""
    k1 = rate((w[0], b[0]), x)
    k2 = rate((w[1], b[1]), x + 0.5 * h * k1)
    k3 = rate((w[1], b[1]), x + 0.5 * h * k2)
    k4 = rate((w[2], b[2]), x + h * k3)
    return x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def stage_controls(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return the controls at the stage times of all steps, shape (steps, 3) each."""
    t, h = case.times[:-1, None], 1.0 / case.steps
    w, b = controls(t + h * np.array([0.0, 0.5, 1.0]))
    return w, b


def ours(case: Case) -> tuple[Run, float]:
    """Return this package, and its evaluations of sigma for each component of a particle."""
    sigma, last = ACTIVATIONS[case.name], [case.steps]
    if case.x.ndim == 1:
        return lambda: integrate(case.x, sigma, CONTROLS, case.times, last)[0], 4 * case.steps
    entries = [[f"{float(a)!r}*({CONTROLS_OF[0]})" for a in row] for row in case.matrix]
    plane = VectorControls.of(entries, [CONTROLS_OF[1]] * len(entries))
    return lambda: integrate_vectors(case.x, sigma, plane, case.times, last)[0], 4 * case.steps


def by_numpy(case: Case) -> tuple[Run, float]:
    """Return RK4 on whole arrays."""
    formulas: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "identity": lambda z: z,
        "relu": lambda z: np.maximum(z, 0.0),
        "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
        "tanh": np.tanh,
        "gcu": lambda z: z * np.cos(z),
    }
    sigma, (w, b), h = formulas[case.name], stage_controls(case), 1.0 / case.steps

    def run() -> np.ndarray:
        x = case.x
        for row in zip(w, b, strict=True):
            x = rk4(lambda c, y: sigma(argument(case, *c, y, case.matrix)), h, x, *row)
        return x

    return run, 4 * case.steps


def by_scipy(case: Case) -> tuple[Run, float] | None:
    """Return solve_ivp (RK45) with steps of a fixed length; d = 1."""
    if case.x.ndim > 1:
        return None
    formulas: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "identity": lambda z: z,
        "relu": lambda z: np.maximum(z, 0.0),
        "sigmoid": expit,
        "tanh": np.tanh,
        "gcu": lambda z: z * np.cos(z),
    }
    sigma, h = formulas[case.name], 1.0 / case.steps

    def run() -> np.ndarray:
        nonlocal found
        found = solve_ivp(
            lambda t, y: sigma(argument(case, *controls(t), y, None)),
            (0.0, 1.0),
            case.x,
            t_eval=[1.0],
            max_step=h,
            first_step=h,
            rtol=1.0,
            atol=1e9,
        )
        return np.asarray(found.y[:, -1])

    found: Any = None
    run()
    return run, found.nfev


def _jax_sigma(name: str) -> Callable[[Any], Any]:
    import jax

    formulas: dict[str, Callable[[Any], Any]] = {
        "identity": lambda z: z,
        "relu": jax.nn.relu,
        "sigmoid": jax.nn.sigmoid,
        "tanh": jax.numpy.tanh,
        "gcu": lambda z: z * jax.numpy.cos(z),
    }
    return formulas[name]


def _compiled(case: Case, solve: Callable[[Any], Any]) -> Run:
    """Return what takes the particles to the end block by block, by JAX, jitted."""
    import jax

    x = jax.numpy.asarray(case.x.reshape(-1, case.block(SMALL_BLOCK), *case.x.shape[1:]))
    run = jax.jit(lambda x: jax.lax.map(solve, x).reshape(case.x.shape))
    return lambda: run(x).block_until_ready()


def by_jax(case: Case) -> tuple[Run, float]:
    """Return RK4 under lax.scan, jitted."""
    import jax

    sigma, matrix, h = _jax_sigma(case.name), jax.numpy.asarray(case.matrix), 1.0 / case.steps
    rows = tuple(map(jax.numpy.asarray, stage_controls(case)))

    def step(y: Any, row: Any) -> tuple[Any, None]:
        return rk4(lambda c, z: sigma(argument(case, *c, z, matrix)), h, y, *row), None

    return _compiled(case, lambda y: jax.lax.scan(step, y, rows)[0]), 4 * case.steps


def by_diffrax(case: Case) -> tuple[Run, float]:
    """Return diffrax's Tsit5 with steps of a fixed length, jitted."""
    import diffrax
    import jax

    sigma, matrix = _jax_sigma(case.name), jax.numpy.asarray(case.matrix)

    def rate(t: Any, y: Any, _arguments: Any) -> Any:
        return sigma(argument(case, *controls(t, jax.numpy.exp), y, matrix))

    def solve(y: Any) -> Any:
        term, solver = diffrax.ODETerm(rate), diffrax.Tsit5()
        grid = diffrax.StepTo(ts=jax.numpy.asarray(case.times))
        return diffrax.diffeqsolve(
            term, solver, 0.0, 1.0, None, y, stepsize_controller=grid, max_steps=case.steps + 1
        ).ys[-1]

    return _compiled(case, solve), 6 * case.steps + 1


def _torch_sigma(name: str) -> Callable[[Any], Any]:
    import torch

    formulas: dict[str, Callable[[Any], Any]] = {
        "identity": lambda z: z,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "gcu": lambda z: z * torch.cos(z),
    }
    return formulas[name]


def by_torch(case: Case) -> tuple[Run, float]:
    """Return RK4 on whole tensors."""
    import torch

    torch.set_num_threads(1)
    sigma, matrix, h = _torch_sigma(case.name), torch.tensor(case.matrix), 1.0 / case.steps
    w, b = stage_controls(case)

    def run() -> np.ndarray:
        x = torch.from_numpy(case.x)
        with torch.inference_mode():
            for row in zip(w.tolist(), b.tolist(), strict=True):
                x = rk4(lambda c, y: sigma(argument(case, *c, y, matrix)), h, x, *row)
        return x.numpy()

    return run, 4 * case.steps


def by_torchdiffeq(case: Case) -> tuple[Run, float]:
    """Return torchdiffeq's RK4."""
    import torch
    import torchdiffeq

    torch.set_num_threads(1)
    sigma, matrix = _torch_sigma(case.name), torch.tensor(case.matrix)
    x, t = torch.from_numpy(case.x), torch.tensor([0.0, 1.0], dtype=torch.float64)

    def run() -> np.ndarray:
        with torch.inference_mode():
            found = torchdiffeq.odeint(
                lambda t, y: sigma(argument(case, *controls(t, torch.exp), y, matrix)),
                x,
                t,
                method="rk4",
                options={"step_size": 1.0 / case.steps},
            )
        return found[-1].numpy()

    return run, 4 * case.steps


def in_blocks(
    peer: Callable[[Case], tuple[Run, float] | None], case: Case
) -> tuple[Run, float] | None:
    """Return a peer for whole arrays, taking block after block of particles through all steps."""
    parts = np.split(case.x, len(case.x) // case.block(BLOCK))
    found = [peer(replace(case, x=part)) for part in parts]
    runs = [run for run, _ in filter(None, found)]
    first = found[0]
    return first and (lambda: np.concatenate([run() for run in runs]), first[1])


PEERS: dict[str, Callable[[Case], tuple[Run, float] | None]] = {
    "numpy": partial(in_blocks, by_numpy),
    "scipy": partial(in_blocks, by_scipy),
    "jax": by_jax,
    "diffrax": by_diffrax,
    "torch": partial(in_blocks, by_torch),
    "torchdiffeq": partial(in_blocks, by_torchdiffeq),
}


def measured(
    case: Case, peers: Sequence[str], repeats: int
) -> tuple[dict[str, harness.Times], np.ndarray]:
    """Return nanoseconds per particle, component and evaluation, and the limit, turn by turn."""
    runs = {OURS: ours(case)}
    for name in peers:
        if harness.peer(name) and (run := PEERS[name](case)):
            runs[name] = run
    expected = runs[OURS][0]()
    for name, (run, _) in runs.items():
        gap = float(np.abs(np.sort(np.asarray(run()), axis=0) - np.sort(expected, axis=0)).max())
        if gap > AGREE.get(name, 1e-12):
            raise SystemExit(f"{name} and {OURS} differ by {gap:.1e} for {case.name}")
    functions: dict[str, Callable[[], object]] = {name: run for name, (run, _) in runs.items()}
    found = harness.turns(functions | limits.loops(), repeats, time.process_time)
    work = {name: case.x.size * count for name, (_, count) in runs.items()}
    times = {name: harness.Times(1e9 * found[name].seconds / work[name]) for name in runs}
    return times, 1e9 * limits.least(found, *operations(case))


def operations(case: Case) -> tuple[float, int]:
    """Return how many operations and divisions a component and evaluation takes."""
    count, divisions = OPERATIONS[case.name]
    return count + RK4_OPERATIONS + (case.x.shape[1] - 1 if case.x.ndim > 1 else 0), divisions


def row(case: Case, peers: Sequence[str], repeats: int = harness.TURNS) -> list[str]:
    """Return a row: ours, ratios to the peers, to the best of them, and to the limit."""
    times, limit = measured(case, peers, repeats)
    mine = times[OURS]
    ratios = [
        harness.number(np.median(times[name].over(mine))) if name in times else "" for name in PEERS
    ]
    best = harness.best(times, OURS)
    return [
        harness.spread(mine.seconds),
        *ratios,
        harness.ratio(times[best], mine) if best else "",
        f"{100 * np.median(limit / mine.seconds):.0f} %",
    ]


FAST = ("numpy", "jax", "torch")
HEADER = [f"{OURS} [ns]", *PEERS, "the best of them", "of the limit"]

TEXT = """\
Particles taken through {steps} RK4 steps, everybody on one thread in float64: processor time per
particle (and component, for d > 1) and evaluation of σ(wx + b); then how many times longer others
take. Save in one table, each takes block after block of the particles through all steps, so that it
stays in cache, as ours does: JAX and diffrax {small} numbers (`lax.map`), the others {block}.
SciPy's RK45, diffrax's Tsit5 and torchdiffeq's RK4 step through the same times. The limit is
the time in which this processor makes as many fused multiply-adds on its widest vectors as the
formulas have operations of any kind ({operations}
for σ, and {rk4} around it and d − 1 more for d > 1), or its divisions (one in sigmoid and tanh)
where they alone take longer; both are measured in the same turns. Medians, and in brackets the
least and the largest, of {turns} turns; nothing stands where a peer is not installed or was
spared. Written by

    make bench-peers BENCH="--write docs/performance.md"

{machine}

d = 1, {many} particles:

{activations}

The same where the others take all particles through a step before the next, as one writes it first:

{at_once}

d = 1, tanh, by the number of particles M:

{sizes}

tanh in more dimensions, {several} particles:

{dimensions}

Two threads, each with {many} particles (tanh): {cores} times the work of one in the same time.
"""


def section(options: harness.Options) -> str:
    """Measure, and return the section."""
    warm()
    largest = 10**8 if options.full else 10**7
    sizes = [10**k for k in range(3, 9) if 10**k <= largest]
    dimensions = {2: MANY // 2, 8: MANY // 8}
    return TEXT.format(
        steps=STEPS,
        small=SMALL_BLOCK,
        block=BLOCK,
        operations=", ".join(f"{name} {count}" for name, (count, _) in OPERATIONS.items()),
        rk4=RK4_OPERATIONS,
        turns=harness.TURNS,
        machine=harness.machine(*list(PEERS)[1:]),
        many=MANY,
        several=", ".join(f"{m} (d = {d})" for d, m in dimensions.items()),
        activations=by_activation(blocks=True),
        at_once=by_activation(blocks=False),
        cores=harness.spread(two_cores()),
        sizes=harness.table(["M", *HEADER], *(sized(m, full=options.full) for m in sizes)),
        dimensions=harness.table(
            ["d", *HEADER],
            *([str(d), *row(case_of("tanh", m, d), FAST)] for d, m in dimensions.items()),
        ),
    )


def by_activation(*, blocks: bool) -> str:
    """Return the table of all activations, whose peers take blocks or all particles at once."""
    cases = (replace(case_of(name, MANY), blocks=blocks) for name in ACTIVATIONS)
    return harness.table(["σ", *HEADER], *([case.name, *row(case, FAST)] for case in cases))


def two_cores() -> np.ndarray:
    """Return how much more work two threads do than one, turn by turn; kernels hold no lock."""
    run, _ = ours(case_of("tanh", MANY))
    with ThreadPoolExecutor(2) as pool:
        both = lambda: list(pool.map(lambda _: run(), range(2)))  # noqa: E731
        times = harness.turns({"one": run, "two": both})
    return 2.0 * times["one"].over(times["two"])


def sized(particles: int, *, full: bool) -> list[str]:
    """Return a row of the table by M; peers are spared the largest arrays."""
    many = MANY * (10 if full else 1)
    peers = tuple(PEERS) if particles < MANY else FAST if particles <= many else ()
    turns = harness.TURNS if particles <= MANY else 3
    return [f"{particles:.0e}", *row(case_of("tanh", particles), peers, turns)]


if __name__ == "__main__":
    harness.run(__doc__, "Particles", section)
