"""Functions that differ between libraries: SciPy for NumPy, cupyx.scipy for CuPy, else plain fallbacks."""

import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias, cast

import array_api_compat
import numpy as np
import scipy.linalg
import scipy.special

from revgn.arrays.formula import Functions, Symbol
from revgn.arrays.fused import matmul
from revgn.arrays.namespace import array_namespace, backend_of, to_host
from revgn.arrays.pool import zeros
from revgn.arrays.typing import Array
from revgn.errors import BackendError

_NEGLIGIBLE = 1e-14  # relative size of an entry that is due to rounding

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


def cholesky(K: Array, *, overwrite: bool = False) -> Array | None:
    """Return the lower Cholesky factor L with L L^T = K; None if K is not positive definite.

    Only the lower triangle of K is read. With `overwrite`, K may be destroyed: the host then makes no copy.
    """
    begun = begin_cholesky(K, overwrite=overwrite)
    return begun[0] if begun is not None and bool(begun[1]) else None


def begin_cholesky(K: Array, *, overwrite: bool = False) -> tuple[Array, Array] | None:
    """Start `cholesky` without waiting for the device: return L, and whether it is a factor of K.

    The second result is a 0-d boolean array. If it is false, L is not a factor, although it may look like
    one: CuPy does not report the failure, since this would wait for the device. Return None if the library
    reports a failure at once.

    Notes
    -----
    Law: the squares of row i of L add up to K_ii, and L_ii > 0; if either does not hold, L is not a factor.
    """
    xp = array_namespace(K)
    if array_api_compat.is_numpy_array(K):
        try:  # K.T is Fortran-ordered, so LAPACK works in K's memory; its upper triangle is K's lower
            U = scipy.linalg.cholesky(K.T, lower=False, overwrite_a=overwrite, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        is_finite = xp.all(xp.isfinite(xp.linalg.diagonal(U)))  # LAPACK accepts NaN as positive
        return (U.T, is_finite) if is_finite else None
    if array_api_compat.is_cupy_array(K):
        import cupyx

        with cupyx.errstate(linalg="ignore"):
            L = xp.linalg.cholesky(K)
        diagonal = xp.linalg.diagonal(K)
        rows = xp.linalg.vector_norm(L, axis=1)
        misfit = xp.linalg.vector_norm(rows * rows / diagonal - 1.0)
        limit = (K.shape[0] * float(xp.finfo(K.dtype).eps)) ** 0.5  # sqrt(eps) in each row
        return L, (misfit <= limit) & xp.all(xp.linalg.diagonal(L) > 0)  # also True for order 0
    try:
        L = xp.linalg.cholesky(xp.tril(K) + xp.tril(K, k=-1).T)
    except np.linalg.LinAlgError:
        return None
    return L, xp.all(xp.isfinite(xp.linalg.diagonal(L)))


def cholesky_of_definite(K: Array) -> Array:
    """Return the lower Cholesky factor of a K that is positive definite, without waiting for the device.

    K may be destroyed. The factor is not checked; if K is not finite, it may hold any numbers.
    """
    if array_api_compat.is_cupy_array(K):
        import cupyx

        with cupyx.errstate(linalg="ignore"):
            L: Array = array_namespace(K).linalg.cholesky(K)
        return L
    begun = begin_cholesky(K, overwrite=True)
    return array_namespace(K).full_like(K, float("nan")) if begun is None else begun[0]


def cholesky_solve(L: Array, B: Array) -> Array:
    """Solve (L L^T) X = B for X (n, m), with L (n, n) lower triangular and B (n, m)."""
    if array_api_compat.is_numpy_array(L):
        upper: Any = L.T  # Fortran-ordered if `cholesky` made L, so nothing is copied
        if B.shape[1] == 1:  # LAPACK's routine is designed for many columns
            (trsv,) = scipy.linalg.get_blas_funcs(("trsv",), (upper,))
            found: Array = trsv(upper, trsv(upper, B[:, 0], trans=1))[:, None]
            return found
        X: Array = scipy.linalg.cho_solve((upper, False), cast(Any, B), check_finite=False)
        return X
    if array_api_compat.is_cupy_array(L):
        from cupyx.scipy.linalg import solve_triangular

        upper = L.T  # Fortran-ordered, so nothing is copied
        half = solve_triangular(upper, B, lower=False, trans="T")
        found = solve_triangular(upper, half, lower=False, overwrite_b=True)
        return found
    xp = array_namespace(L)
    return xp.linalg.solve(L.T, xp.linalg.solve(L, B))


def cholesky_product(L: Array, x: Array) -> Array:
    """Return L L^T x for x (n, 1), with L (n, n) lower triangular."""
    if array_api_compat.is_numpy_array(L):
        upper: Any = L.T
        (trmv,) = scipy.linalg.get_blas_funcs(("trmv",), (upper,))
        found: Array = trmv(upper, trmv(upper, x[:, 0]), trans=1)[:, None]
        return found
    return L @ (L.T @ x)


def subtract_product(S: Array, A: Array, B: Array) -> Array:
    """Return S - A B^T for contiguous S (n, m), A (n, k) and B (m, k), in the memory of S where possible.

    If B is A itself, the work is halved, and only the lower triangle of the result is defined.
    """
    if not array_api_compat.is_numpy_array(S):
        S -= A @ B.T
        return S
    upper: Any = S.T  # Fortran-ordered views, so nothing is copied
    if B is A:
        (syrk,) = scipy.linalg.get_blas_funcs(("syrk",), (upper,))
        found: Array = syrk(-1.0, A.T, trans=1, beta=1.0, c=upper, overwrite_c=1).T
        return found
    (gemm,) = scipy.linalg.get_blas_funcs(("gemm",), (upper,))
    found = gemm(-1.0, B.T, A.T, trans_a=1, beta=1.0, c=upper, overwrite_c=1).T
    return found


def lower_gram(A: Array) -> Array:
    """Return A A^T (n, n) for A (n, m); entries above the diagonal are undefined, but finite if A is."""
    if not array_api_compat.is_numpy_array(A) or 0 in A.shape:
        return matmul(A, A.T)
    (syrk,) = scipy.linalg.get_blas_funcs(("syrk",), (A,))
    out: Any = zeros((A.shape[0], A.shape[0]), A)  # arithmetic on random bits could warn
    lower: Array = syrk(1.0, A.T, trans=1, beta=0.0, c=out.T, overwrite_c=1).T
    return lower


def triangular_solve(L: Array, B: Array, *, transposed: bool = False, overwrite: bool = False) -> Array:
    """Return L^-1 B, or L^-T B if `transposed`, for L (n, n) lower triangular and B (n, m).

    With `overwrite`, B may be destroyed, which saves a copy on the host if B is Fortran-ordered.
    """
    if array_api_compat.is_numpy_array(L):
        upper: Any = L.T
        (trsm,) = scipy.linalg.get_blas_funcs(("trsm",), (upper,))
        found: Array = trsm(1.0, upper, B, trans_a=not transposed, overwrite_b=overwrite)
        return found
    if array_api_compat.is_cupy_array(L):
        from cupyx.scipy.linalg import solve_triangular

        found = solve_triangular(L.T, B, lower=False, trans="N" if transposed else "T")
        return found
    xp = array_namespace(L)
    return xp.linalg.solve(L.T if transposed else L, B)


def upper_product(R: Array, X: Array) -> Array:
    """Return R X for R (n, n) upper triangular and X (n, m), both stored row by row, in half the operations.

    The entries of R below the diagonal must be zero.
    """
    if not array_api_compat.is_numpy_array(R):
        return R @ X
    lower: Any = R.T  # Fortran-ordered views, so nothing but the result is copied
    (trmm,) = scipy.linalg.get_blas_funcs(("trmm",), (lower, X))
    found: Array = trmm(1.0, lower, X.T, side=1, lower=1).T
    return found


def product_upper(A: Array, R: Array) -> Array:
    """Return A R for A (m, n) and R (n, n) upper triangular; see `upper_product`."""
    if not array_api_compat.is_numpy_array(R):
        return A @ R
    lower: Any = R.T
    (trmm,) = scipy.linalg.get_blas_funcs(("trmm",), (lower, A))
    found: Array = trmm(1.0, lower, A.T, lower=1).T
    return found


def eigh(K: Array) -> tuple[Array, Array]:
    """Return the eigenvalues, in ascending order, and eigenvectors of a symmetric K.

    Only the lower triangle of K is read. All results are NaN if K is not finite, or if the iteration of the
    library does not converge. CuPy reports neither without a wait for the device, so its results are checked
    on the device: K Q x = Q diag(w) x and |Q x| = |x| must hold for a vector x.
    """
    xp = array_namespace(K)
    lower = xp.tril(K)
    symmetric = lower + xp.tril(K, k=-1).T
    if array_api_compat.is_cupy_array(K):
        return _checked_eigh(symmetric)
    if bool(xp.all(xp.isfinite(lower))):
        with suppress(np.linalg.LinAlgError):
            w, Q = xp.linalg.eigh(symmetric)
            return w, Q
    nan = xp.full_like(K, xp.nan)
    return nan[0, :], nan


def _checked_eigh(K: Array) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors of a CuPy array K without a wait; NaN where they are wrong."""
    import cupyx

    xp, order = array_namespace(K), K.shape[0]
    is_finite = xp.all(xp.isfinite(K))
    K = xp.where(is_finite, K, xp.zeros_like(K))  # the library may not return for others
    with cupyx.errstate(linalg="ignore"):
        w, Q = xp.linalg.eigh(K)
    largest = xp.max(xp.abs(w)) if order else xp.zeros((), dtype=K.dtype)
    x, limit = xp.sin(xp.arange(1, order + 1, dtype=K.dtype)), 10.0 * order * float(xp.finfo(K.dtype).eps)
    Qx, of_x = Q @ x, xp.linalg.vector_norm(x)
    is_right = xp.all(xp.abs(K @ Qx - Q @ (w * x)) <= limit * largest)
    is_right &= is_finite & (xp.abs(xp.linalg.vector_norm(Qx) - of_x) <= limit * of_x)
    nothing = xp.where(is_right, xp.zeros_like(largest), xp.full_like(largest, xp.nan))
    return w + nothing, Q + nothing


def largest_tridiagonal(diagonal: Floats, beside: Floats) -> tuple[float, float]:
    """Return the largest eigenvalue theta of a small symmetric tridiagonal T (k, k), and its residual.

    `diagonal` holds the k diagonal entries of T, and `beside` the k - 1 entries next to the diagonal,
    followed by a number beta that is not part of T; both are NumPy arrays. The residual is beta |s_k|, with s
    the eigenvector of theta. An entry of `beside` at rounding level ends the matrix there. Both results are
    NaN if a number is not finite.
    """
    ends = np.flatnonzero(~(beside > _NEGLIGIBLE * np.maximum.accumulate(np.abs(diagonal))))
    size = int(ends[0]) + 1 if ends.size else diagonal.size
    if not (np.isfinite(diagonal[:size]).all() and np.isfinite(beside[: size - 1]).all()):
        return float("nan"), float("nan")
    values, vectors = scipy.linalg.eigh_tridiagonal(
        diagonal[:size], beside[: size - 1], select="i", select_range=(size - 1, size - 1)
    )
    return float(values[0]), float(beside[size - 1] * abs(vectors[-1, 0]))


def root_of_squares(X: Array) -> Array:
    """Frobenius norm |X| as a 0-d array, with NumPy computed in double precision.

    With other libraries, it is 0 or infinity if the squares leave the range of the dtype.
    """
    if array_api_compat.is_numpy_array(X):
        root: Array = np.sqrt(np.sum(np.square(X, dtype=np.float64)))
        return root
    return array_namespace(X).linalg.vector_norm(X)


def linear_operator(
    shape: tuple[int, int], like: Array, matvec: Callable[[Array], Array], rmatvec: Callable[[Array], Array]
) -> Any:
    """Create a linear operator of scipy.sparse.linalg or, for CuPy, of cupyx.scipy.sparse.linalg.

    Raises
    ------
    BackendError
        If the library has no linear operators.
    """
    if array_api_compat.is_numpy_array(like):
        module = "scipy.sparse.linalg"
    elif array_api_compat.is_cupy_array(like):
        module = "cupyx.scipy.sparse.linalg"
    else:
        raise BackendError(f"linear_operator: {array_namespace(like).__name__} has no linear operators")

    def flat(apply: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda x: apply(array_namespace(x).reshape(x, (-1,)))  # solvers also pass columns

    operator = importlib.import_module(module).LinearOperator
    return operator(shape, matvec=flat(matvec), rmatvec=flat(rmatvec), dtype=like.dtype)


def erf(x: Array) -> Array:
    """Return the error function of each element."""
    if array_api_compat.is_numpy_array(x):
        y: Array = scipy.special.erf(x)
        return y
    if array_api_compat.is_cupy_array(x):
        import cupyx.scipy.special

        found: Array = cupyx.scipy.special.erf(x)
        return found
    if isinstance(x, Symbol):
        return Functions.erf(x)
    return backend_of(x).asarray(scipy.special.erf(to_host(x)))


def unwarned() -> np.errstate:
    """Context that suppresses NumPy's warnings of overflow and NaN, for code that checks its results."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
