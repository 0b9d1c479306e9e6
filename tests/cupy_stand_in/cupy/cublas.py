"""Routines of cuBLAS on vectors, which leave their result on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._array import ndarray, new
from ._counts import launch


def dot(x: ndarray, y: ndarray, out: Any = None) -> ndarray:
    """Inner product of two vectors, which must be contiguous, since cuBLAS ignores their strides."""
    for vector in (x, y):
        if vector.ndim != 1:
            raise ValueError(f"x must be a 1D array (actual: {vector.ndim})")
        if not vector.flags.c_contiguous:
            raise AssertionError("cublas.dot ignores strides: the numbers read are not those of the vector")
    if x.size != y.size or x.dtype != y.dtype or x.dtype not in (np.float32, np.float64):
        raise TypeError("x and y must be the same size and dtype, float32 or float64")
    launch("cublas.dot")
    with np.errstate(all="ignore"):
        product = np.dot(x._host, y._host)
    if out is None:
        return new(product)
    out._host[...] = product
    return out
