"""Third-order CWENO reconstruction from cell averages.

With s_L = u_j - u_{j-1}, s_R = u_{j+1} - u_j, s_C = (s_L + s_R)/2, linear weights d_0 = 3/4,
d_1 = d_2 = 1/8 and c = (s_R - s_L)/(2 d_0), the smoothness indicators

    I = (s_C^2 + 13 c^2/3, s_L^2, s_R^2),   alpha_k = d_k/(eps + I_k)^2,   omega = alpha/sum(alpha)

give u(x_j +- dx/2) = u_j +- (omega_0 s_C + omega_1 s_L + omega_2 s_R)/2 + omega_0 c/6. With
eps = dx^2 the order is 3, at extrema too (L1); with smaller eps the overshoot at jumps falls and so
does the order.

References: D. Levy, G. Puppo, G. Russo, SIAM J. Sci. Comput. 22 (2000) 656-672; O. Kolb, SIAM J.
Numer. Anal. 52 (2014) 2335-2355 (the choice eps = dx^2).
"""

from solvers.arrays import FloatArray
from solvers.jit import kernel

D0 = 0.75
D1 = 0.125


@kernel
def cweno3(u: FloatArray, epsilon: float, left: FloatArray, right: FloatArray) -> None:
    """Reconstruct the values at the two faces of each cell.

    Args:
        u: Averages of n + 2 adjacent cells.
        epsilon: Regularisation of the weights.
        left: Values at the left faces of the n inner cells (output), shape (n,).
        right: Values at their right faces (output), shape (n,).
    """
    n = left.shape[0]
    before, here, after = u[:n], u[1 : n + 1], u[2 : n + 2]
    for i in range(n):
        sl = here[i] - before[i]
        sr = after[i] - here[i]
        sc = 0.5 * (sl + sr)
        c = (sr - sl) / (2.0 * D0)
        p0 = epsilon + (sc * sc + 13.0 / 3.0 * c * c)
        p1 = epsilon + sl * sl
        p2 = epsilon + sr * sr
        # alpha_k multiplied by (p0 p1 p2)^2: one division instead of four
        a0 = D0 * (p1 * p2) * (p1 * p2)
        a1 = D1 * (p0 * p2) * (p0 * p2)
        a2 = D1 * (p0 * p1) * (p0 * p1)
        scale = 1.0 / (a0 + a1 + a2)
        half = 0.5 * (a0 * sc + a1 * sl + a2 * sr) * scale
        bend = a0 * scale * c / 6.0
        left[i] = here[i] - half + bend
        right[i] = here[i] + half + bend
