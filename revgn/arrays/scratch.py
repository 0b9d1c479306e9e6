"""Storage for intermediate arrays: in memory while there is room, then in one temporary file on the host.

The file is read and written by system calls. It is not mapped, because pages of a mapped file count as
memory of the process, and a full disk would kill the process. The file has no name, so it is removed however
the process ends.
"""

import os
import shutil
import tempfile
from collections.abc import Hashable
from typing import IO, Any, NamedTuple

import array_api_compat
import numpy as np

from revgn.arrays.namespace import array_namespace, backend_of, to_host
from revgn.arrays.pool import empty
from revgn.arrays.typing import Array
from revgn.errors import RunError, UsageError


class _Place(NamedTuple):
    """Offset and shape of an array in the file, and an empty array of its library, device and dtype."""

    offset: int
    shape: tuple[int, ...]
    like: Array


class Scratch:
    """Arrays by key, each stored once: in memory if it fits in the remaining room, else on disk.

    Parameters
    ----------
    room : int
        Memory that the arrays may take, in bytes.
    expected : int
        Size of all arrays that will be stored, in bytes, if known.

    Raises
    ------
    UsageError
        If the disk has too little space for the expected arrays that do not fit in memory.
    """

    def __init__(self, room: int, expected: int = 0) -> None:
        self.room = room
        self.in_memory = self.on_disk = 0
        self._kept: dict[Hashable, Array] = {}
        self._places: dict[Hashable, _Place] = {}
        self._file: IO[bytes] | None = None
        folder = scratch_folder()
        free = shutil.disk_usage(folder).free
        if expected - room > free:
            raise UsageError(
                f"memory: with {room / 1e9:.3g} GB, {(expected - room) / 1e9:.3g} GB on disk are needed, but "
                f"{folder} has {free / 1e9:.3g} GB left; allow more memory, or set TMPDIR to another folder"
            )

    def put(self, key: Hashable, array: Array) -> None:
        """Store `array`, which the caller must not use any more.

        Raises
        ------
        RunError
            If the disk is full.
        """
        size = nbytes(array.shape, array)
        if self.in_memory + size <= self.room:
            self._kept[key] = array
            self.in_memory += size
            return
        self._places[key] = _Place(self.on_disk, array.shape, empty((0,), array))
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=scratch_folder(), buffering=0)  # noqa: SIM115
            self._file.seek(self.on_disk)
            left = _bytes_of(np.ascontiguousarray(to_host(array)))
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise RunError(
                f"scratch file in {scratch_folder()}: {error.strerror}; set TMPDIR to another folder"
            ) from None
        self.on_disk += size

    def get(self, key: Hashable) -> Array:
        """Return the array stored as `key`, from memory or from disk; it must not be written to."""
        if key in self._kept:
            return self._kept[key]
        offset, shape, like = self._places[key]
        assert self._file is not None
        host: Any = empty(shape, to_host(like))
        self._file.seek(offset)
        left = _bytes_of(host)
        while left:
            count = self._file.readinto(left)  # type: ignore[attr-defined]
            if not count:
                raise RunError(f"scratch file in {scratch_folder()}: unexpected end of file")
            left = left[count:]
        return host if array_api_compat.is_numpy_array(like) else backend_of(like).asarray(host)

    def close(self) -> None:
        """Drop all arrays and delete the file."""
        self._kept.clear()
        if self._file is not None:
            self._file.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()


def scratch_folder() -> str:
    """Folder for large temporary files: TMPDIR if set, else /var/tmp, since /tmp is often held in memory."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):
        return "/var/tmp"
    return tempfile.gettempdir()


def nbytes(shape: tuple[int, ...], like: Array) -> int:
    """Size in bytes of an array of `shape` with the dtype of `like`."""
    return int(np.prod(shape)) * int(array_namespace(like).finfo(like.dtype).bits) // 8


def _bytes_of(host: Any) -> memoryview:
    return memoryview(host).cast("B") if host.size else memoryview(b"")
