"""Averaged weights against their definition and in a network; smoothed labels against soft targets."""

from dataclasses import replace

import numpy as np
import pytest

from revgn import trees
from revgn.data import Part, batch_indices, take_batch
from revgn.errors import UsageError
from revgn.losses import CrossEntropy, accuracy, gradient, output_step, value
from revgn.maps import forward
from revgn.settings import Exponential, Tail
from revgn.testing import relative_error
from revgn.testing.compare import snapshot
from revgn.training import AverageState, Evaluated, StepDone, evaluate, initial_state, train, update_average

ADAM = {"optimizer": "adam", "lr": 0.01, "eval_every": 1}
AVERAGES = [
    ({"average": "exponential"}, 0.95, 0),
    ({"average": "exponential", "decay": 0.5}, 0.5, 0),
    ({"average": "tail"}, 1.0, 5),  # 0.75 of 7 steps
    ({"average": "tail", "tail_start": 0.0}, 1.0, 0),
    ({"average": "tail", "tail_start": 0.999}, 1.0, 6),
]


def run(problem):
    return list(train(problem, initial_state(problem)))


def mean_of(vectors, decay):
    """The definition: normalized coefficients d^age."""
    factors = decay ** np.arange(len(vectors))[::-1]
    return factors @ np.stack(vectors) / factors.sum()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
@pytest.mark.parametrize(("changes", "decay", "begin"), AVERAGES)
def test_the_average_is_a_weighted_mean_of_the_weights(changes, decay, begin, dtype, tolerance, make_problem):
    problem = make_problem(ADAM | changes | {"training.dtype": dtype})
    weights = []
    for event in run(problem):
        if not isinstance(event, StepDone):
            continue
        if event.state.step > begin:
            weights.append(np.asarray(trees.flatten(event.state.params), dtype=np.float64))
        steps, average = event.state.average
        assert steps == len(weights)
        if weights:
            assert trees.flatten(average).dtype == dtype
            assert relative_error(trees.flatten(average), mean_of(weights, decay)) < tolerance
        else:
            assert average is event.state.params  # no memory for an average that is not kept


@pytest.mark.parametrize(("average", "begin"), [(Exponential(0.9), 0), (Tail(0.25), 1)])
def test_the_average_of_constant_weights_is_these_weights(average, begin, make_problem):
    """Bit for bit; weights before the beginning of the average do not contribute."""
    problem = make_problem()
    params = initial_state(problem).params
    far = trees.scale(1e30, trees.add(params, params))
    state = AverageState(0, far)
    for step, taken in enumerate([far] * begin + [params] * 3, start=1):
        state = update_average(average, state, taken, step, total_steps=4)
    assert state.steps == 3
    assert snapshot(state.params) == snapshot(params)
    assert update_average(average, state, far, begin, 4).params is far  # as before its beginning


def test_training_does_not_depend_on_the_average(make_problem):
    plain, averaged = (run(make_problem(ADAM | changes)) for changes in ({}, AVERAGES[1][0]))
    assert plain[-1].state.average == ()
    for one, other in zip(plain, averaged, strict=True):
        assert snapshot(one.state.params) == snapshot(other.state.params)
        for name in ("loss", "test_loss", "train_accuracy"):
            assert one.record.get(name) == other.record.get(name)


@pytest.mark.parametrize(("changes", "decay", "begin"), AVERAGES)
def test_the_average_is_evaluated_like_a_network_with_these_weights(changes, decay, begin, make_problem):
    problem = make_problem(ADAM | changes)
    metrics = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    for event in run(problem):
        if not isinstance(event, Evaluated):
            continue
        found = {name for name in event.record if name.endswith("_average")}
        assert found == ({f"{name}_average" for name in metrics} if event.state.step > begin else set())
        if found:
            alone = evaluate(problem, event.state._replace(params=event.state.average.params, average=()))
            assert {name: event.record[f"{name}_average"] for name in metrics} == {
                name: alone[name] for name in metrics
            }
    assert event.record["test_loss_average"] != event.record["test_loss"] or begin == 6


