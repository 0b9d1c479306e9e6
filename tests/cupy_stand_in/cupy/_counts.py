"""Counts of what costs time on a GPU: launches, waits of the host, uploads, and copies of operands."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_HERE = str(Path(__file__).parents[1])
_BETWEEN = ("array_api_compat", "contextlib", "revgn/arrays/")


@dataclass
class Counts:
    """Numbers of events, by operation and place in the code."""

    launches: Counter[str] = field(default_factory=Counter)  # of kernels; a routine of a library counts once
    waits: Counter[str] = field(default_factory=Counter)  # of the host for the device
    uploads: Counter[str] = field(default_factory=Counter)  # copies from host to device
    copies: Counter[str] = field(default_factory=Counter)  # operands that a library needs contiguous


_ACTIVE: list[Counts] = []


@contextmanager
def counting() -> Iterator[Counts]:
    """Yield the counts of all operations within the block."""
    counts = Counts()
    _ACTIVE.append(counts)
    try:
        yield counts
    finally:
        _ACTIVE.remove(counts)


@contextmanager
def uncounted() -> Iterator[None]:
    """Count no operation within the block, which is a part of one kernel."""
    active, _ACTIVE[:] = _ACTIVE[:], []
    try:
        yield
    finally:
        _ACTIVE[:] = active


def launch(name: str, times: int = 1) -> None:
    _count("launches", name, times)


def wait(name: str) -> None:
    _count("waits", name)


def upload(name: str) -> None:
    _count("uploads", name)


def copied(name: str) -> None:
    """Count the copy of an operand, which is a launch, too."""
    _count("copies", name)
    _count("launches", f"copy for {name}")


def _count(kind: str, name: str, times: int = 1) -> None:
    if _ACTIVE:
        key = f"{name} at {_place()}"
        for counts in _ACTIVE:
            getattr(counts, kind)[key] += times


def _place() -> str:
    """File and line of the code that called the library, or that called `revgn.arrays` for it."""
    frame = sys._getframe(3)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_HERE) and not any(part in file for part in _BETWEEN):
            break
        frame = frame.f_back
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])}:{frame.f_lineno}"
