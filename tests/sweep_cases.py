"""What the tests of sweeps share: tiny plans, and who runs their jobs at once."""

import os
import signal
from concurrent.futures import Executor, Future

from revgn.settings import merge_settings, settings_by_name
from revgn.sweeps import Plan, parse_axis
from revgn.sweeps.claim import newest_claim
from revgn.sweeps.pool import THREADS

TINY = {
    "data": {"subset": 200},
    "network": {"hidden": 16, "blocks": 1},
    "optimizer": {"kind": "adam"},
    "training": {"batch_size": 50, "epochs": 2, "checkpoint_every": 40},
}


def plan_of(settings=None, **grid):
    axes = tuple(parse_axis(path.replace("__", "."), values) for path, values in grid.items())
    return Plan(merge_settings(settings_by_name(settings or {}, TINY), TINY), axes)


class Here(Executor):
    """Calls at once, in this thread; remembers what was called."""

    def __init__(self):
        self.jobs = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.jobs.append(args[1].name)
        future.set_result(fn(*args, **kwargs))
        return future


def statuses(board):
    return sorted(state.status for state in board.values())


def killer(folder, killed):
    """Observer that kills, once, the worker of a job well under way; its name goes to `killed`."""

    def is_under_way(name):
        journal = folder / name / "metrics.jsonl"
        return journal.exists() and journal.read_bytes().count(b'"kind": "step"') > 20

    def observe(board):
        for name, state in board.items():
            if not killed and state.status == "running" and is_under_way(name):
                killed.append(name)
                os.kill(newest_claim(folder, name).owner.process, signal.SIGKILL)

    return observe


def surroundings():
    """Number of the process, its threads and its GPU; called in workers, so it has to be importable."""
    return os.getpid(), os.environ.get(THREADS[0]), os.environ.get("CUDA_VISIBLE_DEVICES")
