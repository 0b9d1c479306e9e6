"""Signals that ask a process to stop: SIGINT, SIGTERM and SIGHUP.

The first one ends training after the step, with a checkpoint; a second one acts at once. Signals within half
a second of the first count as one with it, since `timeout` and a closing terminal send a signal twice. A
SIGHUP that the process ignores from its start, as under `nohup`, stays ignored. SIGINT is caught even if it
was ignored from the start, since shells let all background processes of a script ignore it.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from revgn.store.files import STOPPING

_ONE_REQUEST = 0.5  # seconds


class Asked:
    """Whether a signal has asked to stop; `number` is the number of the first signal, 0 before it arrives."""

    def __init__(self) -> None:
        self.number = 0
        self._since = 0.0

    def __call__(self) -> bool:
        """Return whether a signal has arrived."""
        return self.number != 0

    def receive(self, number: int) -> bool:
        """Note a signal, and return whether it is a second request."""
        now = time.monotonic()
        if not self.number:
            self.number, self._since = number, now
            return False
        return now - self._since >= _ONE_REQUEST

    def expect_another(self) -> None:
        """Take the next signal as a second request, however early it arrives."""
        self._since = -_ONE_REQUEST


@contextmanager
def caught_signals(
    first: Callable[[], None] = lambda: None, second: Callable[[int], None] | None = None
) -> Iterator[Asked]:
    """Catch the signals that ask to stop, and yield a function that returns whether one has arrived.

    Signals are caught in the main thread only, where this must be called.

    Parameters
    ----------
    first : callable
        Called when the first signal arrives.
    second : callable or None
        Called with the number of a second signal. Default: the signal acts as it did before this block.

    Notes
    -----
    Law: the actions of the signals are the same before and after the block.
    """
    asked = Asked()
    before: dict[int, Any] = {number: signal.getsignal(number) or signal.SIG_DFL for number in STOPPING}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]

    def handle(number: int, frame: FrameType | None) -> None:
        is_first = not asked.number
        if asked.receive(number):
            if second is not None:
                second(number)
            else:
                signal.signal(number, before[number])
                signal.raise_signal(number)
        elif is_first:
            first()

    for number in before:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def passed_on_signals() -> Iterator[Asked]:
    """Catch the signals during the block as `caught_signals` does, and send the first one again after it."""
    with caught_signals() as asked:
        yield asked
    if asked.number:
        signal.raise_signal(asked.number)
