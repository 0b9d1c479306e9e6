"""Workers of a dask cluster, with the interface of `concurrent.futures` (extra `dask`).

If a worker dies, dask assigns its trial to another worker, which resumes it.
"""

import importlib
import logging
import signal
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from revgn.errors import RunError, UsageError
from revgn.sweeps.pool import blocked_signals, environments, visible_gpus

_WAIT_SECONDS = 20
_HOST = "127.0.0.1"
_OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)  # signals that a terminal sends to all its processes


@contextmanager
def dask_executor(address: str, workers: int | None = None) -> Iterator[tuple[Executor, int]]:
    """Yield an executor, and the number of trials that its workers run at the same time.

    Parameters
    ----------
    address : str
        Address of a scheduler, such as tcp://host:8786. "local" starts `workers` processes on this machine
        and divides its processors and GPUs among them.
    workers : int or None
        Maximum number of trials at the same time. Default: one for each thread of the scheduler's workers.

    Raises
    ------
    UsageError
        If dask.distributed is not installed, or `workers` is less than 1.
    RunError
        If no scheduler responds at the address, or it has no workers.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError:
        raise UsageError("dask: dask.distributed is not installed; pip install 'revgn[dask]'") from None
    if workers is not None and workers < 1:
        raise UsageError(f"workers: {workers} is not at least 1")
    if address == "local":
        count = workers or 1
        quiet = {"silence_logs": logging.WARNING}
        workers_of = {
            k: {
                "cls": distributed.Nanny,
                "options": {"host": _HOST, "nthreads": 1, "env": environment, **quiet},
            }
            for k, environment in enumerate(environments(count, visible_gpus()))
        }
        scheduler = {
            "cls": distributed.Scheduler,
            "options": {"host": _HOST, "dashboard": False, "dashboard_address": f"{_HOST}:0"},
        }
        with blocked_signals(_OF_TERMINALS):  # workers take this over; the driver stops their trials
            started = distributed.SpecCluster(workers_of, scheduler, **quiet)
        with started as cluster, distributed.Client(cluster) as client:
            yield client.get_executor(pure=False), count
        return
    try:
        client = distributed.Client(address, timeout=_WAIT_SECONDS)
    except (OSError, ValueError) as error:
        raise RunError(f"dask: no scheduler responds at {address}: {error}") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise RunError(f"dask: the scheduler at {address} has no workers")
        yield client.get_executor(pure=False), min(workers or threads, threads)
