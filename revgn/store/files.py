"""Atomic writing of files, and HDF5 files whose damage is reported as one clear error.

An HDF5 file written here ends in a seal: the CRC-32 of the content before it. HDF5 readers ignore the seal.
It is checked before the file is opened, since the HDF5 library can loop endlessly on a damaged file. Editing
the file with h5py removes the seal; the file is then read without this check.
"""

import io
import os
import re
import shutil
import signal
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t
from numpy.typing import NDArray

from revgn.errors import DamagedError, RunError, reason_of
from revgn.store.names import PARTIAL_FILE

SEAL = b"crc32 %08x\n"
SEAL_BYTES = len(SEAL % 0)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals that ask a process to stop
_TEXT = h5py.string_dtype()
_TEXT_KINDS = h5t.py_create(_TEXT, logical=True), h5t.py_create(_TEXT)  # in a file, in memory
_SCALAR = h5s.create(h5s.SCALAR)
_NO_TIMES, _NAN = (h5p.create(h5p.DATASET_CREATE) for _ in range(2))
for _each in (_NO_TIMES, _NAN):
    _each.set_obj_track_times(False)  # equal data give equal files
_NAN.set_fill_value(np.array(np.nan))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert an `OSError` during writing into a `RunError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay the signals that ask to stop until the block ends; for short blocks in the main thread."""
    received: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in STOPPING}
        before = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new path beside `path`; the file or folder written there replaces `path` when the block ends.

    Other processes can write the same file, or others in its folder, at the same time. If the block fails,
    what it has written is removed, `path` is unchanged, and an `OSError` becomes a `RunError`.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}")
    with writing(path):
        try:
            yield partial
            partial.replace(path)
        except BaseException:
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)
            raise


def write_shared(path: Path, content: bytes) -> None:
    """Write a file atomically into a folder to which other processes write as well."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def create_shared(path: Path, content: bytes) -> bool:
    """Write a new file as `write_shared` does; return False, and write nothing, if the file exists."""
    new = path.with_name(f".{uuid.uuid4().hex}")
    write_shared(new, content)
    try:
        os.link(new, path)  # of several processes, this succeeds in one only
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        write_shared(path, content)
    finally:
        new.unlink(missing_ok=True)
    return True


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`, with further calls if the system writes only a part at once."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_whole(path: Path, *content: bytes) -> None:
    """Write the parts of `content` to `path` atomically: a system crash leaves the old or the new file.

    Only one process at a time may write into the folder; files that a killed process left there are
    overwritten. If writing fails, for instance on a full disk, `RunError` is raised and the old file is
    unchanged.
    """
    partial = path.with_name(PARTIAL_FILE)
    with writing(path):
        try:
            with partial.open("wb", buffering=0) as file:
                for part in content:
                    write_all(file.fileno(), part)
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_hdf5(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Build an HDF5 file in memory with `fill`, then write it to `path` atomically.

    The file has the format of HDF5 1.8, which all readers support and whose object headers have checksums. It
    is closed before its image is taken, since HDF5 1.14 writes a wrong superblock checksum into the image of
    an open file.
    """
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v108", "v108")) as file:
        fill(file)
    content = image.getvalue()
    write_whole(path, content, SEAL % zlib.crc32(content))


def write_attributes(node: Any, attributes: Mapping[str, Any]) -> None:
    """Write attributes to a new file, group or dataset.

    This is equivalent to `node.attrs.update`, but several times as fast for texts and numbers: to protect an
    existing attribute, h5py first creates each new one under a temporary name.
    """
    for name, value in attributes.items():
        if isinstance(value, str):
            array, stored, given = np.asarray(value, _TEXT), *_TEXT_KINDS
        elif isinstance(value, int | float):
            array = np.asarray(value)
            stored = given = h5t.py_create(array.dtype, logical=True)
        else:
            node.attrs[name] = value
            continue
        h5a.create(node.id, name.encode(), stored, _SCALAR).write(array, given)


def write_series(group: h5py.Group, name: str, values: NDArray[np.float64] | int) -> h5py.Dataset:
    """Write a one-dimensional dataset of float64 numbers, or of the given number of NaN, which take no space.

    This is equivalent to `group.create_dataset`, but takes a third of its time.
    """
    count = values if isinstance(values, int) else len(values)
    settings = _NAN if isinstance(values, int) else _NO_TIMES
    data = h5d.create(group.id, name.encode(), h5t.IEEE_F64LE, h5s.create_simple((count,)), settings)
    if not isinstance(values, int):
        data.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values, "<f8"))
    return h5py.Dataset(data)


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; any error in the block becomes a `RunError` that names the file.

    It is a `DamagedError` if the file is missing or damaged.
    """
    try:
        has_seal(path)
        with h5py.File(path, "r") as file:
            yield file
    except RunError:
        raise
    except FileNotFoundError as error:
        raise DamagedError(f"{path}: is missing") from error
    except Exception as error:  # h5py raises many types: OSError, KeyError, RuntimeError, TypeError
        is_closed = isinstance(error, MemoryError) or bool(getattr(error, "errno", None))
        kind = RunError if is_closed else DamagedError
        raise kind(f"{path}: cannot be read: {reason_of(error)}") from error


def read_attributes(node: Any, without: str | None = None) -> dict[str, Any]:
    """Return the attributes of a file or group as Python numbers and strings.

    Attributes whose names start with `without` are left out.
    """
    names = [name for name in node.attrs if without is None or not name.startswith(without)]
    values = ((name, node.attrs[name]) for name in names)
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values}


def has_seal(path: Path) -> bool:
    """Return whether the file ends in a seal; one that does not match the content raises `DamagedError`."""
    crc = 0
    with path.open("rb") as file:
        rest = max(os.fstat(file.fileno()).st_size - SEAL_BYTES, 0)
        while chunk := file.read(min(rest, 2**20)):
            crc = zlib.crc32(chunk, crc)
            rest -= len(chunk)
        seal = file.read()
    if not re.fullmatch(rb"crc32 [0-9a-f]{8}\n", seal):
        return False
    if seal != SEAL % crc:
        raise DamagedError(f"{path}: is damaged: its CRC-32 does not match its content")
    return True
