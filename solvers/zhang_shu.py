"""The positivity limiter of Zhang and Shu for the third-order reconstruction.

In each cell the reconstructed parabola p is scaled towards its average u,

    p~ = u + theta (p - u),    theta = min(1, u/(u - min p)),

the minimum taken over the three Gauss-Lobatto points: the faces and the centre, whose weights are
1/6, 2/3, 1/6. The value at the centre follows from the average, (6 u - p_left - p_right)/4, so the
faces are all that is needed. An Euler step with upwind fluxes of p~ is then a sum of values that
are not negative as long as h max|v|/dx <= 1/6, hence so is each average after a step of SSP-RK3
under this condition. The average is kept, and so is the order on smooth data. An average that
rounding made negative gives nothing: its faces are set to 0.

References: X. Zhang, C.-W. Shu, J. Comput. Phys. 229 (2010) 3091-3120; X. Zhang, Y. Xia, C.-W. Shu,
J. Sci. Comput. 50 (2012) 29-62 (the value inside from the average).
"""

from solvers.arrays import FloatArray
from solvers.jit import bare_kernel

CFL = 1.0 / 6.0


@bare_kernel
def zhang_shu(u: FloatArray, left: FloatArray, right: FloatArray) -> None:
    """Scale the values at the two faces of each cell.

    Args:
        u: Averages of n cells.
        left: Values at their left faces, shape (n,); changed in place.
        right: Values at their right faces, shape (n,); changed in place.
    """
    for i in range(left.shape[0]):  # chosen, not branched, so that the loop vectorises
        mean, p, q = u[i], left[i], right[i]
        low = min(min(p, q), 0.25 * (6.0 * mean - p - q))
        theta = mean / (mean - low)
        limited = low < 0.0
        p = max(mean + theta * (p - mean), 0.0) if limited else p
        q = max(mean + theta * (q - mean), 0.0) if limited else q
        left[i] = 0.0 if mean <= 0.0 else p
        right[i] = 0.0 if mean <= 0.0 else q
