"""Deferred results: they depend on numbers from the device, and many can be read with a single wait.

A GPU runs asynchronously: launching a kernel returns at once. Reading a number makes the program wait until
the device has computed it, and nothing new is queued meanwhile. A computation that depends on such numbers is
therefore split into two parts. The first part queues the work on the device and lists the numbers to read.
The second part runs on the host and computes the result from these numbers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import array_api_compat
import numpy as np

from revgn.arrays.namespace import array_namespace, to_host
from revgn.arrays.typing import Array

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class Deferred(Generic[T_co]):
    """The result `finish(*numbers)`, whose numbers may not have been computed yet.

    Parameters
    ----------
    numbers : tuple of arrays
        Small arrays of real numbers or booleans; empty if there is nothing to wait for.
    finish : callable
        Returns the result, or a further deferred result that ends in it. Its arguments are the arrays of
        `numbers`, copied to the host in double precision: NumPy arrays of the same shape, or floats where the
        shape is ().
    """

    numbers: tuple[Array, ...]
    finish: Callable[..., "T_co | Deferred[T_co]"]

    def then(self, function: "Callable[[T_co], S | Deferred[S]]") -> "Deferred[S]":
        """Apply `function`, which may return a further deferred result, to the result when it is read."""

        def finish(*numbers: Any) -> "S | Deferred[S]":
            found = self.finish(*numbers)
            return found.then(function) if isinstance(found, Deferred) else function(found)

        return Deferred(self.numbers, finish)


def ready(result: T) -> Deferred[T]:
    """Wrap a result that is known already."""
    return Deferred((), lambda: result)


def read(deferred: Deferred[T]) -> T:
    """Return the result, waiting for the device at most once, and once for each further deferred result.

    Examples
    --------
    >>> import numpy as np
    >>> read(Deferred((np.asarray(2.0), np.asarray(3.0)), lambda a, b: a + b))
    5.0
    """
    while True:
        found = deferred.finish(*_on_host(deferred.numbers))
        if not isinstance(found, Deferred):
            return found
        deferred = found


def together(deferred: Sequence[Deferred[T]]) -> Deferred[list[T]]:
    """Combine deferred results into a deferred list, which is read with one wait per round.

    Examples
    --------
    >>> read(together([ready(1), ready(2)]))
    [1, 2]
    """

    def finish(*numbers: Any) -> "list[T] | Deferred[list[T]]":
        rest, results = list(numbers), []
        for each in deferred:
            count = len(each.numbers)
            results.append(each.finish(*rest[:count]))
            del rest[:count]
        if not any(isinstance(found, Deferred) for found in results):
            return cast("list[T]", results)
        return together([found if isinstance(found, Deferred) else ready(found) for found in results])

    return Deferred(tuple(number for each in deferred for number in each.numbers), finish)


def fetch(numbers: Sequence[Array]) -> list[float]:
    """Return 0-d arrays of one library as Python floats, waiting for the device once.

    Examples
    --------
    >>> import numpy as np
    >>> fetch([np.asarray(1.0), np.asarray(0.5)])
    [1.0, 0.5]
    """
    return read(Deferred(tuple(numbers), lambda *found: list(found)))


def runs_ahead(x: Array) -> bool:
    """Return whether work on `x` runs asynchronously, so that reading a number makes the program wait."""
    return not array_api_compat.is_numpy_array(x)


def _on_host(arrays: tuple[Array, ...]) -> list[Any]:
    if not arrays:
        return []
    if not runs_ahead(arrays[0]):
        return [_plain(np.asarray(x)) for x in arrays]
    xp = array_namespace(*arrays)
    places: dict[Any, list[int]] = {}
    for at, x in enumerate(arrays):
        places.setdefault(x.dtype, []).append(at)
    flat = []  # one array per dtype; several dtypes are cast to one on the device, for a single transfer
    for dtype, of_dtype in places.items():
        parts = [xp.reshape(arrays[at], (-1,)) for at in of_dtype]
        joined = parts[0] if len(parts) == 1 else xp.concat(parts)
        flat.append(joined if len(places) == 1 or dtype == xp.float64 else xp.astype(joined, xp.float64))
    numbers, start = to_host(flat[0] if len(flat) == 1 else xp.concat(flat)), 0
    found: list[Any] = [None] * len(arrays)
    for at in (at for of_dtype in places.values() for at in of_dtype):
        count = math.prod(arrays[at].shape)
        found[at] = _plain(numbers[start : start + count].reshape(arrays[at].shape))
        start += count
    return found


def _plain(x: np.ndarray[Any, Any]) -> Any:
    return x.astype(np.float64) if x.ndim else float(x)
