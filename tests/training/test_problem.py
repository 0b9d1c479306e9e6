"""From settings to a problem, from a checkpoint's arrays to a state, and a regression from end to end."""

import numpy as np
import pytest

from revgn import trees
from revgn.errors import BackendError, RunError, UsageError
from revgn.linalg import PinvRule
from revgn.losses import CrossEntropy, SquaredError
from revgn.optimizers import (
    KFAC,
    LBFGS,
    SGD,
    Adam,
    Agreement,
    Blend,
    GaussNewton,
    LevenbergMarquardt,
    Muon,
    Paced,
    PerCoupling,
    Switch,
)
from revgn.solvers import BlockInverse, ConjugateGradients, MinimumNorm
from revgn.testing.compare import snapshot
from revgn.training import Evaluated, initial_state, restore_state, state_arrays, train


@pytest.mark.parametrize(
    ("changes", "optimizer"),
    [
        ({"optimizer.damping": 0.1}, GaussNewton(MinimumNorm(0.1))),
        ({"optimizer.carry": 0.9}, GaussNewton(MinimumNorm(), carry=0.9)),
        (
            {
                "optimizer.solver": "cg",
                "optimizer.damping": 0.1,
                "optimizer.tolerance": 0.01,
                "optimizer.max_iterations": 9,
                "optimizer.block_samples": 32,
                "optimizer.directions": 4,
                "optimizer.outputs": "contrasts",
            },
            GaussNewton(ConjugateGradients(0.1, 0.01, 9, "blocks", 32, 4, "contrasts")),
        ),
        (
            {"optimizer.solver": "cg", "optimizer.preconditioner": "none"},
            GaussNewton(ConjugateGradients(preconditioner="none")),
        ),
        ({"optimizer.outputs": "contrasts"}, GaussNewton(MinimumNorm(outputs="contrasts"))),
        ({"optimizer.memory": "1MB"}, GaussNewton(MinimumNorm(memory=10**6))),
        (
            {"optimizer.curvature": "exact", "optimizer.damping": 1.0, "optimizer.adapt_damping": True},
            LevenbergMarquardt(GaussNewton(MinimumNorm(1.0), curvature="exact")),
        ),
        (
            {"optimizer.inverse": "block", "optimizer.curvature": "exact", "optimizer.output_damping": 0.1},
            GaussNewton(BlockInverse(), curvature="exact", output_damping=0.1),
        ),
        (
            {"optimizer.inverse": "block", "optimizer.shares": "last", "optimizer.rtol": 0.01},
            GaussNewton(BlockInverse("last", PinvRule(0.01))),
        ),
        (
            {
                "optimizer.inverse": "block",
                "optimizer.shares": [0.25, 0.75],
                "optimizer.atol": 0.1,
                "optimizer.damping": 0.2,
            },
            GaussNewton(BlockInverse((0.25, 0.75), PinvRule(None, 0.1, 0.2))),
        ),
        (
            {"optimizer.name": "sgd", "optimizer.momentum": 0.5, "optimizer.nesterov": True},
            SGD(0.5, True, 0.0),
        ),
        (
            {"optimizer.name": "adam", "optimizer.beta1": 0.5, "optimizer.weight_decay": 0.1},
            Adam(0.5, weight_decay=0.1),
        ),
        ({"optimizer.name": "muon"}, Muon()),
        (
            {
                "optimizer.name": "muon",
                "optimizer.momentum": 0.5,
                "optimizer.nesterov": False,
                "optimizer.beta2": 0.9,
                "optimizer.weight_decay": 0.1,
            },
            Muon(0.5, False, 0.1, Adam(beta2=0.9)),
        ),
        ({"optimizer.name": "kfac"}, KFAC()),
        (
            {
                "optimizer.name": "kfac",
                "optimizer.damping": 0.1,
                "optimizer.momentum": 0.5,
                "optimizer.factor_every": 3,
                "optimizer.factor_mean": 0.25,
                "optimizer.kl_clip": 0.001,
                "optimizer.weight_decay": 0.2,
            },
            KFAC(0.1, 0.5, 3, 0.25, 0.001, 0.2),
        ),
        (
            {
                "optimizer.damping": 0.1,
                "optimizer.length_rule": "second-batch",
                "optimizer.halvings": 4,
                "optimizer.trust_change": 1.0,
                "optimizer.trust_radius": 2.0,
                "optimizer.weight_decay": 0.5,
            },
            Paced(GaussNewton(MinimumNorm(0.1), 0.5), "second-batch", 4, 1e-4, 2.0, 1.0),
        ),
        (
            {"optimizer.name": "sgd", "optimizer.weight_decay": 0.5, "optimizer.decay_to": "start"},
            Paced(SGD(), decay_to_start=0.5),
        ),
        (
            {
                "optimizer.hybrid": "switch",
                "optimizer.second": "adam",
                "optimizer.switch_at": 3,
                "optimizer.lr": 0.5,
                "optimizer.second_lr": 0.25,
                "optimizer.weight_decay": 0.1,
                "optimizer.beta1": 0.5,
            },
            Switch(GaussNewton(weight_decay=0.1), Adam(0.5, weight_decay=0.1), at=3, rate=0.5),
        ),
        (
            {
                "optimizer.name": "sgd",
                "optimizer.lr": 1.0,
                "optimizer.hybrid": "switch",
                "optimizer.second": "gauss-newton",
                "optimizer.patience": 5,
                "optimizer.trust_radius": 1.0,
            },
            Switch(Paced(SGD(), trust_radius=1.0), Paced(GaussNewton(), trust_radius=1.0), patience=5),
        ),
        (
            {
                "optimizer.curvature": "exact",
                "optimizer.damping": 1.0,
                "optimizer.adapt_damping": True,
                "optimizer.hybrid": "switch",
                "optimizer.second": "lbfgs",
                "optimizer.switch_at": 3,
            },
            Switch(LevenbergMarquardt(GaussNewton(MinimumNorm(1.0), curvature="exact")), LBFGS(), at=3),
        ),
        (
            {
                "optimizer.hybrid": "blend",
                "optimizer.second": "adam",
                "optimizer.second_share": 0.25,
                "optimizer.weight_decay": 0.1,
                "optimizer.length_rule": "backtracking",
            },
            Paced(Blend(GaussNewton(), Adam(), 1e-3, 0.25, 0.1), "backtracking"),
        ),
        (
            {
                "optimizer.hybrid": "couplings",
                "optimizer.second": "muon",
                "optimizer.couplings": [3],
                "optimizer.weight_decay": 0.1,
            },
            PerCoupling(GaussNewton(), Muon(), (3,), 0.02, 0.1),
        ),
        (
            {"optimizer.hybrid": "agreement", "optimizer.carry": 0.9, "optimizer.weight_decay": 0.1},
            Agreement(GaussNewton(carry=0.9), 0.1),
        ),
        ({"optimizer.name": "lbfgs"}, LBFGS()),
        ({"optimizer.name": "lbfgs", "optimizer.history": 3, "optimizer.weight_decay": 0.1}, LBFGS(3, 0.1)),
    ],
)
def test_the_optimizer_is_the_one_asked_for(changes, optimizer, make_problem):
    assert make_problem(changes).optimizer == optimizer


