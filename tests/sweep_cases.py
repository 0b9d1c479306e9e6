"""Helpers for the tests of sweeps: small plans, and an executor that runs trials in the calling thread."""

import os
import signal
from concurrent.futures import Executor, Future

from revgn.settings import merge_settings, settings_by_name
from revgn.sweeps import Plan, parse_axis
from revgn.sweeps.claim import newest_claim
from revgn.sweeps.pool import THREADS
from revgn.sweeps.work import run_trial

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
    """Executor that calls functions immediately in the calling thread and records the names of the trials."""

    def __init__(self):
        self.trials = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        if fn is run_trial:
            self.trials.append(args[1].name)
        future.set_result(fn(*args, **kwargs))
        return future


def statuses(board):
    return sorted(state.status for state in board.values())


def killer(folder, killed, number=signal.SIGKILL):
    """Return an observer that sends a signal to a worker while it trains and notes the trial in `killed`."""

    def is_under_way(name):
        journal = folder / name / "metrics.jsonl"
        return journal.exists() and journal.read_bytes().count(b'"kind": "step"') > 20

    def observe(board):
        for name, state in board.items():
            if not killed and state.status == "running" and is_under_way(name):
                killed.append(name)
                os.kill(newest_claim(folder, name).owner.process, number)

    return observe


def recorded_steps(folder):
    """Return the number of steps in the journal of a run, in which steps that were repeated count twice."""
    return (folder / "metrics.jsonl").read_bytes().count(b'"kind": "step"')


def surroundings():
    """Return the process number, threads and GPU of the calling process; importable, for use in workers."""
    return os.getpid(), os.environ.get(THREADS[0]), os.environ.get("CUDA_VISIBLE_DEVICES")
