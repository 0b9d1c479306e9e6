"""Stand-in for CuPy 14.2 in tests: NumPy with the signatures and rules of CuPy that this project uses.

Arrays are converted to NumPy arrays only on request, and the two kinds are never mixed. Results
are stored row by row, those of triangular solves and eigenvectors column by column. `counting` counts
launches, waits of the host, uploads and copies of operands. Rounding and speed are not those of a GPU.
"""

from numpy import (  # noqa: F401
    bool_,
    broadcast_shapes,
    complex64,
    complex128,
    complexfloating,
    dtype,
    e,
    finfo,
    float16,
    float32,
    float64,
    floating,
    generic,
    iinfo,
    inexact,
    inf,
    int8,
    int16,
    int32,
    int64,
    integer,
    intp,
    isdtype,
    issubdtype,
    nan,
    newaxis,
    number,
    pi,
    promote_types,
    signedinteger,
    uint8,
    uint16,
    uint32,
    uint64,
    unsignedinteger,
)

from . import cublas, cuda, fft, lib, linalg  # noqa: F401
from ._array import ndarray, ufunc  # noqa: F401
from ._counts import Counts, counting  # noqa: F401
from ._functions import *  # noqa: F403
from ._functions import absolute, amax, amin, rint, true_divide  # type: ignore[attr-defined]
from ._kernels import ElementwiseKernel, fuse  # noqa: F401
from ._memory import POOL as _POOL
from ._memory import MemoryPool as _MemoryPool

__version__ = "14.2.0"
abs, max, min, round, divide = absolute, amax, amin, rint, true_divide


def get_default_memory_pool() -> _MemoryPool:
    return _POOL


def get_default_pinned_memory_pool() -> _MemoryPool:
    return _MemoryPool()
