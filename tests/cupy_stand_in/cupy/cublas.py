"""Routines of cuBLAS that CuPy wraps."""

from __future__ import annotations

import numpy as np

from ._array import host, ndarray, new
from ._counts import launch


def dot(x: ndarray, y: ndarray, out: ndarray | None = None) -> ndarray:
    """Sum of the products of two contiguous vectors; it is left on the device."""
    a, b = host(x, "dot"), host(y, "dot")
    if a.ndim != 1 or a.shape != b.shape or a.dtype != b.dtype or out is not None:
        raise TypeError("dot: x and y must be vectors of one size and dtype")
    if not (a.flags.c_contiguous and b.flags.c_contiguous):
        raise ValueError("dot: reads memory without regard to strides")
    launch("dot")
    return new(np.asarray(np.dot(a, b)))
