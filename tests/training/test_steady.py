"""The steady state of a step: no new array has the size of a weight, and only scalars come to the host."""

import tracemalloc

import numpy as np
import pytest

from revgn import trees
from revgn.arrays import namespace, native
from revgn.data import take_batch
from revgn.training import initial_state, train_step
from revgn.training import problem as problem_module

OPTIMIZERS = {
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adam", "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
    "block": {"solver": "block"},
    "block, last": {"solver": "block", "block_weights": "last"},
    "minimum norm": {"damping": 0.1},
    "centered logits, momentum": {"damping": 0.1, "outputs": "centered-logits", "momentum": 0.9},
    "metric": {"damping": 0.1, "momentum": 0.9, "metric": "features", "hidden": 2000},  # h^2 in its moments
    "bounded, back-tracking": {
        "optimizer": "paced",
        "length": "backtracking",
        "trust_radius": 1.0,
        "damping": 0.1,
        "weight_decay": 0.1,
    },
    "switch": {"optimizer": "switch", "first": "gauss-newton", "second": "adam", "switch_at": 2},
    "blend": {"optimizer": "blend", "damping": 0.1},
    "muon": {"optimizer": "muon"},
    "orthogonalized": {"optimizer": "orthogonalized", "damping": 0.1, "momentum": 0.9},
}
EVERY = pytest.mark.parametrize("settings", OPTIMIZERS.values(), ids=OPTIMIZERS)


def first_batch(problem, rows=64):
    part = problem.dataset.train
    return take_batch(problem.dataset, part, slice(0, rows), problem.backend, problem.dtype)


@EVERY
def test_a_step_that_repeats_allocates_nothing_large(settings, make_problem):
    """Features, weights and kernels reuse their memory; new arrays take only a few 100 KB."""
    problem = make_problem({"hidden": 1 << 15, "batch_size": 64, **settings})
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
    "backend", ["strict:device1", "cupy:stand-in", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True
)
@EVERY
def test_only_scalars_come_to_the_host(settings, make_problem, backend, monkeypatch):
    """The device does not convert arrays implicitly; the test records each call that copies to the host."""
    monkeypatch.setattr(problem_module, "select_backend", lambda name: backend.backend)
    problem = make_problem({**settings, "hidden": 80, "batch_size": 16})
    state, batch = initial_state(problem), first_batch(problem, 16)
    fetched = []

    def watched(x):
        fetched.append(int(np.prod(x.shape)))
        return namespace.to_host(x)

    monkeypatch.setattr(native, "to_host", watched)
    train_step(problem, state, batch)
    assert max(fetched, default=0) <= 8  # the numbers of a few Lanczos steps
