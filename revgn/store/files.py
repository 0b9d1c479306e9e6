"""Files that are whole at any instant, and HDF5 files whose damage is one clear error.

After the end of an HDF5 file comes a seal, which every HDF5 reader ignores: the CRC-32 of all before
it. It is checked first, for the HDF5 library may follow a damaged file into an endless loop. Whoever
edits the file with h5py removes the seal; it is then read without.
"""

import io
import os
import re
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5s, h5t

from revgn.errors import RunError
from revgn.store.names import PARTIAL_FILE

SEAL = b"crc32 %08x\n"
SEAL_BYTES = len(SEAL % 0)
_TEXT = h5py.string_dtype()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into a `RunError`."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait for the end of a short piece of work in the main thread."""
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`: in one call, save where the system takes only a part."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_whole(path: Path, *content: bytes) -> None:
    """Put `content`, part after part, at `path`; a reader sees the old file or the new one, never both.

    Where the system refuses, as with a full disk, `RunError` is raised and the old file is still there.
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
    """Build an HDF5 file in memory with `fill`, then put it at `path` whole.

    The format is that of HDF5 1.8, which every reader has and whose object headers carry checksums. The image
    is that of a closed file: HDF5 1.14 gives that of an open one a superblock with a wrong checksum.
    """
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v108", "v108")) as file:
        fill(file)
    content = image.getvalue()
    write_whole(path, content, SEAL % zlib.crc32(content))


def write_attributes(node: Any, attributes: Mapping[str, Any]) -> None:
    """Give a new file, group or dataset its attributes.

    As `node.attrs.update` does, which takes four times as long for a text or a number: it makes each under a
    name of its own first, lest one that is there be lost.
    """
    for name, value in attributes.items():
        if not isinstance(value, str | int | float):
            node.attrs[name] = value
            continue
        array = np.asarray(value, _TEXT if isinstance(value, str) else None)
        made = h5a.create(
            node.id, name.encode(), h5t.py_create(array.dtype, logical=True), h5s.create(h5s.SCALAR)
        )
        made.write(array)


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; whatever fails while it is read becomes a `RunError` that names it."""
    try:
        has_seal(path)
        with h5py.File(path, "r") as file:
            yield file
    except RunError:
        raise
    except FileNotFoundError as error:
        raise RunError(f"{path}: is missing") from error
    except Exception as error:  # h5py raises nearly everything: OSError, KeyError, RuntimeError, TypeError
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: cannot be read, it may be damaged: {reason}") from error


def read_attributes(node: Any, without: str | None = None) -> dict[str, Any]:
    """Return the attributes of a file or group, save those that begin so, as Python numbers and strings."""
    names = [name for name in node.attrs if without is None or not name.startswith(without)]
    values = ((name, node.attrs[name]) for name in names)
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values}


def has_seal(path: Path) -> bool:
    """Return whether the file ends in a seal; raise `RunError` for a seal that does not fit the file."""
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
        raise RunError(f"{path}: is damaged: its CRC-32 differs")
    return True
