"""Chains of operations in pieces that stay in the processor's cache; results in recycled memory.

NumPy works through memory once for each operation. Here a product and what follows it element by element
go piece by piece instead. Other libraries take the plain formula.
"""

import math
from collections.abc import Callable

import array_api_compat
import numpy as np

from revgn.arrays.namespace import array_namespace
from revgn.arrays.pool import empty
from revgn.arrays.typing import Array

_ELEMENTS = 1 << 15  # of a piece for element-wise work: its operands fit the second-level cache
_ROWS = _COLUMNS = 1 << 10  # of a piece between two products: large enough for full speed


def matmul(A: Array, B: Array) -> Array:
    """A B, for A (..., m) and B (m, p)."""
    if not array_api_compat.is_numpy_array(A):
        return A @ B
    xp = array_namespace(A, B)
    out = empty((*A.shape[:-1], B.shape[1]), A, xp.result_type(A, B))
    xp.matmul(_flat(A), B, out=_flat(out))
    return out


def matmul_into(A: Array, B: Array, out: Array) -> None:
    """Write A B to `out`, which overlaps neither."""
    if array_api_compat.is_numpy_array(A):
        array_namespace(A, B).matmul(A, B, out=out)
    else:
        out[...] = A @ B


def add(x: Array, y: Array) -> Array:
    """x + y."""
    return _elementwise(array_namespace(x, y).add, x, y)


def subtract(x: Array, y: Array) -> Array:
    """x - y."""
    return _elementwise(array_namespace(x, y).subtract, x, y)


def blockwise(
    function: Callable[..., tuple[Array, ...]], *arrays: Array, out: tuple[Array, ...] | None = None
) -> tuple[Array, ...]:
    """What `function` gives, element by element, of arrays that share their first axis.

    `function` returns a tuple of arrays. Results are written to `out`, if given: NumPy arrays that may be
    among `arrays`.
    """
    if not array_api_compat.is_numpy_array(arrays[0]):
        return function(*arrays)
    n = arrays[0].shape[0]
    rows = max(1, _ELEMENTS * n // max(1, math.prod(arrays[0].shape)))
    for piece in pieces(n, rows):
        parts = function(*(array[piece] for array in arrays))
        if out is None:
            out = tuple(empty((n, *part.shape[1:]), part) for part in parts)
        for whole, part in zip(out, parts, strict=True):
            whole[piece] = part
    return function(*arrays) if out is None else out


def inner(x: Array, y: Array) -> Array:
    """Sum of the products of all elements of x and y, arrays of one shape; a 0-d array of their dtype."""
    xp = array_namespace(x, y)
    if not array_api_compat.is_numpy_array(x) or not x.ndim:
        return xp.sum(x * y)
    rows = max(1, _ELEMENTS * x.shape[0] // max(1, math.prod(x.shape)))
    total = sum(float(xp.sum(x[piece] * y[piece])) for piece in pieces(x.shape[0], rows))
    return xp.asarray(total, dtype=xp.result_type(x, y))


def activate(u: Array, C: Array, phi: Callable[[Array], tuple[Array, Array]]) -> tuple[Array, Array]:
    """[phi(u C), 1] (n, h+1) and phi'(u C) (n, h), where `phi` gives value and slope of an array."""
    xp = array_namespace(u, C)
    n, h = u.shape[0], C.shape[1]
    if not array_api_compat.is_numpy_array(u):
        value, slope = phi(u @ C)
        ones = xp.ones((n, 1), dtype=value.dtype, device=value.device)
        return xp.concat((value, ones), axis=1), slope
    A = empty((n, h + 1), u, xp.result_type(u, C))
    slopes = empty((n, h), A, phi(A[:0, :])[1].dtype)
    A[:, h] = 1.0
    for columns in pieces(h, _COLUMNS):
        xp.matmul(u, C[:, columns], out=A[:, columns])
        blockwise(phi, A[:, columns], out=(A[:, columns], slopes[:, columns]))
    return A, slopes


def sandwich(x: Array, left: Array, slope: Array, right: Array) -> Array:
    """((x L) * S) R, for x (..., n, a) or (..., 1, a), L (a, h), S (n, h), R (h, b)."""
    if not array_api_compat.is_numpy_array(x):
        return scaled(x @ left, slope) @ right
    xp = array_namespace(x, left, slope, right)
    n, h, b = slope.shape[0], slope.shape[1], right.shape[1]
    X = xp.reshape(x, (-1, *x.shape[-2:]))
    out = empty((X.shape[0], n, b), x, xp.result_type(x, left))
    for group in pieces(X.shape[0], max(1, _ROWS // n)):
        for rows in pieces(n, _ROWS):
            S = slope[rows]
            above = X[group, rows if X.shape[1] > 1 else slice(None)]
            above, result = _flat(above), out[group, rows]
            middle = empty((result.shape[0], S.shape[0], min(h, _COLUMNS)), out)
            for columns in pieces(h, _COLUMNS):
                between = middle[:, :, : columns.stop - columns.start]
                product = xp.reshape(matmul(above, left[:, columns]), (result.shape[0], -1, between.shape[2]))
                xp.multiply(product, S[:, columns], out=between)
                part = xp.reshape(matmul(_flat(between), right[columns]), result.shape)
                if columns.start:
                    result += part
                else:
                    result[...] = part
    return xp.reshape(out, (*x.shape[:-2], n, b))


def scaled(x: Array, slope: Array) -> Array:
    """x * slope, where a slope of booleans stands for ones and zeros."""
    xp = array_namespace(x, slope)
    if slope.dtype == xp.bool and not array_api_compat.is_numpy_array(x):
        return xp.where(slope, x, xp.zeros_like(x))
    return x * slope


def _elementwise(function: Callable[..., Array], x: Array, y: Array) -> Array:
    if not array_api_compat.is_numpy_array(x):
        return function(x, y)
    kind = array_namespace(x, y).result_type(x, y)
    return function(x, y, out=empty(np.broadcast_shapes(x.shape, y.shape), x, kind))


def pieces(count: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover `count` rows."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _flat(x: Array) -> Array:
    return array_namespace(x).reshape(x, (-1, x.shape[-1]))
