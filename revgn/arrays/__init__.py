"""Arrays: the only code that knows NumPy from CuPy."""

from revgn.arrays.draw import draw_normal, draw_orthonormal
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
    cholesky_solve,
    eigh,
    erf,
    largest_tridiagonal,
    linear_operator,
    unwarned,
)
from revgn.arrays.typing import Array, Device, DType, Namespace

__all__ = [
    "Array",
    "Backend",
    "BackendName",
    "DType",
    "Device",
    "Namespace",
    "array_namespace",
    "backend_of",
    "cholesky",
    "cholesky_solve",
    "cupy_absence",
    "device_name",
    "device_of",
    "draw_normal",
    "draw_orthonormal",
    "eigh",
    "erf",
    "largest_tridiagonal",
    "linear_operator",
    "memory_in_use",
    "select_backend",
    "synchronize",
    "to_host",
    "unwarned",
]
