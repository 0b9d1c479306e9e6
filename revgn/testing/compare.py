"""How close is close: one table of tolerances, and comparisons that also see library, dtype and device.

Errors are measured on the host in float64, relative to the norm of the expected value. All functions
take trees: an array, or nested tuples of arrays (None stands for what is not there).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np

from revgn.arrays import DType, array_namespace, backend_of, device_of, to_host
from revgn.trees import leaves, map_leaves, named_leaves

Kind = Literal["same", "map", "chain", "solve", "difference"]

_MEASURED: ContextVar[list[tuple[float, float]] | None] = ContextVar("measured", default=None)
_TOLERANCES: dict[Kind, tuple[float, float]] = {  # in float64, in float32
    "same": (0.0, 0.0),
    "map": (1e-13, 1e-5),
    "chain": (1e-11, 1e-4),
    "solve": (1e-11, 1e-4),
    "difference": (1e-8, 2e-3),
}


def tolerance(dtype: DType, kind: Kind) -> float:
    """Largest relative error that counts as rounding.

    Parameters
    ----------
    kind : {"same", "map", "chain", "solve", "difference"}
        The same bits (0); one map (1e-13 in double precision, 1e-5 in single); a chain of maps, or a solve of
        built-in condition (1e-11, 1e-4); differences, which lose a third of the digits (1e-8, 2e-3).
    """
    double, single = _TOLERANCES[kind]
    return double if "float64" in str(dtype) else single


def relative_error(actual: Any, expected: Any, scale: float | None = None) -> float:
    """|actual - expected| / |expected| over all leaves, or / `scale`; where that is 0, the absolute error."""
    pairs = zip(_host(actual), _host(expected), strict=True)
    missed = math.hypot(*(float(np.linalg.norm((a - e).ravel())) for a, e in pairs))
    size = norm(expected) if scale is None else scale
    return missed / size if size else missed


def assert_close(law: str, actual: Any, expected: Any, limit: float, scale: float | None = None) -> None:
    """Raise unless `actual` is `expected` up to a relative error of `limit`, in library, dtype and place too.

    Errors are relative to the norm of `expected`, or to `scale`; NaN never passes. The `AssertionError` has
    the law, the measured error and the tolerance.
    """
    assert_same_kind(law, actual, expected)
    error = relative_error(actual, expected, scale)
    note(error, limit)
    if not error <= limit:
        raise AssertionError(f"{law}: relative error {error:.2e}, tolerance {limit:.0e}")


@contextmanager
def measuring() -> Iterator[list[tuple[float, float]]]:
    """Give a list that takes the error and the tolerance of every comparison made in the block."""
    found: list[tuple[float, float]] = []
    token = _MEASURED.set(found)
    try:
        yield found
    finally:
        _MEASURED.reset(token)


def note(error: float, limit: float) -> None:
    """Tell whoever is measuring of a comparison."""
    if (found := _MEASURED.get()) is not None:
        found.append((error, limit))


def assert_same_kind(law: str, actual: Any, expected: Any) -> None:
    """Raise unless both trees have the same structs, their arrays the same library, dtype, shape, device."""
    if isinstance(expected, tuple) or isinstance(actual, tuple):
        if type(actual) is not type(expected) or len(actual) != len(expected):
            raise AssertionError(f"{law}: got {_describe(actual)}, expected {_describe(expected)}")
        for a, e in zip(actual, expected, strict=True):
            assert_same_kind(law, a, e)
    elif actual is None or expected is None:
        if actual is not expected:
            raise AssertionError(f"{law}: got {_describe(actual)}, expected {_describe(expected)}")
    else:
        for what, of in (
            ("library", lambda x: array_namespace(x).__name__),
            ("dtype", lambda x: x.dtype),
            ("shape", lambda x: x.shape),
            ("device", device_of),
        ):
            if of(actual) != of(expected):
                raise AssertionError(f"{law}: {what} is {of(actual)}, expected {of(expected)}")


def draw_like(rng: np.random.Generator, tree: Any, scale: float = 1.0) -> Any:
    """Tree like `tree` of independent N(0, scale^2) numbers; read-only where the library can say so."""

    def draw(x: Any) -> Any:
        drawn = backend_of(x).asarray(np.asarray(scale * rng.standard_normal(x.shape)), dtype=x.dtype)
        if isinstance(drawn, np.ndarray):
            drawn.flags.writeable = False
        return drawn

    return map_leaves(draw, tree)


def inner(x: Any, y: Any) -> float:
    """<x, y>, the sum of the products of all elements, in float64."""
    return math.fsum(float(np.vdot(a, b)) for a, b in zip(_host(x), _host(y), strict=True))


def norm(x: Any) -> float:
    """|x|, the Euclidean norm over all elements, in float64."""
    return math.hypot(*(float(np.linalg.norm(a.ravel())) for a in _host(x)))


def snapshot(tree: Any) -> list[tuple[str, bytes]]:
    """The bits of all arrays of `tree`, to see later whether anybody changed them."""
    return [(name, to_host(x).tobytes()) for name, x in named_leaves(tree) if x is not None]


def agree(law: str, left: float, right: float, size: float, limit: float) -> None:
    """Raise unless two numbers are the same up to `limit` times `size`."""
    error = abs(left - right) / size if size else abs(left - right)
    note(error, limit)
    if not error <= limit:
        raise AssertionError(
            f"{law}: {left:.6g} against {right:.6g}, relative error {error:.2e}, tolerance {limit:.0e}"
        )


def dtype_of(tree: Any) -> DType:
    """Data type of the first array of `tree`."""
    return next(leaves(tree)).dtype


def _host(tree: Any) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(to_host(x), dtype=np.float64) for x in leaves(tree) if x is not None]


def _describe(x: Any) -> str:
    return f"{type(x).__name__} of {len(x)}" if isinstance(x, tuple) else type(x).__name__
