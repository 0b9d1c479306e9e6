"""Set-ups by name; those of the paper: network sizes, and equality with steps of the paper's code."""

import numpy as np
import pytest
from reference import dense, published

from revgn.data import Dataset, Part
from revgn.networks import REFERENCE, Architecture, Convolutional
from revgn.optimizers import Adam, GaussNewton, Orthogonalized, Paced
from revgn.settings import PRESETS, build_config
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm
from revgn.training import Evaluated, StepDone, build_problem, initial_state, load_data, train


@pytest.mark.parametrize(
    ("name", "features", "weights"),
    [("paper-mnist", 784, 12_545_568), ("paper-cifar10", 3072, 147_474_432)],
)
def test_presets_are_the_papers(name, features, weights):
    config = build_config({"preset": name})
    assert 2 * config.network.blocks * (config.network.hidden + 1) * features // 2 == weights
    assert (config.training.batch_size, config.training.epochs) == (1024, 100)
    full = build_config({"preset": f"{name}-full-batch"})
    assert (full.training.batch_size, full.data.subset) == ("full", 1024)
    assert set(REFERENCE) < set(PRESETS)


@pytest.mark.parametrize("name", ["mlp", "revnet-small"])
def test_small_set_ups_train_on_the_digits(name):
    config = build_config({"preset": name, "data": {"subset": 256}, "training": {"epochs": 3}})
    problem = build_problem(config, load_data(config))
    (first, *_, last) = [e.record for e in train(problem, initial_state(problem)) if isinstance(e, Evaluated)]
    assert first["test_accuracy"] < 0.3
    assert last["test_accuracy"] > 0.8


def test_the_set_up_for_cifar10():
    config = build_config({"preset": "revnet-cifar10"})
    assert config.network == Convolutional(channels=32, blocks=(2, 2), hidden=(96, 192))
    assert (config.data.name, config.data.augmentation) == ("cifar10", "pad-crop-flip")
    assert isinstance(config.optimizer, Orthogonalized)
    deeper = build_config({"preset": "revnet-cifar10", "network": {"blocks": [3, 3]}})
    assert deeper.network == Convolutional(channels=32, blocks=(3, 3), hidden=(96, 192))
    assert build_config({"preset": "revnet-cifar10", "network": "dense"}).network == Architecture()
    other = build_config({"preset": "revnet-cifar10", "optimizer": {"inner": {"solver": "cg"}}})
    assert other.optimizer == Orthogonalized(GaussNewton(ConjugateGradients(), lr=0.02))
    assert build_config({"preset": "revnet-cifar10", "optimizer": "adam"}).optimizer == Adam()


def small_images():
    rng = np.random.default_rng(5)
    x, labels = rng.standard_normal((18, 10)), np.eye(3)[np.arange(18) % 3]
    parts = Part(x[:12], labels[:12]), Part(x[12:], labels[12:])
    classes = ("a", "b", "c")
    return Dataset("made up", "classification", *parts, x.mean(0), 1 / x.std(0), None, classes, "0" * 64, "")


@pytest.mark.parametrize(
    ("name", "blocks", "code_lr", "lr"),
    [
        ("paper-mnist", 2, 0.1, 0.2),
        ("paper-cifar10", 6, 0.1, 0.6),
        ("paper-mnist-full-batch", 2, 0.5, 1.0),
        ("paper-cifar10-full-batch", 6, 0.5, 3.0),
    ],
)
def test_three_steps_equal_the_paper_s_code(name, blocks, code_lr, lr):
    """In the code of the paper each block takes all of v, so that our learning rate is L times larger."""
    settings = {
        "preset": name,
        "data": {"augmentation": "none"},
        "network": {"hidden": 24, "init_scale": 0.05},
        "training": {"batch_size": "full", "steps": 3, "dtype": "float64"},
    }
    config = build_config(settings)
    solver = BlockWise(block_weights="uniform", rtol=1e-2, atol=1e-5)
    assert config.optimizer == GaussNewton(solver, lr=lr)
    assert (config.network.blocks, blocks * code_lr) == (blocks, pytest.approx(lr))
    problem = build_problem(config, small_images())
    data = problem.dataset
    x, y = (data.train.inputs - data.shift) * data.scale, data.train.targets
    state = initial_state(problem)
    weights = dense.weights_of(state.params)
    for event in train(problem, state):
        if isinstance(event, StepDone):
            before, weights = weights, published.step(problem.network, weights, x, y, code_lr)
            for was, expected, found in zip(
                before, weights, dense.weights_of(event.state.params), strict=True
            ):
                assert np.linalg.norm(found - expected) < 1e-8 * np.linalg.norm(expected - was)
    assert event.state.step == 3


def test_another_optimizer_or_solver_drops_the_optimizer_of_the_preset():
    def optimizer(table):
        return build_config({"preset": "paper-mnist", "optimizer": table}).optimizer

    paper = build_config({"preset": "paper-mnist"}).optimizer
    assert optimizer({"kind": "gauss-newton"}) == optimizer({"solver": "block"}) == paper
    assert optimizer({"lr": 0.5}) == GaussNewton(paper.solver, lr=0.5)
    assert optimizer({"solver": {"rtol": 0.1}}).solver.atol == 1e-5
    assert optimizer({"solver": "minimum-norm"}) == GaussNewton(MinimumNorm())
    assert optimizer("adam") == Adam()
    assert optimizer({"kind": "paced", "trust_radius": 1}) == Paced(GaussNewton(), trust_radius=1.0)
