"""Interrupts: the first Ctrl-C ends training after the step, with a checkpoint; the second at once."""

import _thread
import errno
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from revgn_cli.notes import discard, say
from revgn_cli.progress import is_live

from revgn.launch.signals import Asked, caught_signals

_AGAIN = 0.02  # seconds


class Interrupted(KeyboardInterrupt):
    """Interrupt by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stop_when_asked(promise: str = "stopping after this step, with a checkpoint") -> Iterator[Asked]:
    """Yield a function that returns whether SIGINT, SIGTERM or SIGHUP has arrived.

    A second signal raises `Interrupted`.
    """

    def announce() -> None:
        _leave_closed_terminal()
        line = f"{promise} (a second signal stops at once)"
        if is_live(sys.stderr):  # in a thread of its own, since the signal may have interrupted the display
            _thread.start_new_thread(say, (line,))
        else:
            with suppress(OSError):
                os.write(2, f"\n{line}\n".encode())

    def interrupt(number: int) -> None:
        raise Interrupted(number)

    with caught_signals(announce, interrupt) as asked, _not_swallowed(asked.expect_another):
        yield asked


def exit_code(stopped_by: int) -> int:
    """Return the exit code after a signal, 128 + its number; without a signal 130, as for Ctrl-C."""
    return 128 + (stopped_by or signal.SIGINT)


@contextmanager
def _not_swallowed(prepare: Callable[[], None]) -> Iterator[None]:
    """Interrupt again if a callback (of a weak reference, for example) has swallowed the interrupt."""

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            prepare()
            main = threading.main_thread().ident
            threading.Timer(_AGAIN, signal.pthread_kill, (main, signal.SIGINT)).start()
        else:
            sys.__unraisablehook__(unraisable)

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _leave_closed_terminal() -> None:
    """Discard further output to a terminal that was closed, which would otherwise raise errors."""
    for stream in (1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                discard(stream)
