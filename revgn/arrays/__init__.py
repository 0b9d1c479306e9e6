"""Arrays: the only code that knows NumPy from CuPy."""

import revgn.arrays.threads  # noqa: F401  # first: it sets what NumPy and SciPy read when they are loaded
from revgn.arrays.draw import draw_normal, draw_orthonormal
from revgn.arrays.fused import (
    activate,
    add,
    blockwise,
    inner,
    matmul,
    matmul_into,
    sandwich,
    scaled,
    subtract,
)
from revgn.arrays.namespace import (
    Backend,
    BackendName,
    array_namespace,
    backend_of,
    cupy_absence,
    device_name,
    device_of,
    memory_in_use,
    select_backend,
    synchronize,
    to_host,
)
from revgn.arrays.native import (
    cholesky,
    cholesky_product,
    cholesky_solve,
    eigh,
    erf,
    largest_tridiagonal,
    linear_operator,
    unwarned,
)
from revgn.arrays.pool import empty, zeros
from revgn.arrays.typing import Array, Device, DType, Namespace

__all__ = [
    "Array",
    "Backend",
    "BackendName",
    "DType",
    "Device",
    "Namespace",
    "activate",
    "add",
    "array_namespace",
    "backend_of",
    "blockwise",
    "cholesky",
    "cholesky_product",
    "cholesky_solve",
    "cupy_absence",
    "device_name",
    "device_of",
    "draw_normal",
    "draw_orthonormal",
    "eigh",
    "empty",
    "erf",
    "inner",
    "largest_tridiagonal",
    "linear_operator",
    "matmul",
    "matmul_into",
    "memory_in_use",
    "sandwich",
    "scaled",
    "select_backend",
    "subtract",
    "synchronize",
    "to_host",
    "unwarned",
    "zeros",
]
