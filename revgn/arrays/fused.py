"""Chains of operations that read and write memory once.

NumPy and CuPy read and write all operands anew for each operation. Here, with NumPy, a product and the
element-wise operations after it are computed in pieces that stay in the processor's cache, and the results
are stored in recycled memory (`revgn.arrays.pool`). With CuPy, all element-wise operations run as one kernel.
Other libraries evaluate the plain formula.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import array_api_compat
import numpy as np

from revgn.arrays.formula import Fused, fuse
from revgn.arrays.namespace import array_namespace
from revgn.arrays.pool import empty
from revgn.arrays.typing import Array, DType

_ELEMENTS = 1 << 15  # elements of a piece: its operands fit the second-level cache
_ROWS = _COLUMNS = 1 << 10  # size of a piece between two products, enough for full speed


def matmul(A: Array, B: Array) -> Array:
    """Return A B for A (..., m) and B (m, p), computed as one product of two matrices."""
    if array_api_compat.is_numpy_array(A):
        out = empty((*A.shape[:-1], B.shape[1]), A, _common(A, B))
        array_namespace(A, B).matmul(_flat(A), B, out=_flat(out))
        return out
    product = _product(_flat(A), B)
    return product if A.ndim == 2 else array_namespace(A).reshape(product, (*A.shape[:-1], B.shape[1]))


def matmul_into(A: Array, B: Array, out: Array) -> None:
    """Write the product A B of matrices, or of stacks of them, to `out`, which must not overlap A or B."""
    if array_api_compat.is_numpy_array(A):
        array_namespace(A, B).matmul(A, B, out=out)
    elif A.ndim > 2:
        out[...] = A @ B
    elif array_api_compat.is_cupy_array(A) and _are_contiguous(out):
        import cupy

        cupy.dot(A, B, out)
    else:
        out[...] = _product(A, B)


def add(x: Array, y: Array) -> Array:
    """Return x + y."""
    return _elementwise(array_namespace(x, y).add, x, y)


def subtract(x: Array, y: Array) -> Array:
    """Return x - y."""
    return _elementwise(array_namespace(x, y).subtract, x, y)


def blockwise(
    function: Callable[..., tuple[Array, ...]] | Fused,
    *arrays: Array,
    out: tuple[Array | None, ...] | None = None,
) -> tuple[Array, ...]:
    """Apply an element-wise `function` to arrays that share their first axis, or to arrays that are 0-d.

    `function` returns a tuple of arrays. The result at each position is written to the array of `out` at that
    position, if there is one; it may be one of `arrays`. With CuPy, `function` is called with the symbols of
    `revgn.arrays.formula`, and all its operations run as one kernel. For a function that is used often,
    pass `fuse(function)`: it is then called with symbols once, not every time.
    """
    if array_api_compat.is_cupy_array(arrays[0]):
        return (function if isinstance(function, Fused) else fuse(function))(arrays, out)
    if isinstance(function, Fused):
        function = function.function
    if not array_api_compat.is_numpy_array(arrays[0]):
        return _plain(function, arrays, out)
    if not arrays[0].ndim:
        return function(*arrays)
    n = arrays[0].shape[0]
    rows = max(1, _ELEMENTS * n // max(1, math.prod(arrays[0].shape)))
    if out is None and n <= rows and _are_contiguous(*arrays):
        return function(*arrays)
    places = None if out is None else list(out)
    for piece in pieces(n, rows):
        parts = function(*(array[piece] for array in arrays))
        places = places or [None] * len(parts)
        for i, part in enumerate(parts):
            whole = places[i]
            if whole is None:
                whole = places[i] = empty((n, *part.shape[1:]), part)
            whole[piece] = part
    return function(*arrays) if places is None else tuple(cast("list[Array]", places))


def _plain(
    function: Callable[..., tuple[Array, ...]],
    arrays: tuple[Array, ...],
    out: tuple[Array | None, ...] | None,
) -> tuple[Array, ...]:
    results = list(function(*arrays))
    for i, place in enumerate(out or ()):
        if place is not None:
            place[...] = results[i]
            results[i] = place
    return tuple(results)


def inner(x: Array, y: Array) -> Array:
    """Inner product of x and y, arrays of one shape, over all elements; a 0-d array of their dtype."""
    xp = array_namespace(x, y)
    if array_api_compat.is_cupy_array(x) and 0 not in x.shape and _are_contiguous(x, y):
        from cupy import cublas

        product: Array = cublas.dot(xp.reshape(x, (-1,)), xp.reshape(y, (-1,)))
        return product
    if not array_api_compat.is_numpy_array(x) or not x.ndim:
        return xp.sum(x * y)
    rows = max(1, _ELEMENTS * x.shape[0] // max(1, math.prod(x.shape)))
    total = sum(float(xp.sum(x[piece] * y[piece])) for piece in pieces(x.shape[0], rows))
    return xp.asarray(total, dtype=_common(x, y))


def inner_of_rows(x: Array, y: Array) -> Array:
    """Inner products over the last axis of x and y, whose shapes are broadcast."""
    if array_api_compat.is_numpy_array(x):
        products: Array = array_namespace(x, y).vecdot(x, y)
        return products
    return array_namespace(x, y).sum(x * y, axis=-1)


def total(numbers: Sequence[Array]) -> Array:
    """Sum of 0-d arrays; the number 0.0 if there are none."""
    if numbers and array_api_compat.is_cupy_array(numbers[0]):
        return fuse(lambda *terms: (sum(terms[1:], terms[0]),))(tuple(numbers))[0]
    return sum(numbers, cast("Array", 0.0))


def activate(
    u: Array,
    C: Array,
    phi: Callable[[Array], tuple[Array, Array]],
    out: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Return [phi(u C), 1] (n, h+1) and phi'(u C) (n, h); `phi` returns the values and slopes of an array.

    With NumPy, both are written to the arrays of `out`, if they are given.
    """
    xp = array_namespace(u, C)
    n, h = u.shape[0], C.shape[1]
    is_numpy = array_api_compat.is_numpy_array(u)
    if not (is_numpy or array_api_compat.is_cupy_array(u)):
        value, slope = phi(_product(u, C))
        return xp.concat((value, xp.ones((n, 1), dtype=value.dtype, device=value.device)), axis=1), slope
    A = empty((n, h + 1), u, _common(u, C)) if out is None else out[0]
    A[:, h] = 1.0
    if not is_numpy:
        return A, blockwise(phi, _product(u, C), out=(A[:, :h], None))[1]
    slopes = empty((n, h), A, phi(A[:0, :])[1].dtype) if out is None else out[1]
    for columns in pieces(h, _COLUMNS):
        xp.matmul(u, C[:, columns], out=A[:, columns])
        blockwise(phi, A[:, columns], out=(A[:, columns], slopes[:, columns]))
    return A, slopes


