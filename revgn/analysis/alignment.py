"""How alike two kernels or two representations of the same samples are.

Kernel alignment (Cristianini et al. 2001)   <K, L> / (|K| |L|)
Linear CKA (Kornblith et al. 2019)           HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K = X X^T, L = Y Y^T

The biased estimate of HSIC, tr(K H L H) / (n-1)^2 with H = I - 1 1^T / n, is far from 0 between independent
data of many features. The unbiased one (Song et al. 2012, equation 5) is 0 on average there:

    1 / (n (n-3)) [ tr(K L) + (1^T K 1) (1^T L 1) / ((n-1)(n-2)) - 2 / (n-2) 1^T K L 1 ]

with the diagonals of K and L set to 0. A common offset of the samples changes neither, but would cost digits,
so columns are centered first, and the sums are in double precision.
"""

from typing import Literal, get_args

from revgn.arrays import Array, array_namespace, inner
from revgn.errors import ShapeError, UsageError
from revgn.linalg import as_dtype, gram_rows

Estimator = Literal["unbiased", "biased"]

_FEWEST = 4  # samples, for which the unbiased estimate exists


def kernel_alignment(K: Array, L: Array) -> float:
    """Return <K, L> / (|K| |L|): the cosine between two kernels, 1 where they are proportional.

    Parameters
    ----------
    K, L : (N, N)

    Raises
    ------
    ShapeError
        If they are not of one order.
    """
    _check_kernels(K, L)
    xp = array_namespace(K, L)
    product, norms = xp.sum(K * L), xp.sqrt(xp.sum(K * K) * xp.sum(L * L))
    return float(product / norms)


def cka(X: Array, Y: Array, estimator: Estimator = "unbiased") -> float:
    """Return the linear centered kernel alignment of two representations of the same samples.

    Parameters
    ----------
    X : (n, p)
    Y : (n, q)
        One row per sample, at least four.
    estimator : {"unbiased", "biased"}
        The unbiased one may be slightly negative; the biased one is what the paper uses.

    Raises
    ------
    ShapeError
        If the numbers of samples differ, or are too few.

    Notes
    -----
    Law: 1 for Y = a X Q + b with Q orthogonal; symmetric. Cost: n^2 (p + q) operations.
    """
    if X.ndim != 2 or Y.ndim != 2 or X.shape[0] != Y.shape[0] or X.shape[0] < _FEWEST:
        raise ShapeError(f"cka: got {X.shape} and {Y.shape}; expected (n, p) and (n, q) with n at least 4")
    return cka_of_kernels(gram_rows(centered(X)), gram_rows(centered(Y)), estimator)


def centered(X: Array) -> Array:
    """Return X (n, p) less the mean of its rows, in double precision."""
    xp = array_namespace(X)
    X = as_dtype(X, xp.float64)
    return X - xp.mean(X, axis=0)


def cka_of_kernels(K: Array, L: Array, estimator: Estimator = "unbiased") -> float:
    """Return `cka` of representations whose Gram matrices are K and L (n, n), best those of centered ones."""
    _check_kernels(K, L)
    if estimator not in get_args(Estimator):
        raise UsageError(f"cka: estimator {estimator!r} is not one of {', '.join(get_args(Estimator))}")
    hsic = _unbiased if estimator == "unbiased" else inner  # the biased one times (n-1)^2
    K, L = _centered_kernel(K), _centered_kernel(L)
    of_both, of_K, of_L = (float(hsic(*pair)) for pair in ((K, L), (K, K), (L, L)))
    return of_both / (of_K * of_L) ** 0.5 if of_K > 0 and of_L > 0 else float("nan")


def _centered_kernel(K: Array) -> Array:
    """H K H in double precision, H = I - 1 1^T / n."""
    K = centered(K)
    return K - array_namespace(K).mean(K, axis=1)[:, None]


def _unbiased(K: Array, L: Array) -> float:
    """HSIC_1 times n (n-3), from sums without the diagonals."""
    xp = array_namespace(K, L)
    n = K.shape[0]
    of_K, of_L = xp.linalg.diagonal(K), xp.linalg.diagonal(L)
    sums_K, sums_L = xp.sum(K, axis=1) - of_K, xp.sum(L, axis=1) - of_L
    product = xp.sum(K * L) - xp.sum(of_K * of_L)
    totals = xp.sum(sums_K) * xp.sum(sums_L) / ((n - 1) * (n - 2))
    return float(product + totals - 2.0 / (n - 2) * xp.sum(sums_K * sums_L))


def _check_kernels(K: Array, L: Array) -> None:
    if K.ndim != 2 or K.shape[0] != K.shape[1] or K.shape != L.shape:
        raise ShapeError(f"kernels: got {K.shape} and {L.shape}; expected (N, N) twice")
