"""Results that wait for numbers from the device, so that many of them cost one wait.

A GPU works behind the program: launching a kernel returns at once, and only a number that the program reads
makes it wait, with nothing queued meanwhile. What depends on such numbers is therefore written in two halves:
the first queues the work and names the numbers, the second, on the host, says what follows from them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import array_api_compat
import numpy as np

from revgn.arrays.namespace import array_namespace, to_host
from revgn.arrays.typing import Array

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class Deferred(Generic[T_co]):
    """`finish(*numbers)`, where the numbers may not be there yet.

    Parameters
    ----------
    numbers : tuple of arrays
        Small ones, of real numbers or booleans; none where nothing is waited for.
    finish : callable
        From the numbers to the result. It is given the elements of each array in double precision on the
        host: an array of the same shape, or a float where the shape is ().
    """

    numbers: tuple[Array, ...]
    finish: Callable[..., T_co]

    def then(self, function: Callable[[T_co], S]) -> "Deferred[S]":
        """`function` of the result."""
        return Deferred(self.numbers, lambda *numbers: function(self.finish(*numbers)))


def ready(result: T) -> Deferred[T]:
    """A result that waits for nothing."""
    return Deferred((), lambda: result)


def read(deferred: Deferred[T]) -> T:
    """The result, with one wait for the device at most.

    Examples
    --------
    >>> import numpy as np
    >>> read(Deferred((np.asarray(2.0), np.asarray(3.0)), lambda a, b: a + b))
    5.0
    """
    return deferred.finish(*_on_host(deferred.numbers))


def together(deferred: Sequence[Deferred[T]]) -> Deferred[list[T]]:
    """All results as one, so that they are read with one wait.

    Examples
    --------
    >>> read(together([ready(1), ready(2)]))
    [1, 2]
    """

    def finish(*numbers: Any) -> list[T]:
        rest, results = list(numbers), []
        for each in deferred:
            count = len(each.numbers)
            results.append(each.finish(*rest[:count]))
            del rest[:count]
        return results

    return Deferred(tuple(number for each in deferred for number in each.numbers), finish)


def runs_ahead(x: Array) -> bool:
    """Whether the program may run ahead of work on x, so that reading a number interrupts it."""
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
    flat = []  # an array for each dtype, so that it is cast as a whole
    for dtype, of_dtype in places.items():
        parts = [xp.reshape(arrays[at], (-1,)) for at in of_dtype]
        joined = parts[0] if len(parts) == 1 else xp.concat(parts)
        flat.append(joined if dtype == xp.float64 else xp.astype(joined, xp.float64))
    numbers, start = to_host(flat[0] if len(flat) == 1 else xp.concat(flat)), 0
    found: list[Any] = [None] * len(arrays)
    for at in (at for of_dtype in places.values() for at in of_dtype):
        count = math.prod(arrays[at].shape)
        found[at] = _plain(numbers[start : start + count].reshape(arrays[at].shape))
        start += count
    return found


def _plain(x: np.ndarray[Any, Any]) -> Any:
    return x.astype(np.float64) if x.ndim else float(x)
