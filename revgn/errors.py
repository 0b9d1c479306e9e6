"""Errors that revgn raises. Each class also derives from the builtin error that fits it.

Numerical outcomes (rank, truncation, an inexact step) are not errors: a solver returns them in its `info`.
"""

import difflib
import os
from collections.abc import Iterable


class RevgnError(Exception):
    """Base class of all errors that revgn raises; the message is one line."""


class UsageError(RevgnError, ValueError):
    """Raised for an invalid setting, option or argument, before anything is computed."""


class ShapeError(RevgnError, ValueError):
    """Raised if the shapes of arrays do not match each other or the layer."""


class BackendError(RevgnError, TypeError):
    """Raised if arrays of two libraries are mixed, or if a backend is not available."""


class UnsupportedMapError(RevgnError, NotImplementedError):
    """Raised if a map is not implemented for a type."""


class DataError(RevgnError, ValueError):
    """Raised if a data file is missing, truncated, or unsuitable for training."""


class RunError(RevgnError, RuntimeError):
    """Raised if a run folder or checkpoint cannot be used, or if a run failed."""


class MemoryShortageError(RevgnError, MemoryError):
    """Raised if the memory of the machine or the device is not sufficient.

    If a tangent kernel does not fit into memory, `kernel_memory` is a value of `MinimumNorm.memory` (in
    bytes) for which the kernel is factored by tiles; else None.
    """

    def __init__(self, message: str, kernel_memory: int | None = None) -> None:
        super().__init__(message)
        self.kernel_memory = kernel_memory


class DamagedError(RunError):
    """Raised if a file of a run is damaged or missing."""


class RunHeldError(RunError):
    """Raised if another process is writing the run."""


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read, without the message of the library that read it.

    Examples
    --------
    >>> reason_of(PermissionError(13, "Unable to synchronously open file"))
    'permission denied'
    """
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.object[error.start]:#04x} is not UTF-8; save the file as UTF-8"
    return "the file is damaged, incomplete or of another kind"


def nearest(name: object, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return the hint for an unknown name: "did you mean adam?", else `otherwise`, by default all names."""
    near = difflib.get_close_matches(str(name), names := list(known), 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"expected one of {', '.join(names)}" if otherwise is None else otherwise
