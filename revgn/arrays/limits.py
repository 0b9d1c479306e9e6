"""How much memory a library's work on large matrices takes, and how large the matrices may be."""

import math
from typing import NamedTuple

from revgn.arrays.namespace import Backend


class Limits(NamedTuple):
    """Sizes that a library works with.

    Parameters
    ----------
    rows, columns : int
        Of a piece of a matrix that is formed by products and arithmetic on their elements.
    fuses : bool
        Whether all products that such a piece is the sum of are held, and added up in a single launch.
    cholesky, eigh : int
        Arrays of a matrix's size that are in memory while it is factored, itself included.
    tiles : int
        Tiles at work in a factorization by tiles.
    order : float
        Order of the largest matrix that is factored as a whole.
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
# factors a copy, and counts in 32 bits: 46,340^2 < 2^31. Products and solutions of tiles are copies, too.
_CUPY = Limits(rows=2048, columns=16384, fuses=True, cholesky=2, eigh=8, tiles=4, order=46_340)


def limits_of(backend: Backend) -> Limits:
    """Return the limits of the library of `backend`.

    Examples
    --------
    >>> import revgn.arrays
    >>> limits_of(revgn.arrays.select_backend("numpy")).cholesky
    1
    """
    return _CUPY if backend.name == "cupy" else HOST


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory was not enough: CuPy's own are MemoryErrors, those of CUDA are not.

    Examples
    --------
    >>> is_out_of_memory(MemoryError())
    True
    """
    text = str(error)
    return isinstance(error, MemoryError) or "cudaErrorMemoryAllocation" in text or "ALLOC_FAILED" in text
