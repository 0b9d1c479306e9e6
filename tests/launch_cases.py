"""Small runs of every optimizer, and helpers that stop or kill a run."""

import numpy as np

from revgn.settings import build_config, merge_settings, settings_by_name

TINY = {
    "data": {"subset": 200},
    "network": {"hidden": 32},
    "training": {"batch_size": 64, "steps": 9, "measure_every": 2, "checkpoint_every": 2},
}


OPTIMIZERS = {
    "minimum-norm": {},
    "block": {"solver": "block", "block_weights": (0.5, 0.5)},
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
    "muon": {"optimizer": "muon"},
    "momentum": {"momentum": 0.9, "damping": 0.1, "outputs": "centered-logits"},
    "rows": {"momentum": 0.9, "damping": 0.1, "rows": 2},
    "leave-one-out": {"momentum": 0.9, "damping": "leave-one-out", "damping_every": 4, "rows": 2},
    "metric": {
        "metric": "features",
        "every": 4,
        "damping": 0.1,
        "momentum": 0.9,
        "first_block": "identity",
    },
    "orthogonalized": {
        "optimizer": "orthogonalized",
        "damping": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
    },
    "levenberg-marquardt": {"optimizer": "levenberg-marquardt", "curvature": "exact", "momentum": 0.5},
    "kfac": {"optimizer": "kfac", "every": 3, "first_block": "identity"},
    "soap": {"optimizer": "soap", "every": 2},
    "lbfgs": {"optimizer": "lbfgs", "history": 3},
    "paced": {
        "optimizer": "paced",
        "inner": "sgd",
        "lr": 8.0,
        "weight_decay": 0.01,
        "length": "backtracking",
        "trust_radius": 0.5,
    },
    "switch": {"optimizer": "switch", "momentum": 0.5, "damping": 0.1, "switch_at": 3},
    "patience": {
        "optimizer": "switch",
        "optimizer.first.lr": 0.1,
        "second": "lbfgs",
        "history": 2,
        "patience": 1,
    },
    "blend": {"optimizer": "blend", "damping": 0.1},
    "exponential": {"optimizer": "adam", "average": "exponential", "decay": 0.7, "label_smoothing": 0.1},
    "tail": {"optimizer": "adam", "average": "tail", "tail_start": 0.3},
}


def settings(changes):
    return merge_settings(settings_by_name(changes, TINY), TINY)


def config(**changes):
    return build_config(settings(changes))


def stop_after(step):
    """Return arguments for `start_run` that stop the run after `step` steps."""
    seen = [0]
    return {
        "observe": lambda problem, event: seen.append(event.state.step),
        "should_stop": lambda: seen[-1] >= step,
    }


class Killed(BaseException):
    """Simulation of kill -9 within one process: an exception that no code handles."""


def kill_at(number):
    """Return an observer that simulates a kill at the event with the given number."""
    seen = []

    def observe(problem, event):
        seen.append(event)
        if len(seen) == number:
            raise Killed

    return observe


def save_table(path, seed=0, rows=60):
    rng = np.random.default_rng(seed)
    np.savez(path, x=rng.standard_normal((rows, 6)), y=np.arange(rows) % 3)
