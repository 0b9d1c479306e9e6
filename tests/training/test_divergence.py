"""Divergence: losses that are not finite, or that stay far above their initial value."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from revgn.data import Dataset, Part
from revgn.losses import value
from revgn.settings import build_config
from revgn.training import (
    DivergedError,
    Evaluated,
    StepDone,
    build_problem,
    initial_state,
    restore_state,
    state_arrays,
    train,
)
from revgn.training.divergence import LASTING, Course, limit_of, stepped


def losses_of(monkeypatch, losses):
    """Let the batch losses of the training loop be these, whatever the weights."""
    from revgn.training import loop

    true_step, given = loop.train_step, iter(losses)

    def step(problem, state, batch):
        state, record = true_step(problem, state, batch)
        return state, record | {"loss": next(given)}

    monkeypatch.setattr(loop, "train_step", step)


def events_of(problem):
    """Return the events of training, and the message if it diverged."""
    events = []
    try:
        for event in train(problem, initial_state(problem)):
            events.append(event)
    except DivergedError as error:
        return events, str(error)
    return events, ""


SLOW = {"optimizer": "sgd", "lr": 1e-6, "training.measure_every": 0, "training.eval_every": 100}
HIGH = 2400.0  # above 1000 times the initial loss of about 2.3 (the loss of ten equally probable classes)


@pytest.mark.parametrize(
    ("losses", "last"),
    [
        ([2.0, *[HIGH * 10] * 30], 1 + LASTING),
        ([*[HIGH * 10] * (LASTING - 1), 2.0, *[HIGH * 10] * 20], 2 * LASTING),  # a spike that recovers
        ([*[HIGH * 1e9] * 3, *[2.0] * 22], None),
        ([500.0] * 25, None),
    ],
)
def test_a_loss_above_the_limit_for_ten_steps_has_diverged(losses, last, make_problem, monkeypatch):
    losses_of(monkeypatch, losses)
    events, message = events_of(make_problem(SLOW | {"training.steps": 25}))
    steps = [event for event in events if isinstance(event, StepDone)]
    assert steps[-1].state.step == (last or 25)
    assert bool(message) == (last is not None)
    assert [event.is_sound for event in steps] == [loss < HIGH for loss in losses[: len(steps)]]
    if message:
        assert message.startswith(f"step {last}: the loss is 2.4e+04; for 10 steps it has been above ")
        assert "1000 times its initial value; try a smaller lr (now 1e-06)" in message
        assert "\n" not in message


def test_the_training_loss_at_the_end_counts_even_after_few_steps(make_problem):
    problem = make_problem({"optimizer": "adam", "lr": 30.0, "training.steps": 3, "training.eval_every": 1})
    events, message = events_of(problem)
    assert events[-1].state.step == 3
    assert message.startswith("step 3: the training loss is")
    assert "at the end, above" in message
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert [event.is_sound for event in evaluated][0::3] == [True, False]


@pytest.mark.parametrize(("above", "diverged"), [(None, False), (1e12, False), (1.5, True)])
def test_the_limit_is_a_setting(above, diverged, make_problem, monkeypatch):
    losses_of(monkeypatch, [HIGH * 10] * 25)
    problem = make_problem(SLOW | {"training.steps": 25, "training.diverged_above": above})
    assert bool(events_of(problem)[1]) == diverged


def test_the_damping_of_the_message_is_the_adapted_one(make_problem, monkeypatch):
    losses_of(monkeypatch, [2.0, 2.0, math.nan])
    events, message = events_of(make_problem({"optimizer": "levenberg-marquardt"}))
    damping = events[-1].state.optimizer.damping
    assert damping not in (0.0, 1.0)  # it began with 1
    assert message.endswith(f" or a larger damping (now {damping:g})")


@pytest.mark.parametrize(("losses", "says"), [([math.nan], False), ([2.0, 2.0, math.nan], True)])
def test_the_damping_of_an_optimizer_that_is_not_active_is_not_named(losses, says, make_problem, monkeypatch):
    losses_of(monkeypatch, losses)
    settings = {"optimizer": "switch", "first": "adam", "second": "gauss-newton", "switch_at": 2}
    message = events_of(make_problem(settings | {"damping": 0.3}))[1]
    assert message.endswith("larger damping (now 0.3)") == says
    assert ("damping" in message) == says


def regression(targets):
    x = np.random.default_rng(3).standard_normal((70, 4))
    part = Part(x, targets)
    return Dataset(
        "own", "regression", part, part, x.mean(0), 1 / x.std(0), None, ("a", "b"), "0" * 64, "made up"
    )


def test_a_regression_that_starts_near_its_solution_has_room(make_problem):
    """The scale of the loss is then that of outputs that are zero: half the mean square of the targets."""
    signs = np.where(np.arange(70) % 2, 1.0, -1.0)[:, None] * np.ones(2)
    problem = make_problem({"optimizer": "sgd", "lr": 1e-6, "training.steps": 1}, regression(signs))
    (event, *_), _ = events_of(problem)
    start = event.record["train_loss"]
    assert event.state.course == Course(max(start, 1.0), 0)
    assert limit_of(event.state.course, 10.0) == pytest.approx(10 * max(start, 1.0))
    assert limit_of(Course(0.0), 10.0) == math.inf  # loss and targets are zero: nothing to compare with
    assert limit_of(Course(-1.0), 10.0) == math.inf


@dataclass(frozen=True)
class Logarithmic:
    """A user's loss, which is defined for positive outputs only."""


@value.register(Logarithmic)
def value_of_logarithmic(loss, z, t):
    return np.mean(np.log(z) ** 2)


def test_a_run_whose_first_loss_and_whose_loss_of_zero_are_not_finite_has_diverged(digits):
    problem = build_problem(build_config({"network": {"hidden": 16}}), digits, loss=Logarithmic())
    events, message = events_of(problem)
    assert message.startswith("before the first step the training loss is nan and the test loss nan")
    (event,) = events
    assert not event.is_sound
    assert math.isnan(event.state.course.scale)


def test_a_loss_that_is_not_a_number_counts_as_above():
    assert stepped(Course(1.0, 3), math.nan, 1000.0).above == 4
    assert stepped(Course(1.0, 3), 1000.0, 1000.0).above == 0


def test_a_checkpoint_without_the_course_is_restored(make_problem):
    """Such checkpoints are of version 0.1; the course then begins at the next evaluation."""
    problem = make_problem(SLOW)
    (first, *_) = train(problem, initial_state(problem))
    arrays = {name: np.asarray(leaf) for name, leaf in state_arrays(first.state).items()}
    assert restore_state(problem, arrays).course == first.state.course
    old = {name: array for name, array in arrays.items() if not name.startswith("course/")}
    restored = restore_state(problem, old)
    assert math.isnan(restored.course.scale)
    (again, *_) = train(problem, restored)
    assert again.state.course == first.state.course
