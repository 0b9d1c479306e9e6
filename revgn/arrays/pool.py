"""Large NumPy arrays in recycled memory: on the host what CuPy's memory pool is on the device.

A fresh array of megabytes costs the system more than the arithmetic on it: every page is cleared and mapped
anew. An array of `empty` lives in a block that is used again, once the array and all its views are gone, for
the next array of about that size. All blocks together are at most twice what was once in use at a time.
"""

import math
import threading
import weakref
from typing import Any

import array_api_compat
import numpy as np

from revgn.arrays.namespace import array_namespace, device_of
from revgn.arrays.typing import Array, DType

_SMALLEST = 1 << 16  # bytes; below, the system's allocator is as good


class _Lease(weakref.ref[Any]):
    """Reference to an array in use, which all its views keep alive; when it dies, its block is free again."""

    __slots__ = ("block",)
    block: np.ndarray[Any, Any]


class _Pool:
    """Blocks in use, and blocks that wait: by size, the size not used for longest first."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a lease may end at any moment, also inside `lease`
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
                block = np.empty(size, np.uint8)
            if blocks:
                self.waiting[size] = blocks
            # over a memoryview, so that views of views refer to this very array, not to the block
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
            while self.in_use + self.idle > 2 * self.most_in_use:
                oldest = next(iter(self.waiting))
                self.waiting[oldest].pop()
                self.idle -= oldest
                if not self.waiting[oldest]:
                    del self.waiting[oldest]


_POOL = _Pool()


def empty(shape: tuple[int, ...], like: Array, dtype: DType = None) -> Array:
    """Array of unset numbers on the device of `like`, of its dtype unless another is given.

    Large NumPy arrays come from recycled memory.
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
    """Array of zeros on the device of `like`, of its dtype."""
    array = empty(shape, like)
    array[...] = 0.0
    return array


def row_major(x: Array) -> Array:
    """`x` itself where it is stored row by row, else a copy that is."""
    flags = getattr(x, "flags", None)  # a library without them has one layout
    if flags is None or flags.c_contiguous:
        return x
    array = empty(x.shape, x)
    array[...] = x
    return array


def _class_of(size: int) -> int:
    """`size` rounded up to three leading binary digits, so that arrays of about one size share blocks."""
    step = 1 << max(0, size.bit_length() - 3)
    return -(-size // step) * step
