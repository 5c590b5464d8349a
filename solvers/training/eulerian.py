"""The Eulerian discretisation, as published: (19a) forward and (19b) backward by finite volumes.

    f_t + (sigma(w x + b) f)_x = 0,     f(0, .) = f_0
    p_t + (sigma(w x + b) p)_x = 0,     p(T, .) = d/dx of the first variation of the loss at f_T

with the same kernel (CWENO3, local Lax-Friedrichs, SSP-RK3); p = lambda_{T-t} runs back in time
with velocity -sigma, and ghost cells that extrapolate linearly because its data do not vanish at
the boundary. The gradient of the loss, (19c), (19d), is

    int p sigma'(w x + b) f dx  by b(t),     int p sigma'(w x + b) x f dx  by w(t)

at the nodes of the controls' grid, by the midpoint rule with the values at the cell centres that
the averages imply to fourth order, so its error is that of the scheme on smooth data. It is the
gradient of the continuous problem, not of the discrete cost: the two differ by the error of the
scheme, and a method that relies on their agreement (L-BFGS) stalls at that level. Intervals that
violate the CFL condition are divided; the published runs keep the step fixed, and p then blows up
outside the support of f.

Controls under which the flow takes more than 1e-10 of f_0 out of the domain are an error
(:class:`MassLostError`), which is decided by the trajectories of the quantiles at that level; the
boundaries are closed.
"""

import numpy as np

from solvers.activations import both, slopes
from solvers.arrays import FloatArray, IntArray, Poll
from solvers.distributions import Distribution
from solvers.errors import InputError, MassLostError, NonFiniteError
from solvers.finite_volumes import CLOSED, LINEAR, advance, work_space
from solvers.jit import bare_kernel
from solvers.ssprk3 import second, third
from solvers.substeps import CflCondition
from solvers.training.checks import positive
from solvers.training.discretization import Discretization, line_controls
from solvers.training.problem import TrainingProblem
from solvers.training.sums import dot, total
from solvers.transport import CFL, MASS_TOLERANCE, averages_on, cell_edges
from solvers.wasserstein import Measure, PiecewiseLinearCdf

BACKWARD_STAGES = [1, 0, 2]  # the stages t, t + h, t + h/2 of a step backwards
MOST_SUBSTEPS = 10**4
POLL_WORK = 10**6  # cells times substeps between two polls: about a tenth of a second
SLACK = 1e-9
BISECTIONS = 40
WIDER = 0.75


