"""The local Lax-Friedrichs flux with the speed at the face.

    F = (v (u_minus + u_plus) - |v| (u_plus - u_minus)) / 2,   v = velocity at the face

For the linear flux v(x) u this is upwinding, v u_minus for v > 0 and v u_plus for v < 0, and is
evaluated so: one product of one state, chosen without a branch.

Reference: V. V. Rusanov, USSR Comput. Math. Math. Phys. 1 (1962) 304-320.
"""

from solvers.jit import inlined


@inlined
def llf(v: float, u_minus: float, u_plus: float) -> float:
    """Return the flux; `u_minus` and `u_plus` are the states left and right of the face."""
    return v * (u_minus if v > 0.0 else u_plus)
