"""Estimates of the largest and smallest eigenvalue of a positive definite K, with one wait for the device.

    z_0 = K y        z_(i+1) = s K z_i        s = |y| / |z_0|

The largest eigenvalue is estimated by the largest Ritz value of K on the span of y, z_0, z_1, ..., for a
fixed y. Lanczos finds the same value in as many steps. The estimate is usually accurate to a few percent. It
is the largest theta with H a = theta M a, where M = Y^T Y, H = Y^T K Y, and Y holds these vectors scaled to
length 1. The smallest eigenvalue is estimated from products with K^-1. No vector is orthogonalized, so a step
is one product and one launch.
Source: Parlett, The Symmetric Eigenvalue Problem, chapter 12.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from revgn.arrays import Array, Deferred, array_namespace, root_of_squares, unwarned
from revgn.linalg.gram import as_dtype
from revgn.linalg.lanczos import start_vector
from revgn.linalg.truncation import machine_epsilon

Products: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
_STEPS = 5  # products; the estimate is then accurate to a few percent


@unwarned()  # the products are checked
def begin_extremes(
    maps: tuple[Callable[[Array], Array], ...], order: int, like: Array
) -> Deferred[tuple[float, ...]]:
    """Start to estimate the largest eigenvalue of each map from below, without waiting for the device.

    Parameters
    ----------
    maps : tuple of callables
        Functions that return K x for x (N, 1) in the dtype of `like`, K symmetric and positive definite.
    order : int
        Order N of K.
    like : array
        Determines library, device and dtype.

    Notes
    -----
    Law: the largest Ritz value of min(5, N) Lanczos steps, up to rounding; NaN if a product is not finite.
    Cost: min(5, N) products per map, and 2 N k^2 operations for a total of k vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.arrays import read
    >>> K = np.diag([1.0, 2.0, 3.0])
    >>> round(read(begin_extremes((lambda x: K @ x,), 3, K))[0], 9)
    3.0
    """
    xp, steps, count = array_namespace(like), min(_STEPS, order), len(maps)
    y = as_dtype(start_vector(order, like), like.dtype)
    columns = [y]
    for apply in maps:
        z = apply(y)
        scale = root_of_squares(y) / root_of_squares(z)
        scale = as_dtype(scale, like.dtype)
        columns.append(z)
        for _ in range(steps - 1):
            z = apply(scale * z)
            columns.append(z)
    Z = as_dtype(xp.concat(columns, axis=1), xp.float64)
    eps = machine_epsilon(like.dtype, like)

    def finish(G: Products) -> tuple[float, ...]:
        own = [[0, *range(1 + of * steps, 1 + (of + 1) * steps)] for of in range(count)]
        return tuple(_largest(G[np.ix_(rows, rows)], eps) for rows in own)

    return Deferred((Z.T @ Z,), finish)


def _largest(G: Products, eps: float) -> float:
    """Return the largest Ritz value of K, from the inner products G of y, z_0, ..., z_k."""
    size = np.sqrt(np.diagonal(G))
    if not np.isfinite(G).all() or size[0] == 0:
        return math.nan
    if not size[1:].all():
        return 0.0
    scale = size[0] / size[1]  # z_i = K (scale z_(i-1))
    growth = size[1:] / np.append(size[0], scale * size[1:-1])  # |K u| for the vectors u of length 1
    M = G / np.outer(size, size)
    H = M[:-1, 1:] * growth
    weights, V = np.linalg.eigh(M[:-1, :-1])
    kept = weights > eps**0.8  # the others are due to rounding
    V = V[:, kept] / np.sqrt(weights[kept])
    T = V.T @ H @ V
    return float(np.linalg.eigvalsh((T + T.T) / 2)[-1])
