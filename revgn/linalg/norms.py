"""Frobenius norms of arrays, for which the host waits once."""

import math

from revgn.arrays import Array, Deferred, array_namespace, read, root_of_squares


def begin_norms(*arrays: Array) -> Deferred[list[float]]:
    """Start to compute the `norm` of each array without waiting for the device."""

    def finish(*roots: float) -> list[float]:
        return [
            root if _is_in_range(root, X) else _scaled_norm(X) for root, X in zip(roots, arrays, strict=True)
        ]

    return Deferred(tuple(root_of_squares(X) for X in arrays), finish)


def norms(*arrays: Array) -> list[float]:
    """Return the `norm` of each array, waiting for the device once."""
    return read(begin_norms(*arrays))


def norm(X: Array) -> float:
    """Frobenius norm |X| as a Python float; X is scaled if its squares leave the range of its dtype."""
    return norms(X)[0]


def _is_in_range(root: float, X: Array) -> bool:
    return 1e6 * float(array_namespace(X).finfo(X.dtype).smallest_normal) < root * root < math.inf


def _scaled_norm(X: Array) -> float:
    xp = array_namespace(X)
    scale = float(xp.max(xp.abs(X)))
    if not 0 < scale < math.inf:
        return scale
    return scale * math.sqrt(float(xp.sum((X / scale) ** 2)))
