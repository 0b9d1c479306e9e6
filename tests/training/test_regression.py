"""RMSE and R^2 of a regression, in the unit of its targets."""

from dataclasses import replace

import numpy as np
import pytest

import revgn
from revgn.data import Part
from revgn.training import evaluate, initial_state, r2_of, regression_scores


@pytest.fixture
def problem(make_problem, table):
    """A problem whose two targets have different units and are standardized."""
    unit = np.array([1000.0, 0.01])
    parts = {name: getattr(table, name) for name in ("train", "test")}
    parts = {name: Part(part.inputs, 5.0 + part.targets * unit) for name, part in parts.items()}
    y = parts["train"].targets
    dataset = replace(table, **parts, target_shift=y.mean(0), target_scale=1 / y.std(0))
    settings = {"training.dtype": "float64", "eval_train_rows": 30, "init_scale": 0.3, "steps": 2}
    return make_problem(settings, dataset)


def test_scores_are_those_of_predictions_in_the_unit_of_the_targets(problem):
    state, dataset = initial_state(problem), problem.dataset
    record = evaluate(problem, state)
    for part, rows in (("train", 30), ("test", 20)):
        x, y = (getattr(getattr(dataset, part), name)[:rows] for name in ("inputs", "targets"))
        z = revgn.forward(problem.network, state.params, (x - dataset.shift) * dataset.scale)
        errors = z / dataset.target_scale + dataset.target_shift - y
        assert record[f"{part}_rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-10)
        shares = 1 - np.mean(errors**2, axis=0) / np.var(y, axis=0)
        assert record[f"{part}_r2"] == pytest.approx(shares.mean(), rel=1e-10)


def test_of_one_target_they_follow_from_the_loss(make_problem, table):
    one = {
        name: Part(part.inputs, part.targets[:, :1])
        for name, part in (("train", table.train), ("test", table.test))
    }
    problem = make_problem({"training.dtype": "float64"}, replace(table, **one, classes=("a",)))
    record = evaluate(problem, initial_state(problem))
    assert record["test_rmse"] == pytest.approx(np.sqrt(record["test_loss"]), rel=1e-12)
    assert record["test_r2"] == pytest.approx(1 - record["test_loss"] / one["test"].targets.var(), rel=1e-12)


def test_r2_of_a_constant_target_is_not_defined(table):
    y = np.array([[1.0, 2.0], [3.0, 2.0]])
    np.testing.assert_array_equal(r2_of(np.array([1.0, 0.0]), y), [0.0, np.nan])
    assert regression_scores(np.array([4.0, 0.0]), y, table) == {"rmse": np.sqrt(2.0)}
    assert regression_scores(np.array([0.5, 0.0]), np.arange(4.0).reshape(2, 2), table)["r2"] == 0.75


def test_classes_have_none(make_problem):
    problem = make_problem()
    assert not {"test_rmse", "test_r2"} & evaluate(problem, initial_state(problem)).keys()
