"""Workers of a dask cluster, behind the interface of `concurrent.futures` (extra `dask`).

Dask gives the job of a worker that died to another one, which takes it over.
"""

import importlib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from revgn.errors import RunError, UsageError
from revgn.sweeps.pool import environments, visible_gpus

_WAIT_SECONDS = 20
_HOST = "127.0.0.1"


@contextmanager
def dask_executor(address: str, workers: int | None = None) -> Iterator[tuple[Executor, int]]:
    """Give an executor, and the number of jobs that its workers run at a time.

    Parameters
    ----------
    address : str
        Of a scheduler, such as tcp://host:8786; "local" starts `workers` processes here, among which
        processors and GPUs are divided.
    workers : int or None
        Maximum number of jobs at a time; by default one for each thread of the scheduler's workers.

    Raises
    ------
    UsageError
        If dask.distributed is not installed, or there are to be no workers.
    RunError
        If no scheduler answers at the address, or it has no workers.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError:
        raise UsageError("dask: is not installed; pip install 'revgn[dask]'") from None
    if workers is not None and workers < 1:
        raise UsageError(f"workers: {workers} is not at least 1")
    if address == "local":
        count = workers or 1
        workers_of = {
            k: {"cls": distributed.Nanny, "options": {"host": _HOST, "nthreads": 1, "env": environment}}
            for k, environment in enumerate(environments(count, visible_gpus()))
        }
        scheduler = {"cls": distributed.Scheduler, "options": {"host": _HOST, "dashboard": False}}
        with (
            distributed.SpecCluster(workers_of, scheduler) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client.get_executor(pure=False), count
        return
    try:
        client = distributed.Client(address, timeout=_WAIT_SECONDS)
    except (OSError, ValueError) as error:
        raise RunError(f"dask: no scheduler answers at {address}: {error}") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise RunError(f"dask: the scheduler at {address} has no workers")
        yield client.get_executor(pure=False), min(workers or threads, threads)
