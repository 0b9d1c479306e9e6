"""The training loop: determined by settings and data, bit for bit, from any state on."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from revgn import trees
from revgn.analysis import QUANTITIES, cosine, kernel_change
from revgn.data import Part, batch_indices, load_dataset, take_batch
from revgn.errors import MemoryShortageError, UsageError
from revgn.linalg import OUTCOMES
from revgn.losses import accuracy, value
from revgn.maps import forward
from revgn.solvers import jacobian, tangent_kernel
from revgn.store import EPOCH_SERIES, STEP_SERIES
from revgn.testing import relative_error
from revgn.testing.compare import snapshot
from revgn.training import (
    DivergedError,
    Evaluated,
    StepDone,
    analyse,
    evaluate,
    evaluate_part,
    initial_state,
    start_probe,
    train,
    train_step,
)

OPTIMIZERS = [
    {"optimizer": "gauss-newton"},
    {"solver": "block", "block_weights": (0.5, 0.5)},
    {"solver": "cg", "damping": 0.1, "momentum": 0.9},
    {"damping": 0.1, "rows": 1, "momentum": 0.9},
    {"optimizer": "orthogonalized", "damping": 0.1, "rows": 1, "momentum": 0.9},
    {"optimizer": "adam"},
    {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine"},
    {"optimizer": "muon"},
    {"optimizer": "kfac", "every": 2},
    {"optimizer": "lbfgs", "batch_size": "full"},
    {"optimizer": "adam", "average": "exponential"},
    {"optimizer": "paced", "length": "backtracking", "damping": 0.1, "momentum": 0.9},
    {"optimizer": "switch", "first": "gauss-newton", "second": "adam", "switch_at": 4},
    {"optimizer": "levenberg-marquardt", "weight_decay": 0.01},
]
EVERY = pytest.mark.parametrize(
    "changes", OPTIMIZERS, ids=lambda changes: "-".join(map(str, changes.values()))
)
REPEATED = {
    "step",
    "epoch",
    *(series.name for series in (*STEP_SERIES, *EPOCH_SERIES) if series.deterministic),
}


def repeats(events):
    """Everything that must have the same bits each time: kinds, steps, measured series, weights and state."""
    return [
        (
            type(event),
            {name: metric for name, metric in event.record.items() if name in REPEATED},
            snapshot(event.state.params),
            snapshot(trees.map_leaves(np.asarray, event.state.optimizer)),
            snapshot(trees.map_leaves(np.asarray, event.state.average)),
        )
        for event in events
    ]


def run(problem):
    return list(train(problem, initial_state(problem)))


@EVERY
def test_training_gives_the_same_bits_each_time(changes, make_problem):
    assert repeats(run(make_problem(changes))) == repeats(run(make_problem(changes)))


@EVERY
def test_training_continued_from_any_state_gives_the_same_bits(changes, make_problem):
    problem = make_problem(changes)
    events = run(problem)
    last = repeats(events)
    for number, event in enumerate(events):
        on = list(train(make_problem(changes), event.state))
        rest = events[number:] if isinstance(event, Evaluated) else events[number + 1 :]
        if on and isinstance(on[0], Evaluated) and not isinstance(rest[0], Evaluated):
            on = on[1:]
        assert repeats(on) == last[len(last) - len(rest) :]


@EVERY
def test_another_seed_gives_another_run(changes, make_problem):
    bounded = {"training.steps": 2}  # the block step diverges here
    first, second = (run(make_problem(changes | {"training.seed": seed} | bounded)) for seed in (0, 1))
    assert first[0].record["train_loss"] != second[0].record["train_loss"]


def test_records_hold_the_registered_series(make_problem):
    events = run(make_problem({"training.average.kind": "exponential", "training.analyse_rows": 6}))
    steps = {name for event in events if isinstance(event, StepDone) for name in event.record}
    epochs = {name for event in events if isinstance(event, Evaluated) for name in event.record}
    assert steps - {"step"} == {series.name for series in STEP_SERIES} - {"cg_outcome", "rho_outputs"}
    of_validation = {f"validation_{what}{of}" for what in ("loss", "accuracy") for of in ("", "_average")}
    of_estimates = {f"kernel_{what}_error" for what in ("similarity", "alignment", "rate")}
    by_coupling = {f"weights_{what}_{k}" for what in ("norm", "moved", "cosine") for k in range(4)}
    of_regression = {each.name for each in EPOCH_SERIES if {"rmse", "r2"} & {*each.name.split("_")}}
    of_all = {series.name for series in EPOCH_SERIES} - of_validation - of_estimates - of_regression
    assert epochs - {"epoch"} == of_all | by_coupling
    held_out = load_dataset("digits", subset=200, validation=0.1)
    held = run(make_problem({"training.average.kind": "exponential"}, held_out))
    assert of_validation <= held[-1].record.keys()


def test_analysis_compares_with_the_initialization(make_problem):
    """At step 0 nothing has changed; a resumed problem has the same initialization."""
    problem = make_problem({"training.analyse_rows": 6, "training.eval_every": 2})
    events = [event for event in run(problem) if isinstance(event, Evaluated)]
    assert events[0].record["weights_moved"] == 0.0
    assert events[0].record["kernel_similarity"] == pytest.approx(1.0, abs=1e-5)
    assert 0 < events[1].record["weights_moved"] < events[-1].record["weights_moved"]
    (again, *_) = train(problem, events[1].state)
    timed = {"seconds_outside": again.record["seconds_outside"]}
    assert again.record == events[1].record | timed
    assert "weights_moved" not in run(make_problem())[0].record


def test_the_next_steps_in_the_analysis_are_the_steps_that_follow(make_problem):
    """Overlap and kernel rate belong to the next steps of training, also across the end of an epoch."""
    changes = {"training.analyse_rows": 6, "training.eval_every": 1, "schedule": "cosine"}
    problem = make_problem(changes | {"damping": 0.1, "momentum": 0.5})
    events = [event for event in run(problem) if isinstance(event, Evaluated)]
    rows = slice(0, 6)
    x = take_batch(problem.dataset, problem.dataset.test, rows, problem.backend, problem.dtype)[0]
    for before, after, last in zip(events, events[1:], events[2:], strict=False):
        first, second = (
            trees.axpy(-1.0, b.state.params, a.state.params) for a, b in ((before, after), (after, last))
        )
        assert before.record["step_overlap"] == pytest.approx(cosine(first, second), abs=1e-5)
        K, L = (
            tangent_kernel(jacobian(problem.network, each.state.params, x)[1]) for each in (before, after)
        )
        assert before.record["kernel_rate"] == pytest.approx(kernel_change(K, L), rel=1e-3, abs=1e-6)
        assert before.record["step_excess"] > 0.999
        assert 0 < before.record["solvers_cosine"] <= 1.001


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_last_evaluations_look_ahead(make_problem, schedule):
    """They measure the steps that would follow, so no evaluation lacks what looks ahead."""
    changes = {"training.analyse_rows": 6, "training.eval_every": 1, "schedule": schedule}
    problem = make_problem(changes)
    events = [event for event in run(problem) if isinstance(event, Evaluated)]
    names = [each.name for each in QUANTITIES if each.looks_ahead]
    assert all(math.isfinite(event.record[name]) for event in events for name in names)
    if schedule == "constant":
        further = train(replace(problem, total_steps=problem.total_steps + 2), events[-1].state)
        on = [event for event in further if isinstance(event, Evaluated)]
        for event, same in zip(events[-1:], on, strict=False):
            assert [event.record[name] for name in names] == [same.record[name] for name in names]
        first, second = (trees.axpy(-1.0, b.state.params, a.state.params) for a, b in pairwise(on))
        assert events[-1].record["step_overlap"] == pytest.approx(cosine(first, second), abs=1e-5)


def test_what_overflows_in_the_analysis_gives_no_warning(make_problem):
    """Warnings of NumPy are errors here."""
    problem = make_problem({"training.dtype": "float32", "optimizer": "sgd"})
    state = initial_state(problem)
    huge = state._replace(params=trees.map_leaves(lambda W: W + np.float32(1e25), state.params))
    assert "kernel_rate" not in analyse(problem, huge, start_probe(problem, 6))


def test_conjugate_gradients_are_recorded(make_problem):
    """Number and outcome of the iterations; there are no series of factorizations."""
    settings = {"solver": "cg", "damping": 0.1, "max_iterations": 7}
    for tolerance, words in ((0.1, {"converged"}), (1e-6, {"out-of-iterations"})):
        events = run(make_problem(settings | {"tolerance": tolerance}))
        steps = [event.record for event in events if isinstance(event, StepDone)]
        assert {OUTCOMES[int(step["cg_outcome"])] for step in steps[1:]} == words
        assert all(1 <= step["cg_iterations"] <= 7 for step in steps)
        assert not any("rung" in step or "rank" in step for step in steps)


def test_records_belong_to_the_state_in_their_event(make_problem):
    """Loss before the update, loss after it, learning rate, counts."""
    full = {"training.batch_size": "full", "training.measure_every": 1, "training.steps": 4}
    problem = make_problem(full | {"lr": 0.5, "damping": 0.1})
    events = run(problem)
    assert events[0].state.step == 0
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.record["step"] for event in steps] == [1, 2, 3, 4]
    assert [event.record["samples"] for event in steps] == [200, 400, 600, 800]
    assert all("loss_other" not in event.record for event in steps)
    for before, after in pairwise(steps):
        assert after.record["loss"] == pytest.approx(before.record["loss_after"], rel=1e-5)
    assert steps[0].record["loss"] == pytest.approx(events[0].record["train_loss"], rel=1e-5)
    assert all(event.record["lr"] == 0.5 for event in steps)
    assert steps[-1].state.seconds == pytest.approx(sum(event.record["seconds"] for event in steps))


@pytest.mark.parametrize(
    ("changes", "evaluated"),
    [
        ({"training.steps": 7}, [0, 3, 6, 7]),  # 200 rows in batches of 64: three steps per epoch
        ({"training.steps": 6}, [0, 3, 6]),
        ({"training.eval_every": 2}, [0, 2, 4, 6, 7]),
        ({"training.eval_every": 100}, [0, 7]),
        ({"training.steps": None, "training.epochs": 2}, [0, 3, 6]),
        ({"training.batch_size": "full", "training.steps": 2, "damping": 0.1}, [0, 1, 2]),
    ],
)
def test_evaluations_come_when_they_are_due(changes, evaluated, make_problem):
    problem = make_problem(changes)
    events = run(problem)
    found = [event.state.step for event in events if isinstance(event, Evaluated)]
    assert found == evaluated
    assert len(events) - len(found) == problem.total_steps == evaluated[-1]
    for event in events:
        if isinstance(event, Evaluated):
            assert event.record["epoch"] == event.state.step / problem.steps_per_epoch


@pytest.mark.parametrize(("every", "measured"), [(0, []), (1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6])])
def test_measurements_come_when_they_are_due(every, measured, make_problem):
    events = run(make_problem({"training.measure_every": every, "optimizer": "sgd"}))
    for name in (
        "loss_after",
        "loss_other",
        "loss_test",
        "loss_decrease",
        "loss_decrease_other",
        "loss_decrease_test",
        "inverse_error",
    ):
        assert [event.state.step for event in events if name in event.record] == measured


def test_loss_decreases_are_differences_of_losses_over_the_step(make_problem):
    problem = make_problem({"training.measure_every": 1, "training.steps": 6})
    events = run(problem)
    test = problem.dataset.test
    rows = Part(test.inputs[: problem.batch_size], test.targets[: problem.batch_size])
    losses = [
        evaluate_part(problem, event.state.params, rows)[0] for event in events if isinstance(event, StepDone)
    ]
    steps = [event.record for event in events if isinstance(event, StepDone)]
    for earlier, step, before, after in zip(steps, steps[1:], losses, losses[1:], strict=False):
        assert step["loss_test"] == pytest.approx(after, rel=1e-5)
        assert step["loss_decrease_test"] == pytest.approx(before - after, rel=1e-3, abs=1e-5)
        assert step["loss_decrease_other"] == pytest.approx(
            earlier["loss_other"] - step["loss_other"], abs=1e-5
        )
        assert step["loss_decrease"] == pytest.approx(step["loss"] - step["loss_after"], abs=1e-5)


def test_time_outside_of_steps_is_all_other_time(make_problem, monkeypatch):
    """It includes the handling of events; between two evaluations it is all time not spent in steps."""
    clock = iter(range(0, 10_000, 1000))
    monkeypatch.setattr("revgn.training.loop.perf_counter", lambda: next(clock))
    events = [event for event in run(make_problem()) if isinstance(event, Evaluated)]
    in_steps = 0.0
    for event in events:
        steps = event.record["seconds"] - in_steps
        assert event.record["seconds_outside"] == pytest.approx(1000 - steps, rel=1e-12)
        in_steps = event.record["seconds"]


def test_an_evaluation_is_the_mean_over_all_rows(make_problem, digits, monkeypatch):
    problem = make_problem()
    state = run(problem)[-1].state
    whole = evaluate(problem, state)
    inputs = (digits.test.inputs - digits.shift) * digits.scale
    z = forward(problem.network, state.params, inputs.astype(np.float32))
    t = digits.test.targets.astype(np.float32)
    assert whole["test_loss"] == pytest.approx(float(value(problem.loss, z, t)), rel=1e-5)
    assert whole["test_accuracy"] == pytest.approx(float(accuracy(z, t)), rel=1e-6)
    monkeypatch.setattr("revgn.training.model.EVAL_ROWS", 7)
    assert evaluate(problem, state) == pytest.approx(whole, rel=1e-5)
    few = evaluate(make_problem({"training.eval_train_rows": 50}), state)
    loss, hit = evaluate_part(problem, state.params, digits.train, 50)
    assert (few["train_loss"], few["train_accuracy"]) == pytest.approx((loss, hit))
    assert few["train_loss"] != pytest.approx(whole["train_loss"], rel=1e-3)


def test_batches_follow_the_order(make_problem, digits, monkeypatch):
    taken = []

    def spy(problem, state, batch):
        taken.append(batch[0])
        return train_step(problem, state, batch)

    monkeypatch.setattr("revgn.training.loop.train_step", spy)
    run(make_problem({"optimizer": "sgd"}))
    assert len(taken) == 7
    for number, inputs in enumerate(taken):
        rows = batch_indices(200, 64, seed=0, epoch=number // 3)[number % 3]
        expected = ((digits.train.inputs[rows] - digits.shift) * digits.scale).astype(np.float32)
        np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-6)
    taken.clear()
    run(make_problem({"optimizer": "sgd", "training.batch_size": "full", "training.steps": 2}))
    expected = ((digits.train.inputs - digits.shift) * digits.scale).astype(np.float32)
    assert taken[0] is taken[1]  # not shuffled, and copied to the device once
    np.testing.assert_allclose(taken[0], expected, rtol=1e-5, atol=1e-6)


def test_the_length_is_recorded(make_problem):
    def lengths(optimizer):
        events = run(make_problem(optimizer))
        return [event.record["length"] for event in events if isinstance(event, StepDone)]

    assert lengths({"optimizer": "sgd", "schedule": "step", "every": 4}) == (
        pytest.approx([0.1] * 4 + [0.01] * 3)
    )
    paced = {"optimizer": "paced", "inner": "sgd", "lr": 64.0, "length": "backtracking"}
    assert all(length < 64 and np.log2(length) % 1 == 0 for length in lengths(paced))
    switch = {"optimizer": "switch", "first": "sgd", "second": "adam"}
    assert lengths(switch | {"switch_at": 5}) == pytest.approx([0.1] * 5 + [0.001] * 2)


def test_changed_images_differ_between_steps_but_are_reproducible(make_problem):
    changes = {
        "optimizer": "sgd",
        "data.augmentation": "pad-crop-flip",
        "training.batch_size": "full",
        "training.steps": 3,
    }
    cropped, again = run(make_problem(changes)), run(make_problem(changes))
    assert repeats(cropped) == repeats(again)
    plain = run(make_problem(changes | {"data.augmentation": "none"}))
    assert cropped[0].record["train_loss"] == plain[0].record["train_loss"]  # evaluations use whole images
    assert cropped[1].record["loss"] != plain[1].record["loss"]
    on = list(train(make_problem(changes), cropped[1].state))
    assert repeats(on)[-1] == repeats(cropped)[-1]


def test_tables_are_not_augmented(make_problem, table):
    with pytest.raises(UsageError, match=r"data\.augmentation: table has no images"):
        make_problem({"data.augmentation": "pad-crop-flip"}, table)


def test_rebuilt_activations_train_alike(make_problem):
    """Rebuilt activations change what is stored, but the results are the same up to rounding."""
    for changes in OPTIMIZERS:
        double = changes | {"training.dtype": "float64"}
        kept, rebuilt = (
            run(make_problem(double | {"network.activations": how})) for how in ("keep", "rebuild")
        )
        for one, other in zip(kept, rebuilt, strict=True):
            for name in ("loss", "loss_after", "train_loss", "test_loss"):
                if name in one.record:
                    assert other.record[name] == pytest.approx(one.record[name], rel=1e-6)
        assert relative_error(kept[-1].state.params, rebuilt[-1].state.params) < 1e-6


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), MemoryShortageError("a bound", 7)]
)
def test_a_memory_shortage_gives_a_clear_error(error, make_problem, monkeypatch):
    def failing(*arguments):
        raise error

    problem = make_problem({"optimizer": "adam"})
    monkeypatch.setattr("revgn.training.loop.train_step", failing)
    bound = getattr(error, "kernel_memory", None)
    says = "^a bound$" if bound else "^out of memory: .*; try a smaller training.batch_size$"
    with pytest.raises(MemoryShortageError, match=says) as raised:
        list(train(problem, initial_state(problem)))
    assert raised.value.kernel_memory == bound


@pytest.mark.parametrize("name", ["gauss-newton", "adam", "sgd", "kfac"])
@pytest.mark.parametrize("every", [1, 100])
def test_divergence_stops_training(name, every, make_problem):
    """After the event with numbers that are not finite: a step, or an evaluation before the next step."""
    problem = make_problem({"optimizer": name, "lr": 1e30, "training.eval_every": every})
    events = []

    def collect():
        for event in train(problem, initial_state(problem)):
            events.append(event)

    with pytest.raises(DivergedError) as caught:
        collect()
    line = str(caught.value)
    assert line.startswith("step 1: the training loss is" if every == 1 else "step 2: the loss is")
    assert ("try a smaller lr" if every == 1 else "try a smaller lr (now 1e+30)") in line
    assert ("a larger damping (now 0" in line) == (name in ("gauss-newton", "kfac"))
    assert "\n" not in line
    assert isinstance(events[-1], Evaluated if every == 1 else StepDone)


@pytest.mark.parametrize("optimizer", ["gauss-newton", "orthogonalized"])
def test_rho_is_measured_at_some_steps(optimizer, make_problem):
    """At the first step, every rho_every-th step, where losses are measured, and before each evaluation.

    In between, a damped step has a rho that follows from its equation. An orthogonalized one has none.
    """
    own = {"optimizer": optimizer, "damping": 0.1, "rows": 1, "momentum": 0.9, "rho_every": 4}
    problem = make_problem(own | {"steps": 11, "measure_every": 6, "eval_every": 9})
    records = [
        event.record for event in train(problem, initial_state(problem)) if isinstance(event, StepDone)
    ]
    measured = {int(record["step"]) for record in records if record["rho_measured"]}
    assert measured == {1, 4, 6, 8, 9, 11}
    assert {int(record["step"]) for record in records if "rho_outputs" in record} == measured
    assert {int(record["step"]) for record in records if "s_max" in record} == measured
    known = {int(record["step"]) for record in records if "rho" in record}
    assert known == (measured if optimizer == "orthogonalized" else set(range(1, 12)))
