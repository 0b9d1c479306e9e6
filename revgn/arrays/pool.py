"""Memory pool for large NumPy arrays: the counterpart, on the host, of CuPy's memory pool.

A new array of several megabytes costs more time than the arithmetic on it, because the system clears and maps
every page. An array made by `empty` lies in a block of memory. Once the array and all its views are gone, the
block is used again for the next array of about that size. All blocks together take at most twice the largest
amount of memory that was in use at one time.
"""

import math
import threading
import weakref
from typing import Any

import array_api_compat
import numpy as np

from revgn.arrays.namespace import array_namespace, device_of
from revgn.arrays.typing import Array, DType

_SMALLEST = 1 << 16  # bytes; for smaller arrays, the system's allocator is as fast


class _Lease(weakref.ref[Any]):
    """Weak reference to an array that all its views keep alive; once the array is gone, its block is free."""

    __slots__ = ("block",)
    block: np.ndarray[Any, Any]


class _Pool:
    """Blocks in use, and free blocks by size, the least recently used size first."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # reentrant, since a lease may end inside `lease`
        self.leases: dict[int, _Lease] = {}
        self.waiting: dict[int, list[np.ndarray[Any, Any]]] = {}
        self.in_use = self.most_in_use = self.idle = 0

    def lease(self, size: int) -> np.ndarray[Any, Any]:
        with self.lock:
            blocks = self.waiting.pop(size, [])
            if blocks:
                block = blocks.pop()
                self.idle -= size
            else:
                self.trim(size)
                block = np.empty(size, np.uint8)
            if blocks:
                self.waiting[size] = blocks
            # through a memoryview, so that views of views refer to this array and not to the block
            memory = np.frombuffer(memoryview(block), np.uint8)  # type: ignore[arg-type]
            lease = _Lease(memory, self.release)
            lease.block = block
            self.leases[id(lease)] = lease
            self.in_use += size
            self.most_in_use = max(self.most_in_use, self.in_use)
            return memory

    def release(self, lease: Any) -> None:
        with self.lock:
            del self.leases[id(lease)]
            size = lease.block.size
            self.waiting.setdefault(size, []).append(lease.block)
            self.in_use -= size
            self.idle += size
            self.trim(0)

    def trim(self, coming: int) -> None:
        """Return idle blocks to the system until the bound holds with `coming` more bytes in use."""
        in_use = self.in_use + coming
        while self.idle and in_use + self.idle > 2 * max(self.most_in_use, in_use):
            oldest = next(iter(self.waiting))
            self.waiting[oldest].pop()
            self.idle -= oldest
            if not self.waiting[oldest]:
                del self.waiting[oldest]


_POOL = _Pool()


def empty(shape: tuple[int, ...], like: Array, dtype: DType = None) -> Array:
    """Create an uninitialized array on the device of `like`, of its dtype unless another is given.

    Large NumPy arrays use recycled memory.
    """
    dtype = like.dtype if dtype is None else dtype
    if not array_api_compat.is_numpy_array(like):
        return array_namespace(like).empty(shape, dtype=dtype, device=device_of(like))
    count, kind = math.prod(shape), np.dtype(dtype)
    if count * kind.itemsize < _SMALLEST:
        return np.empty(shape, kind)
    size = count * kind.itemsize
    return _POOL.lease(_class_of(size))[:size].view(kind).reshape(shape)


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Create an array of zeros on the device of `like`, of its dtype."""
    array = empty(shape, like)
    array[...] = 0.0
    return array


def row_major(x: Array) -> Array:
    """Return `x` if it is stored row by row, else a copy that is."""
    flags = getattr(x, "flags", None)  # libraries without flags have only this layout
    if flags is None or flags.c_contiguous:
        return x
    array = empty(x.shape, x)
    array[...] = x
    return array


def _class_of(size: int) -> int:
    """Round `size` up to three leading binary digits, so that arrays of similar sizes share blocks."""
    step = 1 << max(0, size.bit_length() - 3)
    return -(-size // step) * step
