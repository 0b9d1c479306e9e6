"""Largest eigenvalue of a symmetric positive semidefinite matrix K, by the Lanczos method.

    K V = V T + beta v e^T        V (N, k) orthonormal, T (k, k) tridiagonal

V holds the k Lanczos vectors, v is the next one, and e is the last unit vector. The largest eigenvalue theta
of T, with eigenvector s, is a lower bound of the largest eigenvalue of K, and an eigenvalue of K lies within
beta |s_k| of theta. The vectors are in double precision, and each is orthogonalized against all before it, so
that close eigenvalues are separated. Source: Golub and Van Loan, Matrix Computations, sections 10.1 and 10.3.
"""

from collections.abc import Callable

from revgn.arrays import Array, Deferred, Floats, array_namespace, largest_tridiagonal, read, unwarned
from revgn.linalg.gram import as_dtype

_FEW = 8  # steps before the error is first checked


def largest_eigenvalue(apply: Callable[[Array], Array], order: int, like: Array, rtol: float) -> float:
    """Return the largest eigenvalue of K, from below.

    Parameters
    ----------
    apply : callable
        Function that returns K x for x (N, 1) in the dtype of `like`.
    order : int
        Order N of K.
    rtol : float
        Largest relative error.

    Notes
    -----
    Law: equal arguments give bitwise equal results; NaN if a product is not finite.
    Cost: k products and 4 N k^2 operations; one wait for the device at k = 8 and one each time that k has
    grown by a quarter. For rtol = 1e-6, k is 8 to 10 if one eigenvalue is much larger than the others
    (features whose mean is not zero), about 8 N^(1/3) for random matrices, and N at most.
    """
    return read(begin_largest_eigenvalue(apply, order, like, rtol))


def begin_largest_eigenvalue(
    apply: Callable[[Array], Array], order: int, like: Array, rtol: float
) -> Deferred[float]:
    """Start `largest_eigenvalue` without waiting for the device, so that many can be read in rounds."""
    xp = array_namespace(like)
    v = start_vector(order, like)  # the next Lanczos vector, before it is scaled to length 1
    length, basis = xp.linalg.vector_norm(v), v.T[:0, :]
    diagonal: list[Array] = []
    beside: list[Array] = []

    @unwarned()  # vectors after one at rounding level may not be finite, and are not used
    def until(check: int) -> Deferred[float]:
        nonlocal v, length, basis
        while len(diagonal) < check:
            q = v / length
            basis = xp.concat((basis, q.T), axis=0)
            v = as_dtype(apply(as_dtype(q, like.dtype)), xp.float64)
            along = basis @ v
            diagonal.append(along[-1, 0])
            v = v - basis.T @ along
            v = v - basis.T @ (basis @ v)
            length = xp.linalg.vector_norm(v)
            beside.append(length)

        def judged(alpha: Floats, beta: Floats) -> float | Deferred[float]:
            found, error = largest_tridiagonal(alpha, beta)
            if check == order or not error > rtol * found:
                return found
            return until(min(check + max(1, check // 4), order))

        return Deferred((xp.stack(diagonal), xp.stack(beside)), judged)

    return until(min(_FEW, order))


def start_vector(order: int, like: Array) -> Array:
    """Return a chirp (N, 1) in double precision: unrelated to K like a random vector, but always the same."""
    xp = array_namespace(like)
    return xp.sin(1.7 * xp.arange(1, order + 1, dtype=xp.float64, device=like.device) ** 2)[:, None]