def sandwich(x: Array, left: Array, slope: Array, right: Array) -> Array:
    """Return ((x L) * S) R for x (..., n, a) or (..., 1, a), L (a, h), S (n, h), R (h, b)."""
    if not array_api_compat.is_numpy_array(x):
        return matmul(scaled(matmul(x, left), slope), right)
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
    """Return x * slope; a boolean slope is taken as ones and zeros."""
    if not array_api_compat.is_numpy_array(x) and slope.dtype == array_namespace(x, slope).bool:
        return blockwise(_masked, x, slope)[0]
    return x * slope


def _masked(x: Array, mask: Array) -> tuple[Array]:
    xp = array_namespace(x, mask)
    return (xp.where(mask, x, 0.0 * x),)  # NaN remains NaN, as in the product


def _elementwise(function: Callable[..., Array], x: Array, y: Array) -> Array:
    if not array_api_compat.is_numpy_array(x):
        return function(x, y)
    return function(x, y, out=empty(np.broadcast_shapes(x.shape, y.shape), x, _common(x, y)))


def _product(A: Array, B: Array) -> Array:
    """Return the product A B of two matrices, for all libraries except NumPy."""
    if not array_api_compat.is_cupy_array(A):
        return A @ B
    import cupy

    found: Array = cupy.dot(A, B)  # A @ B with less overhead
    return found


def pieces(count: int, size: int) -> list[slice]:
    """Split `count` rows into slices of at most `size` rows."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _flat(x: Array) -> Array:
    return x if x.ndim == 2 else array_namespace(x).reshape(x, (-1, x.shape[-1]))


def _common(x: Array, y: Array) -> DType:
    return x.dtype if x.dtype == y.dtype else array_namespace(x, y).result_type(x, y)


def _are_contiguous(*arrays: Array) -> bool:
    return all(x.flags.c_contiguous for x in arrays)  # type: ignore[attr-defined]
