from typing import Any

import numpy as np
import scipy.linalg
from cupy._array import ndarray, new
from cupy._counts import copied, launch


def solve_triangular(
    a: ndarray,
    b: ndarray,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = False,
) -> ndarray:
    """Solution stored column by column, as cuBLAS needs both operands."""
    if not (isinstance(a, ndarray) and isinstance(b, ndarray)):
        raise TypeError(f"solve_triangular: {type(a)}, {type(b)}")
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError("expected square matrix")
    if len(a) != len(b):
        raise ValueError("incompatible dimensions")
    if check_finite:
        raise NotImplementedError("check_finite")
    if not a.flags.f_contiguous:
        copied("solve_triangular: the matrix")
    is_in_place = overwrite_b and b.flags.f_contiguous and b.dtype == a.dtype
    if not is_in_place:
        launch("solve_triangular: copy of the right-hand side")
    launch("solve_triangular")
    right = b._host.astype(a.dtype)
    if right.size:  # by BLAS, which divides by a zero on the diagonal, as cuBLAS does
        (trsm,) = scipy.linalg.get_blas_funcs(("trsm",), (a._host, right))
        is_transposed = {0: 0, 1: 1, "N": 0, "T": 1}[trans]
        columns = trsm(1.0, a._host, right.reshape(len(right), -1), 0, lower, is_transposed, unit_diagonal)
        right = columns.reshape(b.shape)
    if is_in_place:
        b._host[...] = right
        return b
    return new(np.asfortranarray(right), "F")
