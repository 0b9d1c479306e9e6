"""Memory use and size limits of a library's work on large matrices."""

import math
from typing import NamedTuple

from revgn.arrays.namespace import Backend


class Limits(NamedTuple):
    """Memory use and size limits of an array library.

    Parameters
    ----------
    rows, columns : int
        Size of the pieces in which a matrix is formed by products and element-wise arithmetic.
    fuses : bool
        Whether all products that add up to such a piece are held in memory and added in a single launch.
    cholesky, eigh : int
        Number of arrays of a matrix's size in memory while it is factored, including the matrix.
    tiles : int
        Number of tiles in memory at a time during a factorization by tiles.
    order : float
        Largest order of a matrix that is factored as a whole.
    """

    rows: int
    columns: int
    fuses: bool
    cholesky: int
    eigh: int
    tiles: int
    order: float


HOST = Limits(rows=1024, columns=1024, fuses=False, cholesky=1, eigh=6, tiles=3, order=math.inf)

# A launch costs as much as the arithmetic on a million numbers, so pieces have up to 2^25 numbers. cuSOLVER
# factors a copy and uses 32-bit indices: 46,340^2 < 2^31. Products and solutions of tiles are copies, too.
_CUPY = Limits(rows=2048, columns=16384, fuses=True, cholesky=2, eigh=8, tiles=4, order=46_340)


def limits_of(backend: Backend) -> Limits:
    """Return the limits of the array library of `backend`.

    Examples
    --------
    >>> import revgn.arrays
    >>> limits_of(revgn.arrays.select_backend("numpy")).cholesky
    1
    """
    return _CUPY if backend.name == "cupy" else HOST


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` reports that memory ran out.

    CuPy's own errors are MemoryErrors; CUDA's errors are recognized by their text.

    Examples
    --------
    >>> is_out_of_memory(MemoryError())
    True
    """
    text = str(error)
    return isinstance(error, MemoryError) or "cudaErrorMemoryAllocation" in text or "ALLOC_FAILED" in text
