"""A problem from settings, a state from the arrays of a checkpoint, and a regression from end to end."""

from typing import NamedTuple

import numpy as np
import pytest

from revgn import trees
from revgn.errors import BackendError, RunError, UsageError
from revgn.losses import CrossEntropy, SquaredError
from revgn.networks import frozen_arrays, with_frozen
from revgn.optimizers import Direction, GaussNewton, batch_gradient, direction, init_state
from revgn.settings import build_config
from revgn.solvers import MinimumNorm
from revgn.testing.compare import snapshot
from revgn.training import (
    Evaluated,
    build_problem,
    initial_state,
    restore_average,
    restore_state,
    restore_weights,
    state_arrays,
    step_cost,
    train,
)


def test_losses_follow_the_task(make_problem, table):
    assert make_problem().loss == CrossEntropy()
    assert make_problem({"training.loss": "squared-error"}).loss == SquaredError()
    assert make_problem({}, table).loss == SquaredError()
    with pytest.raises(UsageError, match="cross-entropy needs classes, but table is a regression"):
        make_problem({"training.loss": "cross-entropy"}, table)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 201}, "batch_size: 201 is not between 1 and the 200 training rows"),
        (
            {"solver": "block", "block_weights": [0.5, 0.25, 0.25]},
            "block_weights: 3 numbers for 2 blocks",
        ),
        (
            {"loss": "squared-error", "label_smoothing": 0.1},
            "label_smoothing: is only for cross-entropy, whose targets are distributions",
        ),
        (
            {"loss": "squared-error", "outputs": "centered-logits"},
            "outputs: centered-logits is only for cross-entropy, which ignores a constant",
        ),
        ({"rows": 10}, "rows: 10 for 10 outputs; expected at most 9, or all"),
        (
            {"solver": "cg", "loss": "squared-error", "rows": 11},
            "rows: 11 for 10 outputs; expected at most 10",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, says, make_problem):
    with pytest.raises(UsageError, match=says):
        make_problem(changes)


def test_a_missing_backend_is_an_error(make_problem, monkeypatch):
    monkeypatch.setattr("revgn.arrays.namespace.cupy_absence", lambda: "no GPU answers")
    with pytest.raises(BackendError, match="backend cupy: no GPU answers; use --backend numpy"):
        make_problem({"training.backend": "cupy"})


def test_one_choice_does_not_change_the_draws_of_others(make_problem):
    """Network and initial weights are determined by the seed, whatever the optimizer."""
    first, second = (make_problem({"optimizer": name}) for name in ("adam", "sgd"))
    projections = [
        [layer.features.projection for layer in problem.network.body.layers] for problem in (first, second)
    ]
    np.testing.assert_array_equal(*projections)
    assert snapshot(initial_state(first).params) == snapshot(initial_state(second).params)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.9, "dtype": "float64"},
        {"optimizer": "muon"},
        {"optimizer": "kfac", "first_block": "identity"},
        {"optimizer": "lbfgs", "history": 3},
        {"momentum": 0.5, "damping": 0.1, "metric": "features"},
        {"optimizer": "levenberg-marquardt"},
        {"optimizer": "paced", "weight_decay": 0.1, "trust_radius": 1.0},
        {"optimizer": "switch", "patience": 2},
        {"optimizer": "blend", "second": "muon"},
        {"optimizer": "adam", "average": "exponential"},
    ],
)
def test_a_state_is_converted_to_arrays_and_back(changes, make_problem):
    problem = make_problem(changes)
    *_, last = train(problem, initial_state(problem))
    arrays = {name: np.asarray(leaf) for name, leaf in state_arrays(last.state).items()}
    back = restore_state(make_problem(changes), arrays)
    assert type(back) is type(last.state)
    assert type(back.optimizer) is type(last.state.optimizer)
    assert (back.step, back.seconds) == (last.state.step, last.state.seconds)
    assert list(state_arrays(back)) == list(arrays)
    for name, leaf in state_arrays(back).items():
        assert np.asarray(leaf).tobytes() == arrays[name].tobytes()


class Counting(NamedTuple):
    """A user's optimizer whose sums and counts exceed the precision of the network, float32."""

    lr: float = 0.01
    weight_decay: float = 0.0


@init_state.register(Counting)
def init_counting(optimizer, network, params):
    return trees.map_leaves(lambda W: np.zeros(W.shape), params), np.full(2, 2**62)


@direction.register(Counting)
def direction_counting(optimizer, state, params, at, scale=1.0):
    sums, counts = state
    g = batch_gradient(at)
    return Direction(g, (trees.map_leaves(lambda s, gi: s + gi / 3.0, sums, g), counts + 1), None)


def test_a_state_keeps_the_dtypes_that_its_optimizer_chose(digits):
    config = build_config({"network": {"hidden": 16}, "training": {"batch_size": 64, "steps": 2}})
    problem = build_problem(config, digits, optimizer=Counting())
    *_, last = train(problem, initial_state(problem))
    arrays = {name: np.asarray(leaf) for name, leaf in state_arrays(last.state).items()}
    sums, counts = restored = restore_state(problem, arrays).optimizer
    assert snapshot(restored) == snapshot(last.state.optimizer)
    assert {leaf.dtype for leaf in trees.leaves(sums)} == {np.dtype("float64")}
    np.testing.assert_array_equal(counts, np.full(2, 2**62 + 2))