def test_a_regression_is_averaged_too(make_problem, table):
    changes = AVERAGES[1][0] | {"optimizer": "adam"}
    record = run(make_problem(changes, table))[-1].record
    assert {name for name in record if name.endswith("_average")} == {
        f"{part}_{name}_average" for part in ("train", "test") for name in ("loss", "rmse", "r2")
    }


SMOOTH = {"training.label_smoothing": 0.3, "training.dtype": "float64", "training.measure_every": 1}


def soft(targets, s):
    return np.array([[(1 - s) * y + s / len(row) for y in row] for row in targets])


def test_smoothed_labels_are_soft_targets(make_problem, digits):
    """The steps equal the steps on a data set with soft targets; the test loss uses the original labels."""
    softened = replace(digits, train=Part(digits.train.inputs, soft(digits.train.targets, 0.3)))
    explicit = make_problem(SMOOTH | {"training.label_smoothing": 0.0}, softened)
    for one, other in zip(run(make_problem(SMOOTH)), run(explicit), strict=True):
        assert relative_error(one.state.params, other.state.params) < 1e-9
        names = {"loss", "accuracy", "loss_after", "loss_other", "test_loss", "test_accuracy"}
        for name in names & one.record.keys():
            assert one.record[name] == pytest.approx(other.record[name], rel=1e-9)


def test_metrics_with_smoothed_labels(make_problem, digits):
    problem = make_problem(SMOOTH)
    events = run(problem)
    rows = batch_indices(200, 64, seed=0, epoch=0)[0]
    inputs, targets = take_batch(digits, digits.train, rows, problem.backend, problem.dtype)
    z = forward(problem.network, events[0].state.params, inputs)
    first = next(event for event in events if isinstance(event, StepDone))
    assert first.record["loss"] == pytest.approx(
        float(value(CrossEntropy(), z, soft(targets, 0.3))), rel=1e-12
    )
    assert first.record["accuracy"] == float(accuracy(z, targets))
    after = forward(problem.network, first.state.params, inputs)
    expected = float(value(CrossEntropy(), after, soft(targets, 0.3)))
    assert first.record["loss_after"] == pytest.approx(expected, rel=1e-12)
    test, labels = take_batch(digits, digits.test, None, problem.backend, problem.dtype)
    z = forward(problem.network, events[-1].state.params, test)
    assert events[-1].record["test_loss"] == pytest.approx(float(value(CrossEntropy(), z, labels)), rel=1e-12)


def test_smoothed_targets_keep_their_sum_and_order(digits, make_problem):
    problem = make_problem(SMOOTH)
    _, targets = take_batch(digits, digits.train, None, problem.backend, problem.dtype, smoothing=0.3)
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(np.unique(targets), [0.03, 0.73], rtol=1e-15)
    np.testing.assert_array_equal(targets.argmax(axis=1), digits.train.targets.argmax(axis=1))


def test_the_gradient_of_the_loss_of_soft_targets():
    """Against central differences; the output step is n times the gradient."""
    rng = np.random.default_rng(41)
    z, labels = rng.standard_normal((5, 4)), np.eye(4)[[0, 3, 1, 1, 2]]
    t, loss, h = soft(labels, 0.2), CrossEntropy(), 1e-5
    differences = np.empty_like(z)
    for index in np.ndindex(z.shape):
        e = np.zeros_like(z)
        e[index] = h
        differences[index] = (value(loss, z + e, t) - value(loss, z - e, t)) / (2 * h)
    np.testing.assert_allclose(gradient(loss, z, t), differences, atol=1e-10)
    np.testing.assert_allclose(output_step(loss, z, t), 5 * gradient(loss, z, t), rtol=1e-14)
    mixed = 0.8 * value(loss, z, labels) + 0.2 * value(loss, z, np.full_like(t, 0.25))
    assert float(value(loss, z, t)) == pytest.approx(float(mixed), rel=1e-14)


def test_label_smoothing_is_refused_for_a_regression(make_problem, table):
    with pytest.raises(UsageError, match=r"training\.label_smoothing: is only for cross-entropy"):
        make_problem({"training.label_smoothing": 0.1}, table)