def test_losses_follow_the_task(make_problem, table):
    assert make_problem().loss == CrossEntropy()
    assert make_problem({"training.loss": "squared-error"}).loss == SquaredError()
    assert make_problem({}, table).loss == SquaredError()
    with pytest.raises(UsageError, match="cross-entropy needs classes, but table is a regression"):
        make_problem({"training.loss": "cross-entropy"}, table)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (
            {"training.batch_size": 201},
            UsageError,
            "batch_size: 201 is not between 1 and the 200 training rows",
        ),
        (
            {"optimizer.inverse": "block", "optimizer.shares": [0.5, 0.25, 0.25]},
            UsageError,
            "shares: 3 numbers for 2 blocks",
        ),
        (
            {"optimizer.inverse": "block", "optimizer.shares": [0.5, 0.6]},
            UsageError,
            "sum to 1.1; expected 1",
        ),
        ({"optimizer.name": "sgd", "optimizer.nesterov": True}, UsageError, "Nesterov needs a momentum"),
        (
            {"optimizer.name": "muon", "optimizer.momentum": 0.0},
            UsageError,
            "Muon: Nesterov needs a momentum",
        ),
        ({"optimizer.name": "kfac", "optimizer.damping": 0.0}, UsageError, "expected damping > 0"),
        (
            {"optimizer.name": "lbfgs", "optimizer.trust_radius": 1.0},
            UsageError,
            "Paced: LBFGS takes its steps itself",
        ),
        (
            {
                "optimizer.damping": 0.1,
                "optimizer.adapt_damping": True,
                "optimizer.length_rule": "backtracking",
            },
            UsageError,
            "Paced: LevenbergMarquardt takes its steps itself",
        ),
        (
            {"optimizer.hybrid": "blend", "optimizer.second": "lbfgs"},
            UsageError,
            "Blend: LBFGS takes its steps itself",
        ),
        (
            {"optimizer.length_rule": "second-batch", "training.batch_size": "full"},
            UsageError,
            "an epoch of 200 rows has no second batch of 200",
        ),
        (
            {"optimizer.length_rule": "second-batch", "training.batch_size": 101},
            UsageError,
            "an epoch of 200 rows has no second batch of 101",
        ),
        (
            {"optimizer.hybrid": "agreement", "training.batch_size": 1},
            UsageError,
            "agreement is of two halves, but batches have a single row",
        ),
        (
            {"optimizer.hybrid": "couplings", "optimizer.second": "sgd", "optimizer.couplings": [4]},
            UsageError,
            "couplings are 0 to 3",
        ),
        (
            {
                "optimizer.hybrid": "couplings",
                "optimizer.inverse": "block",
                "optimizer.second": "sgd",
                "optimizer.couplings": [0, 1],
            },
            UsageError,
            "the block inverse is of whole blocks",
        ),
        (
            {"training.loss": "squared-error", "training.label_smoothing": 0.1},
            UsageError,
            "label_smoothing: is for cross-entropy, whose targets are distributions",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, says, make_problem):
    with pytest.raises(error, match=says):
        make_problem(changes)


