"""Sums of element-wise products of Gram matrices and inner products of cotangents, as in a tangent kernel."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import array_api_compat

from revgn.arrays.pool import empty
from revgn.arrays.typing import Array


def add_gram_products(out: Array, terms: Iterable[tuple[Array, Array]], *, is_first: bool) -> None:
    """Add the sum over terms of K[s,t] P[s,p,t] to `out`, or overwrite `out` with the sum if `is_first`.

    Parameters
    ----------
    out : (r, q, m)
        Array or view that is written to, with axes s, p and t.
    terms : iterable of (K, P)
        At least one pair of K (r, m) and P (r, q, m). P may be destroyed. P is (1, q, 1) if it is the same
        for all s and t.

    Notes
    -----
    Cost: CuPy holds all terms in memory, reads each once and writes `out` once, in a single launch. Other
    libraries add one term after the other.
    """
    if array_api_compat.is_cupy_array(out):
        held = [array for K, P in terms for array in (K[:, None, :], P)]
        _kernel(len(held) // 2, is_first)(*held, out)
        return
    total: Array | None = None
    for K, P in terms:
        if total is None:
            total = _scaled(K, P)
        else:
            total += _scaled(K, P)
    assert total is not None
    if not is_first:
        total += out
    out[...] = total


def _scaled(K: Array, P: Array) -> Array:
    """Return K * P, in the memory of P if P differs between samples."""
    if P.shape[0] == K.shape[0] and P.shape[2] == K.shape[1]:
        P *= K[:, None, :]
        return P
    product = empty((K.shape[0], P.shape[1], K.shape[1]), K)
    product[...] = K[:, None, :]
    product *= P
    return product


@lru_cache
def _kernel(count: int, is_first: bool) -> Any:
    import cupy

    inputs = ", ".join(f"T K{k}, T P{k}" for k in range(count))
    total = " + ".join(f"K{k} * P{k}" for k in range(count))
    return cupy.ElementwiseKernel(
        inputs, "T out", f"out = {total}" if is_first else f"out = {total} + out", "revgn_add_gram_products"
    )
