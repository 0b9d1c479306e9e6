"""Signals to a worker process: its trials end with a checkpoint, then the process ends by the signal.

Python handles signals in the main thread. A worker process of this machine runs its trial there; a worker of
dask runs its event loop there, and its trials in other threads.
"""

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from revgn.launch.signals import Asked, caught_signals, passed_on_signals

_SHARED = "_revgn_signals"  # attribute of a dask worker with the state that its trials share


def signals_to_trial() -> AbstractContextManager[Callable[[], bool]]:
    """Return a context for the time of a trial, with a function that returns whether the trial should stop.

    After the trial, the signal is sent again, with the action that it had before.
    """
    if threading.current_thread() is threading.main_thread():
        return passed_on_signals()
    worker = _dask_worker()
    if worker is None:  # a thread of some other executor, whose process handles its own signals
        return nullcontext(lambda: False)
    shared: _OnDask = vars(worker).setdefault(_SHARED, _OnDask(worker))
    return shared.during_a_trial()


class _OnDask:
    """Signals to a dask worker, which are caught while any of its threads runs a trial."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._lock, self._trials = threading.Lock(), 0
        self._catching, self._asked = ExitStack(), Asked()
        self._is_catching = False

    @contextmanager
    def during_a_trial(self) -> Iterator[Callable[[], bool]]:
        """Yield a function that returns whether a signal has arrived, or the worker is closing."""
        self._count(1)
        try:
            yield lambda: self._asked() or self._worker.status.name.startswith("clos")
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._trials += change
        self._worker.loop.add_callback(self._update)

    def _update(self) -> None:
        """Begin or stop catching signals; called in the thread of the event loop."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._trials and not self._is_catching:
            self._asked, self._is_catching = self._catching.enter_context(caught_signals()), True
        elif self._is_catching and not self._trials:
            self._catching.close()
            self._is_catching = False
            if self._asked.number:
                signal.signal(self._asked.number, signal.SIG_DFL)
                signal.raise_signal(self._asked.number)


def _dask_worker() -> Any:
    """Return the dask worker that runs the calling thread; None if there is none."""
    if "distributed" not in sys.modules:
        return None
    try:
        return importlib.import_module("distributed").get_worker()
    except ValueError:
        return None