def test_a_backend_that_is_not_there(make_problem, monkeypatch):
    monkeypatch.setattr("revgn.arrays.namespace.cupy_absence", lambda: "no GPU answers")
    with pytest.raises(BackendError, match="backend cupy: no GPU answers; use --backend numpy"):
        make_problem({"training.backend": "cupy"})


def test_one_choice_leaves_the_others_bits(make_problem):
    """Network and first weights follow from the seed, whatever the optimizer."""
    first, second = (make_problem({"optimizer.name": name}) for name in ("adam", "sgd"))
    projections = [[layer.projection for layer in problem.network.body.layers] for problem in (first, second)]
    np.testing.assert_array_equal(*projections)
    assert snapshot(initial_state(first).params) == snapshot(initial_state(second).params)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer.name": "adam"},
        {"optimizer.name": "sgd"},
        {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "training.dtype": "float64"},
        {"optimizer.name": "muon"},
        {"optimizer.name": "kfac", "network.first_block": "identity"},
        {"optimizer.name": "lbfgs", "optimizer.history": 3},
        {"optimizer.weight_decay": 0.1, "optimizer.decay_to": "start", "optimizer.trust_radius": 1.0},
        {"optimizer.hybrid": "switch", "optimizer.second": "adam", "optimizer.patience": 2},
        {"optimizer.hybrid": "blend", "optimizer.second": "muon"},
        {"optimizer.hybrid": "couplings", "optimizer.second": "adam", "optimizer.couplings": (0, 3)},
        {"optimizer.hybrid": "agreement", "optimizer.carry": 0.5, "optimizer.damping": 0.1},
        {"optimizer.name": "adam", "training.average": "exponential"},
    ],
)
def test_a_state_goes_to_arrays_and_back(changes, make_problem):
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


def test_arrays_of_another_run_are_refused(make_problem):
    state = initial_state(make_problem())
    arrays = {name: np.asarray(leaf) for name, leaf in state_arrays(state).items()}
    with pytest.raises(RunError, match=r"params/0/weight is \(33, 32\) where these settings need \(17, 32\)"):
        restore_state(make_problem({"network.hidden": 16}), arrays)
    with pytest.raises(
        RunError, match="optimizer/mean/0/weight is missing; is it of a run with other settings"
    ):
        restore_state(make_problem({"optimizer.name": "adam"}), arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.name": "adam", "optimizer.lr": 0.01},
        {"optimizer.inverse": "block", "optimizer.lr": 0.5, "optimizer.damping": 0.1},
        {"optimizer.lr": 0.5, "optimizer.damping": 0.1},
        {"optimizer.name": "muon"},
        {"optimizer.name": "kfac"},
        {"optimizer.name": "lbfgs"},
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
def test_memory_not_given_is_half_of_the_machine_s(memory, make_problem, monkeypatch):
    """Left open where all that can be made of the kernel, here of order 640, fits in it."""
    monkeypatch.setattr("revgn.training.problem.memory_size", lambda backend: memory)
    bound = 5 * 10**7 if memory == 10**8 else None
    assert 48 * 640**2 < 10**9 / 2
    problem = make_problem({"training.dtype": "float64"})
    assert problem.optimizer == GaussNewton(MinimumNorm(memory=None))
    problem = make_problem({"training.batch_size": 128})
    assert problem.optimizer == GaussNewton(MinimumNorm(memory=bound))
    assert problem.config.optimizer.memory is None


def test_training_by_tiles_is_training(make_problem):
    """The kernel of order 640 takes 1.6 MB."""
    states = []
    for memory in (None, "600kB"):
        problem = make_problem({"optimizer.damping": 0.1, "optimizer.memory": memory, "training.steps": 3})
        for event in train(problem, initial_state(problem)):
            state = event.state
        states.append(state)
    dense, tiled = (trees.flatten(state.params) for state in states)
    assert np.linalg.norm(tiled - dense) < 1e-3 * np.linalg.norm(dense)
    assert not np.array_equal(tiled, dense)
