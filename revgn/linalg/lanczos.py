"""The largest eigenvalue of a symmetric positive semidefinite map, from products with it (Lanczos).

    K V = V T + beta v e^T        V (N, k) orthonormal, T (k, k) tridiagonal

The largest eigenvalue theta of T, with eigenvector s, is a lower bound of that of K, and an eigenvalue of K
lies within beta |s_k| of it. All vectors are double and orthogonalized against all before, so that close
eigenvalues are told apart. Source: Golub and Van Loan, Matrix Computations, sections 10.1 and 10.3.
"""

from collections.abc import Callable

from revgn.arrays import Array, array_namespace, largest_tridiagonal
from revgn.linalg.gram import as_dtype

_FEW = 5  # steps before the first look at the error


def largest_eigenvalue(apply: Callable[[Array], Array], order: int, like: Array, rtol: float) -> float:
    """Return the largest eigenvalue, from below.

    Parameters
    ----------
    apply : callable
        x (N, 1) in the dtype of `like` to K x.
    order : int
        N.
    rtol : float
        The relative error allowed.

    Notes
    -----
    Law: equal arguments give equal bits; NaN where a product is not finite.
    Cost: k products and 4 N k^2 operations; a wait for the device at k = 5 and each time that k has grown by
    a quarter. For 1e-6, k is 5 to 10 where one eigenvalue stands out (features whose mean is not zero), about
    8 N^(1/3) for random matrices, and N at most.
    """
    xp = array_namespace(like)
    # A chirp is as unlike any given vector as a random one, but the same everywhere.
    q = xp.sin(1.7 * xp.arange(1, order + 1, dtype=xp.float64, device=like.device) ** 2)[:, None]
    q = q / xp.sqrt(xp.sum(q * q))
    basis = q.T
    diagonal, beside, check = [], [], min(_FEW, order)
    while True:
        v = as_dtype(apply(as_dtype(q, like.dtype)), xp.float64)
        diagonal.append(xp.sum(q * v))
        for _ in range(2):
            v = v - basis.T @ (basis @ v)
        beta = xp.sqrt(xp.sum(v * v))
        beside.append(beta)
        if len(diagonal) == check:
            found, error = largest_tridiagonal(diagonal, beside)
            if check == order or not error > rtol * found:
                return found
            check = min(check + max(1, check // 4), order)
        q = v / xp.where(beta > 0, beta, xp.ones_like(beta))
        basis = xp.concat((basis, q.T), axis=0)
