"""The steady state of a step: no memory of a weight's size is taken, only scalars come to the host."""

import tracemalloc

import numpy as np
import pytest

from revgn import trees
from revgn.arrays import namespace, native
from revgn.data import take_batch
from revgn.training import initial_state, train_step
from revgn.training import problem as problem_module

OPTIMIZERS = {
    "adam": {"optimizer.name": "adam"},
    "adamw": {"optimizer.name": "adam", "optimizer.weight_decay": 0.1},
    "sgd": {"optimizer.name": "sgd", "optimizer.momentum": 0.9},
    "block": {"optimizer.inverse": "block"},
    "block, last": {"optimizer.inverse": "block", "optimizer.shares": "last"},
    "minimum norm": {"optimizer.damping": 0.1},
    "contrasts, carry": {
        "optimizer.damping": 0.1,
        "optimizer.outputs": "contrasts",
        "optimizer.carry": 0.9,
    },
    "metric": {  # whose moments have h^2 numbers
        "optimizer.damping": 0.1,
        "optimizer.carry": 0.9,
        "optimizer.metric": "features",
        "network.hidden": 2000,
    },
    "bounded, back-tracking, from the start": {
        "optimizer.damping": 0.1,
        "optimizer.length_rule": "backtracking",
        "optimizer.trust_radius": 1.0,
        "optimizer.weight_decay": 0.1,
        "optimizer.decay_to": "start",
    },
    "switch": {"optimizer.hybrid": "switch", "optimizer.second": "adam", "optimizer.switch_at": 2},
    "blend": {"optimizer.damping": 0.1, "optimizer.hybrid": "blend", "optimizer.second": "adam"},
    "couplings": {
        "optimizer.damping": 0.1,
        "optimizer.hybrid": "couplings",
        "optimizer.second": "adam",
        "optimizer.couplings": (2, 3),
    },
    "muon": {"optimizer.name": "muon"},
    "orthogonal": {
        "optimizer.damping": 0.1,
        "optimizer.carry": 0.9,
        "optimizer.orthogonal": True,
    },
    "agreement": {"optimizer.damping": 0.1, "optimizer.hybrid": "agreement"},
}
EVERY = pytest.mark.parametrize("settings", OPTIMIZERS.values(), ids=OPTIMIZERS)


def first_batch(problem, rows=64):
    part = problem.dataset.train
    return take_batch(problem.dataset, part, slice(0, rows), problem.backend, problem.dtype)


@EVERY
def test_a_step_that_repeats_allocates_nothing_large(settings, make_problem):
    """Features, weights and kernels find their memory ready; what is left are pieces of a few 100 KB."""
    problem = make_problem({"network.hidden": 1 << 15, "training.batch_size": 64, **settings})
    state, batch = initial_state(problem), first_batch(problem)
    largest = max(leaf.nbytes for leaf in trees.leaves(state) if hasattr(leaf, "nbytes"))
    assert largest > 4e6
    for _ in range(3):
        state, _ = train_step(problem, state, batch)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        state, _ = train_step(problem, state, batch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < largest / 2


@pytest.mark.parametrize(
    "backend", ["strict:device1", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True
)
@EVERY
def test_only_scalars_come_to_the_host(settings, make_problem, backend, monkeypatch):
    """On a device whose arrays no one can read by accident, with the one way to the host watched."""
    monkeypatch.setattr(problem_module, "select_backend", lambda name: backend.backend)
    problem = make_problem({**settings, "network.hidden": 80, "training.batch_size": 16})
    state, batch = initial_state(problem), first_batch(problem, 16)
    fetched = []

    def watched(x):
        fetched.append(int(np.prod(x.shape)))
        return namespace.to_host(x)

    monkeypatch.setattr(native, "to_host", watched)
    train_step(problem, state, batch)
    assert max(fetched, default=0) <= 8  # the numbers of a few Lanczos steps
