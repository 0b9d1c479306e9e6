"""Estimates of the extreme eigenvalues of a positive definite K, with one wait for the device.

    z_0 = K y        z_(i+1) = s K z_i        s = |y| / |z_0|

The largest Ritz value of K on the span of y, z_0, .. is what Lanczos finds in as many steps, within some
percent where the spectrum is not special. The inner products of these vectors determine it: with Y the unit
vectors, M = Y^T Y and H = Y^T K Y, it is the largest theta of H a = theta M a. The smallest eigenvalue is
found from products with K^-1. No vector is orthogonalized, so that a step is the product and one launch.
Source: Parlett, The Symmetric Eigenvalue Problem, chapter 12.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from revgn.arrays import Array, Deferred, array_namespace, root_of_squares, unwarned
from revgn.linalg.gram import as_dtype
from revgn.linalg.truncation import machine_epsilon

Products: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
_STEPS = 5  # products; the estimate is then within some percent


@unwarned()  # the products are looked at
def begin_extremes(
    maps: tuple[Callable[[Array], Array], ...], order: int, like: Array
) -> Deferred[tuple[float, ...]]:
    """Largest eigenvalue of each map, from below.

    Parameters
    ----------
    maps : tuple of callables
        x (N, 1) in the dtype of `like` to K x, K symmetric and positive definite.
    order : int
        N.
    like : array
        Gives library, device and dtype.

    Notes
    -----
    Law: the largest Ritz value of min(5, N) Lanczos steps, to rounding; NaN where a product is not finite.
    Cost: min(5, N) products, and 2 N k^2 operations for k vectors in all.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.arrays import read
    >>> K = np.diag([1.0, 2.0, 3.0])
    >>> round(read(begin_extremes((lambda x: K @ x,), 3, K))[0], 9)
    3.0
    """
    xp, steps = array_namespace(like), min(_STEPS, order)
    # A chirp is as unlike any given vector as a random one, but the same everywhere.
    chirp = xp.sin(1.7 * xp.arange(1, order + 1, dtype=xp.float64, device=like.device) ** 2)[:, None]
    y = as_dtype(chirp, like.dtype)
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
        own = [[0, *range(1 + of * steps, 1 + (of + 1) * steps)] for of in range(len(maps))]
        return tuple(_largest(G[np.ix_(rows, rows)], eps) for rows in own)

    return Deferred((Z.T @ Z,), finish)


def _largest(G: Products, eps: float) -> float:
    """Largest Ritz value of K, from the inner products G of y, z_0, .. z_k."""
    size = np.sqrt(np.diagonal(G))
    if not np.isfinite(G).all() or size[0] == 0:
        return math.nan
    if not size[1:].all():
        return 0.0
    scale = size[0] / size[1]  # z_i = K (scale z_(i-1))
    growth = size[1:] / np.append(size[0], scale * size[1:-1])  # |K u| of the unit vectors u
    M = G / np.outer(size, size)
    H = M[:-1, 1:] * growth
    weights, V = np.linalg.eigh(M[:-1, :-1])
    kept = weights > eps**0.8  # the others are of rounding
    V = V[:, kept] / np.sqrt(weights[kept])
    T = V.T @ H @ V
    return float(np.linalg.eigvalsh((T + T.T) / 2)[-1])
