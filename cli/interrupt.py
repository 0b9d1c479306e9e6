"""Interrupts: the first Ctrl-C ends training after the step, with a checkpoint; the second at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_AGAIN = 0.02  # seconds


@contextmanager
def stop_when_asked(
    promise: str = "stopping after this step, with a checkpoint",
) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM has arrived; a second signal acts as usual."""
    asked = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, signal.default_int_handler)
        os.write(2, f"\n{promise} (a second signal stops at once)\n".encode())

    def hook(unraisable: Any) -> None:
        """Interrupt again if a callback (of a weak reference, for example) has swallowed the interrupt."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            main = threading.main_thread().ident
            threading.Timer(_AGAIN, signal.pthread_kill, (main, signal.SIGINT)).start()
        else:
            sys.__unraisablehook__(unraisable)

    for number in before:
        signal.signal(number, handle)
    hook_before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield lambda: asked
    finally:
        sys.unraisablehook = hook_before
        for number, handler in before.items():
            signal.signal(number, handler)
