"""Work of a run on a GPU between its steps: how often the host waits, and what is copied."""

import pytest

from revgn.arrays import Backend
from revgn.settings import build_config
from revgn.training import (
    build_problem,
    evaluate,
    evaluate_part,
    initial_state,
    load_data,
    place_data,
    train_step,
)
from revgn.training.batches import batches, other_batches
from revgn.training.step import measure

SETTINGS = {
    "network": {"hidden": 16},
    "optimizer": "adam",
    "training": {"backend": "cupy", "batch_size": 64, "steps": 9},
}


@pytest.fixture
def make_problem(stand_in):
    def make(**data):
        config = build_config(SETTINGS | {"data": {"subset": 200, "validation": 0.1} | data})
        return build_problem(config, load_data(config))

    return make


@pytest.mark.parametrize(
    ("augmentation", "uploads", "launches"),
    [("none", 0, 6), ("resized-crop", 1, 45), ("pad-crop-flip", 1, 30)],
)
def test_a_batch_is_formed_on_the_device(augmentation, uploads, launches, make_problem, stand_in):
    """Except for the draws of the changes; the order of the rows is copied at the beginning of an epoch."""
    problem = make_problem(augmentation=augmentation)
    coming = batches(problem, place_data(problem), 0)
    for step in range(6):
        with stand_in.counting() as counts:
            next(coming)
        assert counts.waits.total() == 0
        assert counts.uploads.total() == uploads + (step % problem.steps_per_epoch == 0)
        assert counts.launches.total() <= launches


def test_the_host_waits_once_per_evaluation(make_problem, stand_in, monkeypatch):
    monkeypatch.setattr("revgn.training.model.EVAL_ROWS", 50)
    problem = make_problem()
    data, state = place_data(problem), initial_state(problem)
    with stand_in.counting() as counts:
        record = evaluate(problem, state, data)
    assert (counts.waits.total(), counts.uploads.total()) == (1, 0)
    assert {"train_loss", "validation_accuracy", "test_accuracy"} <= record.keys()


def test_the_host_waits_once_for_the_measurements_of_a_step(make_problem, stand_in):
    problem = make_problem()
    data, before = place_data(problem), initial_state(problem)
    batch, others = next(batches(problem, data, 0)), other_batches(problem, data)
    after, record = train_step(problem, before, batch)
    with stand_in.counting() as counts:
        measure(problem, before, after, batch, others, record["loss"])
    assert (counts.waits.total(), counts.uploads.total()) == (1, 0)


def test_evaluate_part_holds_one_piece_on_the_device(make_problem, stand_in, monkeypatch):
    """Whatever the size of the data, rows are copied to the device piece by piece."""
    monkeypatch.setattr("revgn.training.model.EVAL_ROWS", 50)
    problem = make_problem()
    params, part = initial_state(problem).params, problem.dataset.train
    moved = []
    monkeypatch.setattr(
        Backend,
        "asarray",
        lambda self, x, dtype=None: (
            moved.append(x.shape) or self.xp.asarray(x, dtype=dtype, device=self.device)
        ),
    )
    found = evaluate_part(problem, params, part)
    assert max(shape[0] for shape in moved if len(shape) == 2) == 50
    monkeypatch.undo()
    assert found == pytest.approx(evaluate_part(problem, params, part), rel=1e-5)
