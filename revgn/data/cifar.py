"""Read CIFAR-10 in its binary version (3073-byte rows) or its Python version (pickles), as files or tar.gz.

The pickles are read without running any code from them. The three NumPy names in them are replaced by a
stand-in that only stores its arguments, and every other name is refused.
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


class _BatchUnpickler(pickle._Unpickler):
    """Unpickler that only admits the names in a CIFAR-10 batch.

    It is based on Python's implementation, because a small file can make the C implementation allocate
    gigabytes.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        ):
            return _StandIn
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not part of a CIFAR-10 batch")


def _decode_pickle(stored: bytes, where: str) -> tuple[HostArray, HostArray]:
    with reading(where):
        batch = _BatchUnpickler(io.BytesIO(stored), encoding="bytes").load()
    match batch:
        case {
            b"data": _StandIn(
                state=(_, (int(n), 3072), _StandIn(args=(b"u1" | "u1", *_)), order, bytes(raw))
            ),
            b"labels": list(labels),
        } if n == len(labels) > 0 and len(raw) == n * _PIXELS and all(k in range(10) for k in labels):
            pixels = np.frombuffer(raw, np.uint8).reshape((n, _PIXELS), order="F" if order else "C")
            return pixels.reshape(-1, 3, 32, 32), np.array(labels, np.uint8)
    raise DataError(f"{where}: not a CIFAR-10 batch (expected data as bytes (n, 3072) and n labels 0..9)")
