"""The rows of a step are determined by the seed, the epoch and the step alone."""

import numpy as np
import pytest

from revgn.training import place_data
from revgn.training.batches import batches, other_batches


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.batch_size": "full"},
        {"training.label_smoothing": 0.1},
        {"data.augmentation": "resized-crop"},
        {"data.augmentation": "pad-crop-flip"},
    ],
)
def test_a_batch_does_not_depend_on_where_training_started(changes, make_problem):
    problem = make_problem(changes)
    data = place_data(problem)
    whole = list(batches(problem, data, 0))
    assert len(whole) == problem.total_steps
    for step in range(problem.total_steps + 1):
        rest = list(batches(problem, data, step))
        assert len(rest) == problem.total_steps - step
        for (x, t), (x_later, t_later) in zip(whole[step:], rest, strict=True):
            np.testing.assert_array_equal(x, x_later)
            np.testing.assert_array_equal(t, t_later)


def test_batches_on_which_the_loss_decrease_is_measured(make_problem):
    def names(changes):
        problem = make_problem(changes)
        return {*other_batches(problem, place_data(problem))}

    assert names({"training.measure_every": 0}) == set()
    assert names({}) == {"other", "test"}
    assert names({"training.batch_size": "full"}) == {"test"}


def test_the_order_is_copied_to_the_device_once_per_epoch(make_problem, monkeypatch):
    problem = make_problem()
    data, placed = place_data(problem), []
    monkeypatch.setattr(
        "revgn.training.batches.place_rows", lambda part, rows: placed.append(rows.shape) or rows
    )
    assert len(list(batches(problem, data, 0))) == 7
    assert placed == [(3, 64)] * 3
