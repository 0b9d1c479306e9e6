"""The rows that a step takes follow from the seed, the epoch and the step alone."""

import numpy as np
import pytest

from revgn.training.batches import batches, next_two, other_batches


@pytest.mark.parametrize("changes", [{}, {"training.batch_size": "full"}, {"training.label_smoothing": 0.1}])
def test_a_batch_does_not_depend_on_where_training_began(changes, make_problem):
    problem = make_problem(changes)
    whole = list(batches(problem, 0))
    assert len(whole) == problem.total_steps
    for step in range(problem.total_steps + 1):
        rest = list(batches(problem, step))
        assert len(rest) == problem.total_steps - step
        for (x, t), (x_later, t_later) in zip(whole[step:], rest, strict=True):
            np.testing.assert_array_equal(x, x_later)
            np.testing.assert_array_equal(t, t_later)


def test_the_next_two_steps(make_problem):
    problem = make_problem()
    whole = list(batches(problem, 0))
    (x, _), (y, _) = next_two(problem, 2)
    np.testing.assert_array_equal(x, whole[2][0])
    np.testing.assert_array_equal(y, whole[3][0])
    assert next_two(problem, problem.total_steps - 2) is not None
    assert next_two(problem, problem.total_steps - 1) is None


def test_rows_on_which_steps_are_measured(make_problem):
    assert other_batches(make_problem({"training.measure_every": 0})) == {}
    assert set(other_batches(make_problem())) == {"other", "test"}
    assert set(other_batches(make_problem({"training.batch_size": "full"}))) == {"test"}
