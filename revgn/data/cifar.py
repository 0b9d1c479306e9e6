"""Read CIFAR-10 in its binary version (3073-byte rows) or its Python version (pickles), as files or tar.gz.

The pickles are read without running any code from them. The NumPy names in them are replaced by a stand-in
that only stores its arguments, and every other name is refused. Batches pickled again by Python 3, with any
protocol, can also be read.
"""

import io
import pickle
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from revgn.data.assemble import Rows
from revgn.data.dataset import HostArray, reading
from revgn.errors import DataError

_PIXELS = 3 * 32 * 32
_MOST_BYTES = 64 << 20  # upper bound on the size of one batch; the real batches have 31 MB
_BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")

BINARY = tuple(f"cifar-10-batches-bin/{batch}.bin" for batch in _BATCHES)
PICKLED = tuple(f"cifar-10-batches-py/{batch}" for batch in _BATCHES)


def read_cifar(paths: tuple[Path, ...]) -> tuple[Rows, Rows]:
    """Read the training and test sets from six batch files, the test batch last, or from one tar archive."""
    with reading(paths[0], OSError, EOFError, zlib.error, tarfile.TarError):
        batches = [
            _decode_binary(stored, where) if where.endswith(".bin") else _decode_pickle(stored, where)
            for where, stored in (_archived(paths[0]) if len(paths) == 1 else _loose(paths))
        ]
    images, labels = zip(*batches, strict=True)
    train = Rows(np.concatenate(images[:-1]), np.concatenate(labels[:-1]))
    return train, Rows(images[-1], labels[-1])


def _loose(paths: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        yield str(path), path.read_bytes()


def _archived(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the batches of a tar archive by name, read sequentially; paths in the archive are ignored."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name in BINARY + PICKLED:
                stream = (
                    archive.extractfile(member) if member.isfile() and member.size <= _MOST_BYTES else None
                )
                if stream is None:
                    raise DataError(f"{path}: {member.name} is not a file of at most {_MOST_BYTES} bytes")
                found[member.name] = stream.read()
    for name in BINARY if BINARY[0] in found else PICKLED:
        if name not in found:
            raise DataError(f"{path}: {name} is missing from the archive")
        yield f"{path}: {name}", found[name]


def _decode_binary(stored: bytes, where: str) -> tuple[HostArray, HostArray]:
    if not stored or len(stored) % (1 + _PIXELS):
        raise DataError(
            f"{where}: {len(stored)} bytes are not whole rows of {1 + _PIXELS}; the file may be truncated"
        )
    rows = np.frombuffer(stored, np.uint8).reshape(-1, 1 + _PIXELS)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


class _StandIn:
    """Stand-in for a NumPy array, its type and its dtype, which only stores its arguments."""

    def __init__(self, *args: object) -> None:
        self.args = args
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _encoded(*args: object) -> bytes:
    """Return bytes that old protocols store as a call of `_codecs.encode`, from the arguments of the call."""
    match args:
        case (str(text), "latin1"):
            return text.encode("latin1")
    raise pickle.UnpicklingError("_codecs.encode: expected a text and 'latin1' as arguments")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn,
    ("numpy._core.multiarray", "_reconstruct"): _StandIn,
    ("numpy.core.numeric", "_frombuffer"): _StandIn,
    ("numpy._core.numeric", "_frombuffer"): _StandIn,
    ("numpy", "ndarray"): _StandIn,
    ("numpy", "dtype"): _StandIn,
    ("_codecs", "encode"): _encoded,
}


_OPERATIONS: dict[int, Any] = {**pickle._Unpickler.dispatch}


class _BatchUnpickler(pickle._Unpickler):
    """Unpickler that only admits the names in a CIFAR-10 batch.

    It is based on Python's implementation, because a small file can make the C implementation allocate
    gigabytes.
    """

    def __init__(self, stored: bytes, where: str) -> None:
        super().__init__(io.BytesIO(stored), encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        raise DataError(f"{self._where}: contains {module}.{name}, which is not part of a CIFAR-10 batch")

    def _load_bytearray(self: Any) -> None:
        """Read a bytearray without allocating its declared size."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(size))

    dispatch = _OPERATIONS | {pickle.BYTEARRAY8[0]: _load_bytearray}


def _decode_pickle(stored: bytes, where: str) -> tuple[HostArray, HostArray]:
    with reading(where):
        batch = _BatchUnpickler(stored, where).load()
    match {_text(key): value for key, value in batch.items()} if isinstance(batch, dict) else None:
        case {"data": _StandIn() as array, "labels": list(labels)}:
            raw, shape, order = _contents(array)
            n = len(labels)
            if (
                n
                and shape == (n, _PIXELS)
                and len(raw) == n * _PIXELS
                and all(k in range(10) for k in labels)
            ):
                pixels = np.frombuffer(raw, np.uint8).reshape((n, _PIXELS), order=order)
                return pixels.reshape(-1, 3, 32, 32), np.array(labels, np.uint8)
    raise DataError(f"{where}: not a CIFAR-10 batch (expected data as bytes (n, 3072) and n labels 0..9)")


def _text(key: object) -> object:
    return key.decode("latin1") if isinstance(key, bytes) else key


def _contents(array: _StandIn) -> tuple[bytes, object, Literal["C", "F"]]:
    """Return bytes, shape and order of an array of uint8, which protocol 5 writes in another form."""
    match array:
        case _StandIn(state=(_, shape, _StandIn(args=(b"u1" | "u1", *_)), is_fortran, bytes(raw))):
            return raw, shape, "F" if is_fortran else "C"
        case _StandIn(args=(bytes(raw), _StandIn(args=("u1", *_)), shape, "C" | "F" as order)):
            return raw, shape, order
    return b"", None, "C"
