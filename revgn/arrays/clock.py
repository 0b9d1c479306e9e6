"""Times of work that a device does while the host goes on."""

from time import perf_counter
from typing import Any, TypeAlias

import array_api_compat

from revgn.arrays.typing import Array

Instant: TypeAlias = Any  # seconds of the host's clock, or an event in the device's queue


def instant(x: Array) -> Instant:
    """Return the instant at which the work queued so far for the device of `x` is done, without a wait."""
    if not array_api_compat.is_cupy_array(x):
        return perf_counter()
    import cupy

    event = cupy.cuda.Event()
    event.record()
    return event


def seconds_between(start: Instant, end: Instant) -> float:
    """Return the seconds between two instants, once the host has waited for what was queued before `end`.

    Examples
    --------
    >>> seconds_between(1.0, 3.5)
    2.5
    """
    if isinstance(start, float):
        return float(end - start)
    import cupy

    return 1e-3 * float(cupy.cuda.get_elapsed_time(start, end))