def test_nothing_is_drawn_to_restore_a_state(make_problem, monkeypatch):
    """The frozen arrays are drawn with the problem; for parameters and moments only the shapes are needed."""
    problem = make_problem({"optimizer": "adam", "average": "exponential"})
    *_, last = train(problem, initial_state(problem))
    arrays = {name: np.asarray(leaf) for name, leaf in state_arrays(last.state).items()}
    monkeypatch.setattr(np.random, "default_rng", None)
    assert snapshot(restore_state(problem, arrays).params) == snapshot(last.state.params)
    assert snapshot(restore_weights(problem, arrays)) == snapshot(last.state.params)
    assert snapshot(restore_average(problem, arrays)) == snapshot(last.state.average.params)


@pytest.mark.parametrize(
    "network",
    [
        {"hidden": 40, "first_block": "identity"},
        {"hidden": 16},
        {"kind": "convolutional", "channels": 12, "blocks": [1], "hidden": [8], "projection": "frozen"},
    ],
    ids=lambda network: "-".join(map(str, network.values())),
)
def test_a_network_of_shapes_only_has_the_same_shapes(network, digits):
    config = build_config({"network": network, "training": {"dtype": "float32"}})
    drawn, zeros = (build_problem(config, digits, shapes_only=each) for each in (False, True))
    arrays = frozen_arrays(zeros.network)
    shapes = {path: (array.shape, array.dtype) for path, array in arrays.items()}
    assert shapes == {path: (of.shape, of.dtype) for path, of in frozen_arrays(drawn.network).items()}
    assert not any(array.any() for path, array in arrays.items() if path.endswith("projection"))
    assert step_cost(zeros) == step_cost(drawn)
    as_drawn = with_frozen(zeros.network, frozen_arrays(drawn.network), drawn.backend)
    np.testing.assert_equal(frozen_arrays(as_drawn), frozen_arrays(drawn.network))


def test_arrays_of_another_run_are_refused(make_problem):
    state = initial_state(make_problem())
    arrays = {name: np.asarray(leaf) for name, leaf in state_arrays(state).items()}
    says = r"params/0/weight has the shape \(33, 32\), but these settings need \(17, 32\)"
    with pytest.raises(RunError, match=says):
        restore_state(make_problem({"network.hidden": 16}), arrays)
    with pytest.raises(
        RunError, match="optimizer/mean/0/weight is missing; is the checkpoint from a run with other settings"
    ):
        restore_state(make_problem({"optimizer": "adam"}), arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "lr": 0.01},
        {"solver": "block", "lr": 0.5, "damping": 0.1},
        {"lr": 0.5, "damping": 0.1},
        {"optimizer": "muon"},
        {"optimizer": "kfac"},
        {"optimizer": "lbfgs"},
    ],
)
def test_a_regression_from_end_to_end(changes, make_problem, table):
    problem = make_problem(changes | {"training.batch_size": "full", "training.steps": 20}, table)
    events = list(train(problem, initial_state(problem)))
    evaluated = [event.record for event in events if isinstance(event, Evaluated)]
    assert all("accuracy" not in event.record for event in events)
    assert "test_accuracy" not in evaluated[-1]
    for part in ("train", "test"):
        assert evaluated[-1][f"{part}_loss"] < 0.8 * evaluated[0][f"{part}_loss"]
    assert trees.size(events[-1].state.params) == 4 * 33 * 3


@pytest.mark.parametrize("memory", [None, 10**9, 10**8])
def test_the_default_memory_bound_is_half_of_the_machine_s_memory(memory, make_problem, monkeypatch):
    """No bound is set if all arrays formed from the kernel, here of order 640, fit into it."""
    monkeypatch.setattr("revgn.solvers.tiled_kernel.memory_size", lambda backend: memory)
    bound = 5 * 10**7 if memory == 10**8 else None
    assert 48 * 640**2 < 10**9 / 2
    problem = make_problem({"training.dtype": "float64"})
    assert problem.optimizer == GaussNewton(MinimumNorm(memory=None))
    problem = make_problem({"training.batch_size": 128})
    assert problem.optimizer == GaussNewton(MinimumNorm(memory=bound))
    assert problem.config.optimizer.solver.memory is None


def test_training_with_a_tiled_kernel(make_problem):
    """The kernel of order 640 takes 1.6 MB."""
    states = []
    for memory in (None, "600kB"):
        problem = make_problem({"damping": 0.1, "memory": memory, "steps": 3})
        for event in train(problem, initial_state(problem)):
            state = event.state
        states.append(state)
    dense, tiled = (trees.flatten(state.params) for state in states)
    assert np.linalg.norm(tiled - dense) < 1e-3 * np.linalg.norm(dense)
    assert not np.array_equal(tiled, dense)
