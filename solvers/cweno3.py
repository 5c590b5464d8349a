"""Third-order CWENO reconstruction from cell averages.

With s_L = u_j - u_{j-1}, s_R = u_{j+1} - u_j, s_C = (s_L + s_R)/2, linear weights d_0 = 3/4,
d_1 = d_2 = 1/8 and c = (s_R - s_L)/(2 d_0), the smoothness indicators

    I = (s_C^2 + 13 c^2/3, s_L^2, s_R^2),   alpha_k = d_k/(eps + I_k)^2,   omega = alpha/sum(alpha)

give u(x_j +- dx/2) = u_j +- (omega_0 s_C + omega_1 s_L + omega_2 s_R)/2 + omega_0 c/6. With
eps = dx^2 the order is 3, at extrema too (L1); with smaller eps the overshoot at jumps falls and so
does the order.

The kernel needs one division and 25 other operations for a cell, where the formulas as they stand
need six divisions. Only ratios of the alpha_k count, so all are multiplied by the squares of their
denominators p_k = eps + I_k. As the omega_k add up to 1, with d = s_R - s_L

    omega_0 s_C + omega_1 s_L + omega_2 s_R = s_C + (omega_2 - omega_1) d/2,

and since 4 s_C^2 = 2 s_L^2 + 2 s_R^2 - d^2, p_0 = (p_1 + p_2)/2 + (181/108) d^2: a sum of positive
terms, nothing cancels. With p_0 taken times z = 27/181, m = (p_1 p_2)^2, t = p_0^2 (p_2^2 - p_1^2)
and g = (d/4)/(6 z^2 m + p_0^2 (p_1^2 + p_2^2)), the values at the faces are
u_j -+ (s_L + s_R)/4 + g ((8/3) z^2 m +- t).

References: D. Levy, G. Puppo, G. Russo, SIAM J. Sci. Comput. 22 (2000) 656-672; O. Kolb, SIAM J.
Numer. Anal. 52 (2014) 2335-2355 (the choice eps = dx^2).
"""

from solvers.arrays import FloatArray
from solvers.jit import bare_kernel, fma

SCALE = 27.0 / 181.0


@bare_kernel
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
        s = sr + sl
        d = sr - sl
        quarter = 0.25 * d
        p1 = fma(sl, sl, epsilon)
        p2 = fma(sr, sr, epsilon)
        p0 = fma(quarter, d, 0.5 * SCALE * (p1 + p2))
        q0, q1, q2 = p0 * p0, p1 * p1, p2 * p2
        m = q1 * q2
        t = q0 * (q2 - q1)
        g = quarter / fma(6.0 * SCALE**2, m, q0 * (q1 + q2))
        left[i] = fma(g, fma(8.0 / 3.0 * SCALE**2, m, t), fma(-0.25, s, here[i]))
        right[i] = fma(g, fma(8.0 / 3.0 * SCALE**2, m, -t), fma(0.25, s, here[i]))
