"""Tolerances, and comparisons that also cover library, dtype and device.

Errors are computed on the host in float64, relative to the norm of the expected value. All functions accept
trees: an array, or nested tuples of arrays, in which None marks a missing array.
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
    """Return the largest relative error that counts as a rounding error.

    Parameters
    ----------
    kind : {"same", "map", "chain", "solve", "difference"}
        "same": equality of all bits (0). "map": one map (1e-13 in double precision, 1e-5 in single
        precision). "chain" or "solve": a chain of maps, or the solution of a well-conditioned system (1e-11,
        1e-4). "difference": finite differences, which lose a third of the digits (1e-8, 2e-3).
    """
    double, single = _TOLERANCES[kind]
    return double if "float64" in str(dtype) else single


def relative_error(actual: Any, expected: Any, scale: float | None = None) -> float:
    """Return |actual - expected| / |expected| over all leaves.

    The denominator is `scale` if it is given. If the denominator is 0, the result is |actual - expected|.
    """
    pairs = zip(_host(actual), _host(expected), strict=True)
    missed = math.hypot(*(float(np.linalg.norm((a - e).ravel())) for a, e in pairs))
    size = norm(expected) if scale is None else scale
    return missed / size if size else missed


def assert_close(law: str, actual: Any, expected: Any, limit: float, scale: float | None = None) -> None:
    """Raise unless `actual` equals `expected` up to a relative error of `limit`.

    Library, dtype, shape and device must agree as well. Errors are relative to the norm of `expected`, or to
    `scale`; NaN always fails. The `AssertionError` states the law, the measured error and the tolerance.
    """
    assert_same_kind(law, actual, expected)
    error = relative_error(actual, expected, scale)
    note(error, limit)
    if not error <= limit:
        raise AssertionError(f"{law}: relative error {error:.2e}, tolerance {limit:.0e}")


@contextmanager
def measuring() -> Iterator[list[tuple[float, float]]]:
    """Yield a list to which each comparison in the block appends its error and tolerance."""
    found: list[tuple[float, float]] = []
    token = _MEASURED.set(found)
    try:
        yield found
    finally:
        _MEASURED.reset(token)


def note(error: float, limit: float) -> None:
    """Append a comparison to the list of the enclosing `measuring` block, if there is one."""
    if (found := _MEASURED.get()) is not None:
        found.append((error, limit))


def assert_same_kind(law: str, actual: Any, expected: Any) -> None:
    """Raise unless both trees have the same structs, and arrays of the same library, dtype, shape, device."""
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
    """Return a tree like `tree` with independent N(0, scale^2) entries; NumPy arrays are read-only."""

    def draw(x: Any) -> Any:
        drawn = backend_of(x).asarray(np.asarray(scale * rng.standard_normal(x.shape)), dtype=x.dtype)
        if isinstance(drawn, np.ndarray):
            drawn.flags.writeable = False
        return drawn

    return map_leaves(draw, tree)


def inner(x: Any, y: Any) -> float:
    """Return <x, y>, the sum of the products of all elements, in float64."""
    return math.fsum(float(np.vdot(a, b)) for a, b in zip(_host(x), _host(y), strict=True))


def norm(x: Any) -> float:
    """Return |x|, the Euclidean norm over all elements, in float64."""
    return math.hypot(*(float(np.linalg.norm(a.ravel())) for a in _host(x)))


def snapshot(tree: Any) -> list[tuple[str, bytes]]:
    """Return the bytes of all arrays of `tree`, for a later comparison that detects changes."""
    return [(name, to_host(x).tobytes()) for name, x in named_leaves(tree) if x is not None]


def agree(law: str, left: float, right: float, size: float, limit: float) -> None:
    """Raise unless two numbers differ by at most `limit` times `size`."""
    error = abs(left - right) / size if size else abs(left - right)
    note(error, limit)
    if not error <= limit:
        raise AssertionError(
            f"{law}: {left:.6g} and {right:.6g} differ, relative error {error:.2e}, tolerance {limit:.0e}"
        )


def dtype_of(tree: Any) -> DType:
    """Return the data type of the first array of `tree`."""
    return next(leaves(tree)).dtype


def _host(tree: Any) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(to_host(x), dtype=np.float64) for x in leaves(tree) if x is not None]


def _describe(x: Any) -> str:
    return f"{type(x).__name__} of {len(x)}" if isinstance(x, tuple) else type(x).__name__
