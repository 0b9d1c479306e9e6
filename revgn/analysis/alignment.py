"""Similarity of two kernels, or of two representations of the same samples.

Kernel alignment (Cristianini et al. 2001)   <K, L> / (|K| |L|)
Linear CKA (Kornblith et al. 2019)           HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K = X X^T, L = Y Y^T

The biased estimate of HSIC, tr(K H L H) / (n-1)^2 with H = I - 1 1^T / n, is far from 0 for independent data
with many features. The unbiased estimate (Song et al. 2012, equation 5) is 0 on average for such data:

    1 / (n (n-3)) [ tr(K L) + (1^T K 1) (1^T L 1) / ((n-1)(n-2)) - 2 / (n-2) 1^T K L 1 ]

with the diagonals of K and L set to 0. A common offset of all samples changes neither estimate, but it would
reduce the precision. Columns are therefore centered first, and sums are computed in double precision.
"""

from typing import Literal, get_args

from revgn.arrays import Array, array_namespace, inner
from revgn.errors import ShapeError, UsageError
from revgn.linalg import as_dtype, gram_rows

Estimator = Literal["unbiased", "biased"]

_FEWEST = 4  # smallest number of samples for which the unbiased estimate exists


def kernel_alignment(K: Array, L: Array) -> float:
    """Return <K, L> / (|K| |L|), the cosine between two kernels; 1 if they are proportional.

    Parameters
    ----------
    K, L : (N, N)

    Raises
    ------
    ShapeError
        If they are not square, or differ in shape.
    """
    _check_kernels(K, L)
    xp = array_namespace(K, L)
    K, L = (M / xp.max(xp.abs(M)) for M in (K, L))  # so that squares stay within the range of the dtype
    return float(xp.sum(K * L) / (xp.sqrt(xp.sum(K * K)) * xp.sqrt(xp.sum(L * L))))


def cka(X: Array, Y: Array, estimator: Estimator = "unbiased") -> float:
    """Return the linear centered kernel alignment of two representations of the same samples.

    Parameters
    ----------
    X, Y : (n, p), (n, q)
        One row per sample, at least four.
    estimator : {"unbiased", "biased"}
        The unbiased estimate may be slightly negative. The paper uses the biased estimate.

    Raises
    ------
    ShapeError
        If the numbers of samples differ, or are less than four.

    Notes
    -----
    Law: 1 for Y = a X Q + b with Q orthogonal; symmetric. Cost: n^2 (p + q) operations.
    """
    if X.ndim != 2 or Y.ndim != 2 or X.shape[0] != Y.shape[0] or X.shape[0] < _FEWEST:
        raise ShapeError(f"cka: got {X.shape} and {Y.shape}; expected (n, p) and (n, q) with n at least 4")
    return cka_of_kernels(gram_rows(centered(X)), gram_rows(centered(Y)), estimator)


def centered(X: Array) -> Array:
    """Return X (n, p) minus the mean of its rows, in double precision."""
    xp = array_namespace(X)
    X = as_dtype(X, xp.float64)
    return X - xp.mean(X, axis=0)


def cka_of_kernels(K: Array, L: Array, estimator: Estimator = "unbiased") -> float:
    """Return the `cka` of two representations from their Gram matrices K and L (n, n).

    Gram matrices of centered representations give the best precision.
    """
    _check_kernels(K, L)
    if estimator not in get_args(Estimator):
        raise UsageError(f"cka: estimator {estimator!r} is not one of {', '.join(get_args(Estimator))}")
    hsic = _unbiased if estimator == "unbiased" else inner  # inner: biased HSIC times (n-1)^2
    K, L = _centered_kernel(K), _centered_kernel(L)
    of_both, of_K, of_L = (float(hsic(*pair)) for pair in ((K, L), (K, K), (L, L)))
    return of_both / (of_K * of_L) ** 0.5 if of_K > 0 and of_L > 0 else float("nan")


def _centered_kernel(K: Array) -> Array:
    """Return H K H in double precision, with H = I - 1 1^T / n."""
    K = centered(K)
    return K - array_namespace(K).mean(K, axis=1)[:, None]


def _unbiased(K: Array, L: Array) -> float:
    """Return the unbiased HSIC times n (n-3), from sums without the diagonals."""
    xp = array_namespace(K, L)
    n = K.shape[0]
    of_K, of_L = xp.linalg.diagonal(K), xp.linalg.diagonal(L)
    sums_K, sums_L = xp.sum(K, axis=1) - of_K, xp.sum(L, axis=1) - of_L
    product = xp.sum(K * L) - xp.sum(of_K * of_L)
    totals = xp.sum(sums_K) * xp.sum(sums_L) / ((n - 1) * (n - 2))
    return float(product + totals - 2.0 / (n - 2) * xp.sum(sums_K * sums_L))


def _check_kernels(K: Array, L: Array) -> None:
    if K.ndim != 2 or K.shape[0] != K.shape[1] or K.shape != L.shape:
        raise ShapeError(f"kernels: got {K.shape} and {L.shape}; expected two matrices (N, N)")
