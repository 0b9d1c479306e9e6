"""Read IDX files of unsigned bytes, the format of MNIST and similar data sets, plain or gzipped.

The layout of a file with D dimensions is

    0 0 8 D    D lengths, big-endian uint32    the bytes
"""

import math
import struct
import zlib
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from revgn.data.dataset import HostArray, reading
from revgn.errors import DataError

DEFLATE_RATIO = 1032  # largest possible ratio of unpacked to packed bytes


def read_idx(path: Path | Traversable, ndim: int) -> HostArray:
    """Read the uint8 array of `ndim` dimensions in an IDX file.

    Raises
    ------
    DataError
        If the file is not such an array, is truncated, or declares more bytes than it can hold. The declared
        size is checked before memory is allocated.
    """
    with reading(path, OSError, zlib.error):
        return _decode(path.read_bytes(), ndim, str(path))


def _decode(stored: bytes, ndim: int, where: str) -> HostArray:
    zipped = stored.startswith(b"\x1f\x8b")
    head = 4 + 4 * ndim
    start = _gunzip(stored, head) if zipped else stored[:head]
    if len(start) < head or start[:4] != bytes((0, 0, 8, ndim)):
        raise DataError(
            f"{where}: not an IDX file of unsigned bytes in {ndim} dimensions; "
            f"it starts with {start[:4].hex(' ')}"
        )
    shape = struct.unpack(f">{ndim}I", start[4:])
    size = head + math.prod(shape)
    if size > len(stored) * (DEFLATE_RATIO if zipped else 1):
        raise DataError(f"{where}: declares the shape {shape}, more than its {len(stored)} bytes can hold")
    content = _gunzip(stored, size + 1) if zipped else stored
    if len(content) != size:
        found = "more" if len(content) > size else f"only {len(content)}; the file is truncated"
        raise DataError(f"{where}: the shape {shape} needs {size} bytes, but there are {found}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _gunzip(stored: bytes, limit: int) -> bytes:
    """Unpack at most `limit` bytes; if this is the whole content, the gzip checksum is verified."""
    return zlib.decompressobj(wbits=31).decompress(stored, limit)
