"""What goes wrong by somebody's mistake. Each error is also the builtin that fits it.

Outcomes of the numbers (rank, truncation, an inexact step) are not errors: they are data in the
`info` that a solver returns.
"""

import difflib
from collections.abc import Iterable


class RevgnError(Exception):
    """The root of all errors that revgn raises on purpose; its text is one clear line."""


class UsageError(RevgnError, ValueError):
    """A setting, option or argument that cannot be accepted; nothing has been computed yet."""


class ShapeError(RevgnError, ValueError):
    """Arrays whose shapes do not fit each other or the layer."""


class BackendError(RevgnError, TypeError):
    """Arrays of two libraries in one call, or a backend that is not there."""


class UnsupportedMapError(RevgnError, NotImplementedError):
    """A map that this type does not have."""


class DataError(RevgnError, ValueError):
    """A data file that is missing, truncated, or holds what cannot be trained on."""


class RunError(RevgnError, RuntimeError):
    """A run folder or checkpoint that cannot be used, or a run that failed."""


class MemoryShortageError(RevgnError, MemoryError):
    """Memory of the machine or the device that was not enough.

    Where a tangent kernel found no room as a whole, `kernel_memory` is a bound (`MinimumNorm.memory`) below
    which it is factored by tiles; else None.
    """

    def __init__(self, message: str, kernel_memory: int | None = None) -> None:
        super().__init__(message)
        self.kernel_memory = kernel_memory


class RunHeldError(RunError):
    """A run that another process is writing."""


def nearest(name: object, known: Iterable[str], otherwise: str = "") -> str:
    """Return the hint of an unknown name: "did you mean adam?", else `otherwise`, else all known names."""
    near = difflib.get_close_matches(str(name), names := list(known), 1)
    return f"did you mean {near[0]}?" if near else otherwise or f"known are {', '.join(names)}"
