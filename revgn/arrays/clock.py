"""Timing of work on a device that runs asynchronously to the host."""

from time import perf_counter
from typing import Any, TypeAlias

import array_api_compat

from revgn.arrays.typing import Array

Instant: TypeAlias = Any  # time of the host's clock in seconds, or a CUDA event


def instant(x: Array) -> Instant:
    """Record when the work queued so far on the device of `x` finishes, without waiting for it."""
    if not array_api_compat.is_cupy_array(x):
        return perf_counter()
    import cupy

    event = cupy.cuda.Event()
    event.record()
    return event


def seconds_between(start: Instant, end: Instant) -> float:
    """Return the seconds between two instants.

    The host must have waited for the work that was queued before `end`.

    Examples
    --------
    >>> seconds_between(1.0, 3.5)
    2.5
    """
    if isinstance(start, float):
        return float(end - start)
    import cupy

    return 1e-3 * float(cupy.cuda.get_elapsed_time(start, end))
