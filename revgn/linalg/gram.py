"""Gram matrices in a given precision."""

from revgn.arrays import Array, DType, array_namespace, matmul


def gram_rows(A: Array, dtype: DType | None = None) -> Array:
    """Return A A^T (n, n) for A (n, m), in `dtype`; NumPy computes one triangle and mirrors it.

    Examples
    --------
    >>> import numpy as np
    >>> gram_rows(np.array([[3.0, 4.0]]))
    array([[25.]])
    """
    A = as_dtype(A, dtype)
    return matmul(A, A.T)


def gram_columns(A: Array, dtype: DType | None = None) -> Array:
    """Return A^T A (m, m) for A (n, m), in `dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> gram_columns(np.array([[3.0, 4.0]]))
    array([[ 9., 12.],
           [12., 16.]])
    """
    A = as_dtype(A, dtype)
    return matmul(A.T, A)


def as_dtype(A: Array, dtype: DType | None) -> Array:
    """Return A as `dtype`; A itself if it has that dtype or none is given."""
    if dtype is None or A.dtype == dtype:
        return A
    return array_namespace(A).astype(A, dtype)


def add_diagonal(K: Array, mu: float | Array) -> None:
    """Add mu I to a contiguous square K in place; mu may be a 0-d array.

    Examples
    --------
    >>> import numpy as np
    >>> K = np.ones((2, 2))
    >>> add_diagonal(K, 0.5)
    >>> K
    array([[1.5, 1. ],
           [1. , 1.5]])
    """
    if hasattr(mu, "dtype"):
        mu = as_dtype(array_namespace(K).asarray(mu), K.dtype)  # NumPy's float64 is a float, too
    elif not mu:
        return
    flat = array_namespace(K).reshape(K, (-1,), copy=False)
    diagonal = flat[:: K.shape[0] + 1]
    diagonal += mu
