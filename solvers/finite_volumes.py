"""The kernel of the finite-volume scheme: CWENO3, local Lax-Friedrichs, SSP-RK3.

It advances u_t + (s sigma(w(t) x + b(t)) u)_x = 0 through a table of substeps; s = 1 is the
mean-field equation, s = -1 the adjoint. Ghost cells are empty (mode OPEN: nothing enters, what
reaches the boundary leaves; mode CLOSED: nothing leaves either) or extrapolate linearly (mode
LINEAR: for the adjoint, whose data do not vanish at the boundary). The limiter is that of Zhang and
Shu, or none.
"""

from solvers.activations import velocity
from solvers.arrays import FloatArray
from solvers.cweno3 import cweno3
from solvers.jit import kernel
from solvers.llf import llf
from solvers.ssprk3 import second, third
from solvers.zhang_shu import zhang_shu

OPEN, CLOSED, LINEAR = 0, 1, 2
NONE, POSITIVITY = 0, 4
WORK_ROWS = 6


@kernel
def _rates(
    u: FloatArray,
    code: int,
    sign: float,
    ghosts: int,
    faces: FloatArray,
    w: float,
    b: float,
    dx: float,
    epsilon: float,
    limiter: int,
    work: FloatArray,
) -> tuple[float, float]:
    """Write -(F_{j+1/2} - F_{j-1/2})/dx into work[0, :N] and return the boundary fluxes.

    In mode CLOSED these are what the fluxes would be, before they are set to zero. `u` has two
    ghost cells on each side; they are filled here.
    """
    n = faces.shape[0] - 1
    if ghosts == LINEAR:
        u[1] = 2.0 * u[2] - u[3]
        u[0] = 3.0 * u[2] - 2.0 * u[3]
        u[n + 2] = 2.0 * u[n + 1] - u[n]
        u[n + 3] = 3.0 * u[n + 1] - 2.0 * u[n]
    else:
        u[0] = u[1] = u[n + 2] = u[n + 3] = 0.0
    left, right = work[1, : n + 2], work[2, : n + 2]  # faces of cells -1 ... N
    cweno3(u, epsilon, left, right)
    if limiter == POSITIVITY:
        zhang_shu(u[1 : n + 3], left, right)
    if ghosts != LINEAR:
        right[0] = 0.0
        left[n + 1] = 0.0
    v = work[3, : n + 1]
    velocity(code, w, b, faces, v)
    flux = work[4, : n + 1]
    plus = left[1:]
    for i in range(n + 1):
        flux[i] = llf(sign * v[i], right[i], plus[i])
    first, last = flux[0], flux[n]
    if ghosts == CLOSED:
        flux[0] = 0.0
        flux[n] = 0.0
    rate = work[0, :n]
    ahead = flux[1:]
    for i in range(n):
        rate[i] = (flux[i] - ahead[i]) / dx
    return first, last


@kernel
def advance(
    u: FloatArray,
    code: int,
    sign: float,
    mode: int,
    faces: FloatArray,
    h: FloatArray,
    w: FloatArray,
    b: FloatArray,
    dx: float,
    epsilon: float,
    work: FloatArray,
    left_flux: FloatArray,
) -> None:
    """Take the cell averages through all substeps.

    Args:
        u: Averages with two ghost cells on each side, shape (N + 4,); changed in place.
        code: Code of the activation.
        sign: 1 for the mean-field equation, -1 for the adjoint.
        mode: OPEN, CLOSED or LINEAR, plus NONE or POSITIVITY. (One number, so that the kernels that
            call this one all use one compiled version of it.)
        faces: Positions of the faces, shape (N + 1,).
        h: Lengths of the substeps, shape (n,).
        w: Control w at t, t + h, t + h/2, shape (n, 3).
        b: Control b likewise.
        dx: Cell width.
        epsilon: Regularisation of the CWENO weights.
        work: Work space, shape (WORK_ROWS, N + 4).
        left_flux: What left through the left and right boundary is added here, shape (2,); in mode
            CLOSED the fluxes that would have flowed there, which are no mass.
    """
    ghosts, limiter = mode & 3, mode & POSITIVITY
    cells = faces.shape[0] - 1
    inner = u[2 : cells + 2]
    rate = work[0, :cells]
    stage = work[5, : cells + 4]
    new = stage[2 : cells + 2]
    for j in range(h.shape[0]):
        step = h[j]
        l1, r1 = _rates(u, code, sign, ghosts, faces, w[j, 0], b[j, 0], dx, epsilon, limiter, work)
        for i in range(cells):
            new[i] = inner[i] + step * rate[i]
        l2, r2 = _rates(
            stage, code, sign, ghosts, faces, w[j, 1], b[j, 1], dx, epsilon, limiter, work
        )
        for i in range(cells):
            new[i] = second(inner[i], new[i] + step * rate[i])
        l3, r3 = _rates(
            stage, code, sign, ghosts, faces, w[j, 2], b[j, 2], dx, epsilon, limiter, work
        )
        for i in range(cells):
            inner[i] = third(inner[i], new[i] + step * rate[i])
        left_flux[0] -= step * (l1 + l2 + 4.0 * l3) / 6.0
        left_flux[1] += step * (r1 + r2 + 4.0 * r3) / 6.0
