"""Worker processes on this machine, one trial each at a time, with the interface of `concurrent.futures`.

A process pool of the standard library ends all its workers when one of them dies. Here each worker is a pool
of its own: when one dies, the others continue, and its next call starts a new process.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from revgn.store.files import STOPPING

P = ParamSpec("P")
T = TypeVar("T")

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_GPUS = "CUDA_VISIBLE_DEVICES"


class LocalPool(Executor):
    """Pool of `workers` processes that share the processors and the GPUs of this machine.

    `gpus` are the names of GPUs as in CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        self._surroundings = environments(workers, gpus)
        self._pools: list[ProcessPoolExecutor | None] = [None] * workers
        self._latest: list[Future[Any] | None] = [None] * workers
        self._processes: list[BaseProcess] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a call to an idle worker, or to the first worker if none is idle."""
        free = [k for k, future in enumerate(self._latest) if future is None or future.done()]
        k = free[0] if free else 0
        before = set(multiprocessing.active_children())
        # A new process takes over environment and blocked signals; it unblocks them once it handles them.
        with _environment(self._surroundings[k]), blocked_signals():
            try:
                future = self._pool(k).submit(fn, *args, **kwargs)
            except BrokenProcessPool:
                self._pools[k] = None
                future = self._pool(k).submit(fn, *args, **kwargs)
        self._processes += set(multiprocessing.active_children()) - before
        self._latest[k] = future
        return future

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the workers: after their calls, or immediately if the block raised an error."""
        if kind is not None:
            for process in self._processes:
                process.kill()
        self.shutdown()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers after their calls."""
        for pool in self._pools:
            if pool is not None:
                pool.shutdown(wait, cancel_futures=cancel_futures)

    def _pool(self, k: int) -> ProcessPoolExecutor:
        pool = self._pools[k]
        if pool is None:
            context = multiprocessing.get_context("spawn")
            pool = self._pools[k] = ProcessPoolExecutor(1, context, _begin_worker)
        return pool


def environments(workers: int, gpus: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the environment variables of each worker, which divide processors and GPUs.

    A number of threads that is set in the environment of this process is kept. Each worker gets one GPU; with
    more workers than GPUs, several workers share a GPU.
    """
    threads = str(max(1, _processors() // workers))
    shares = {name: os.environ.get(name, threads) for name in THREADS}
    return [shares | ({_GPUS: gpus[k % len(gpus)]} if gpus else {}) for k in range(workers)]


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    given = os.environ.get(_GPUS)
    if given is not None:
        return [name for name in given.split(",") if name]
    from revgn.arrays import device_count

    return [str(number) for number in range(device_count())]


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker() -> None:
    """Let signals end this process, and end it when its parent process ends.

    A running trial first writes a checkpoint.

    While a trial runs, `run_trial` catches the signals. A SIGHUP that is ignored, as under `nohup`, stays so.
    """
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="follow", daemon=True).start()


@contextmanager
def blocked_signals(numbers: Collection[int] = STOPPING) -> Iterator[None]:
    """Block signals in this thread and in the threads and processes it starts; they act after the block."""
    resource_tracker.ensure_running()  # its start, by the first process, would unblock SIGINT and SIGTERM
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