class EulerianDiscretization(Discretization):
    """Finite volumes.

    Attributes:
        edges: Faces of the cells, shape (N + 1,).
    """

    def __init__(
        self,
        problem: TrainingProblem,
        intervals: int,
        domain: tuple[float, float],
        cells: int,
        cfl: float = CFL,
        epsilon: float | None = None,
    ) -> None:
        """Make the cells and bind the loss to them.

        Args:
            problem: The problem; its initial law is one on the line.
            intervals: Intervals of the controls' time grid.
            domain: The interval Omega.
            cells: The number N of cells.
            cfl: Bound on h max|sigma| / dx.
            epsilon: Regularisation of the CWENO weights; dx^2 by default.

        Raises:
            InputError: if an argument is not valid or the loss needs particles.
            MassLostError: if more than 1e-10 of the initial law lies outside the domain.
        """
        super().__init__(problem, intervals)
        if not isinstance(problem.initial, Distribution):
            raise InputError("the eulerian discretization needs an initial law on the line")
        self.edges = cell_edges(domain, cells)
        self._centres = 0.5 * (self.edges[:-1] + self.edges[1:])
        self._dx = float(self.edges[-1] - self.edges[0]) / cells
        self._epsilon = self._dx**2 if epsilon is None else epsilon
        positive("cfl", cfl)
        positive("epsilon", self._epsilon)
        self._terminal = problem.loss.on_grid(self.edges)
        self._condition = CflCondition(problem.activation, self.edges, self._dx, cfl, MOST_SUBSTEPS)
        self._law = problem.initial
        self._support = self._law.support(MASS_TOLERANCE)
        self._work, self._averages = work_space(), np.zeros(cells + 4)
        self._outflow = np.zeros(2)  # of closed boundaries: no mass, and not used
        self._density = np.empty((intervals + 1, cells))
        self._adjoint = np.empty((intervals + 1, cells))
        self._density[0] = averages_on(problem.initial, None, self.edges)
        self._pull = np.empty(cells)

    def _forward(self, u: FloatArray, poll: Poll | None, gradient: bool) -> float:  # noqa: ARG002
        self._table(u)
        self._check_flow()
        self._sweep(self._density, 1.0, CLOSED, self._first, self._h, self._w, self._b, poll)
        if not np.isfinite(self._density[-1]).all():
            raise NonFiniteError("a cell average of the density is not finite at the final time")
        cost, self._pull = self._terminal(self._density[-1])
        return cost

    def _backward(self, u: FloatArray, poll: Poll | None) -> FloatArray:
        h = self._h[::-1].copy()
        w, b = (part[::-1].take(BACKWARD_STAGES, axis=1) for part in (self._w, self._b))
        first = self._first[-1] - self._first[::-1]
        self._adjoint[0] = self._pull
        self._sweep(self._adjoint, -1.0, LINEAR, first, h, w, b, poll)
        gradient = np.empty_like(u)
        code, space = self.problem.activation.code, self._averages
        reduced_gradient(
            self._density, self._adjoint, code, u, self._centres, self._dx, space, gradient
        )
        return gradient

    def _summary(
        self,
        u: FloatArray,  # noqa: ARG002
        poll: Poll | None,  # noqa: ARG002
    ) -> tuple[FloatArray, FloatArray, Measure | None]:
        """Return the moments of the cell averages, by the midpoint rule, and the law."""
        mass = self._dx * self._density[-1]
        mean = float(self._centres @ mass)
        variance = float((self._centres - mean) ** 2 @ mass)
        lost = abs(mass.sum() - 1.0) > MASS_TOLERANCE  # a little that steps out of the domain
        density = self._density[-1] / mass.sum() if lost else self._density[-1]
        law = PiecewiseLinearCdf(self.edges, density)
        return np.array([mean]), np.array([variance]), law

    def _table(self, u: FloatArray) -> None:
        """Divide the intervals into substeps and tabulate the controls at their stages."""
        parts = list(self._condition.divide(line_controls(self.grid, u), self.grid.times))
        counts = np.concatenate([part.counts for part in parts])
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._h = np.concatenate([np.diff(part.ends) for part in parts])
        self._w = np.concatenate([part.w for part in parts])
        self._b = np.concatenate([part.b for part in parts])

    def _check_flow(self) -> None:
        """Require that the flow keeps the support, up to 1e-10 on each side, in the domain.

        Raises:
            MassLostError: if it does not; it names the mass that leaves.
        """
        ends = self._support
        for side, boundary in enumerate(("left", "right")):
            if not self._leaves(ends[side], side):
                continue
            inside, outside = ends[1 - side], ends[side]
            for _ in range(BISECTIONS):
                middle = 0.5 * (inside + outside)
                if self._leaves(middle, side):
                    outside = middle
                else:
                    inside = middle
            amount = float((self._law.sf if side else self._law.cdf)(outside))
            raise MassLostError(
                boundary,
                amount,
                f"the flow takes mass {amount:.3g} out of the domain [{self.edges[0]:.6g},"
                f" {self.edges[-1]:.6g}] through its {boundary} boundary",
            )

    def _leaves(self, start: float, side: int) -> bool:
        """Return whether a trajectory crosses the left (0) or right (1) boundary."""
        code = self.problem.activation.code
        low, high = excursion(start, code, self._h, self._w, self._b)
        slack = SLACK * float(self.edges[-1] - self.edges[0])
        if side == 0:
            return not low >= self.edges[0] - slack
        return not high <= self.edges[-1] + slack

    def _sweep(
        self,
        states: FloatArray,
        sign: float,
        ghosts: int,
        first: IntArray,
        h: FloatArray,
        w: FloatArray,
        b: FloatArray,
        poll: Poll | None,
    ) -> None:
        """Fill the states at all nodes from that at the first, some intervals between polls."""
        limit = max(1, POLL_WORK // self._centres.size)
        start, intervals = 0, self.grid.intervals
        while start < intervals:
            if poll is not None:
                poll()
            stop = int(np.searchsorted(first, first[start] + limit, side="right")) - 1
            stop = max(start + 1, stop)
            sweep(
                states, start, stop, self.problem.activation.code, sign, ghosts, self.edges, first,
                h, w, b, self._dx, self._epsilon, self._work, self._averages, self._outflow,
            )  # fmt: skip
            start = stop


@bare_kernel
def sweep(
    states: FloatArray,
    start: int,
    stop: int,
    code: int,
    sign: float,
    ghosts: int,
    faces: FloatArray,
    first: IntArray,
    h: FloatArray,
    w: FloatArray,
    b: FloatArray,
    dx: float,
    epsilon: float,
    work: FloatArray,
    u: FloatArray,
    outflow: FloatArray,
) -> None:
    """Take cell averages through some intervals and keep them at their ends.

    Args:
        states: Averages at the nodes, shape (n + 1, N); rows start + 1 ... stop are written.
        start: The first interval.
        stop: One more than the last.
        code: Code of the activation.
        sign: 1 for the mean-field equation, -1 for the adjoint.
        ghosts: CLOSED or LINEAR.
        faces: Positions of the faces, shape (N + 1,).
        first: The first substep of each interval, then their number, shape (n + 1,).
        h: Lengths of the substeps.
        w: Control w at their stages, shape (substeps, 3).
        b: Control b likewise.
        dx: Cell width.
        epsilon: Regularisation of the CWENO weights.
        work: Work space of :func:`solvers.finite_volumes.work_space`.
        u: Work space, shape (N + 4,).
        outflow: What :func:`advance` counts, shape (2,).
    """
    cells = faces.shape[0] - 1
    for i in range(cells):
        u[i + 2] = states[start, i]
    for k in range(start, stop):
        low, high = first[k], first[k + 1]
        advance(
            u, code, sign, ghosts, faces, h[low:high], w[low:high], b[low:high], dx, epsilon, work,
            outflow,
        )  # fmt: skip
        for i in range(cells):
            states[k + 1, i] = u[i + 2]


@bare_kernel
def reduced_gradient(
    density: FloatArray,
    adjoint: FloatArray,
    code: int,
    controls: FloatArray,
    centres: FloatArray,
    dx: float,
    space: FloatArray,
    out: FloatArray,
) -> None:
    """Write int p sigma'(w x + b) x f dx and int p sigma'(w x + b) f dx at all nodes.

    Args:
        density: Averages of f at the nodes, shape (n + 1, N).
        adjoint: Averages of p, the last node first, shape (n + 1, N).
        code: Code of the activation.
        controls: w and b at the nodes, shape (n + 1, 2).
        centres: Centres of the cells, shape (N,).
        dx: Cell width.
        space: Work space of at least N numbers.
        out: The two integrals (output), shape (n + 1, 2).
    """
    nodes, cells = density.shape
    product = space[:cells]
    for k in range(nodes):
        slopes(code, controls[k, 0], controls[k, 1], centres, product)
        f, p = density[k], adjoint[nodes - 1 - k]
        for i in range(1, cells - 1):
            at_p = p[i] - (p[i + 1] - 2.0 * p[i] + p[i - 1]) / 24.0
            at_f = f[i] - (f[i + 1] - 2.0 * f[i] + f[i - 1]) / 24.0
            product[i] = product[i] * at_p * at_f
        for i in (0, cells - 1):
            product[i] = product[i] * p[i] * f[i]
        out[k, 0] = dx * dot(product, centres)
        out[k, 1] = dx * total(product)


@bare_kernel
def excursion(
    x: float, code: int, h: FloatArray, w: FloatArray, b: FloatArray
) -> tuple[float, float]:
    """Return the lowest and the highest point of a trajectory, by SSP-RK3.

    Args:
        x: Where it starts.
        code: Code of the activation.
        h: Lengths of the steps, shape (n,).
        w: Control w at t, t + h, t + h/2, shape (n, 3).
        b: Control b likewise.
    """
    low = high = x
    for j in range(h.shape[0]):
        y = x + h[j] * both(code, w[j, 0] * x + b[j, 0])[0]
        y = second(x, y + h[j] * both(code, w[j, 1] * y + b[j, 1])[0])
        x = third(x, y + h[j] * both(code, w[j, 2] * y + b[j, 2])[0])
        low, high = min(low, x), max(high, x)
    return low, high


def hull_domain(initial: Distribution, target: Distribution) -> tuple[float, float]:
    """Return a domain for training where none is given: the controls are not known beforehand.

    It is the hull of the supports of both laws (of all but 1e-10 on each side where they are
    unbounded), with three quarters of its width more on each side.
    """
    ends = [law.support(MASS_TOLERANCE) for law in (initial, target)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    margin = WIDER * (high - low)
    return low - margin, high + margin
