"""The training loop: a generator of records, which knows no files and keeps no state of its own."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from revgn.arrays import unwarned
from revgn.data import Part, batch_indices, take_batch
from revgn.errors import RunError
from revgn.losses import accuracy, value
from revgn.maps import forward
from revgn.measures import Probe, drift, make_probe
from revgn.networks import ChainParams
from revgn.settings import parts_of
from revgn.training.ahead import look_ahead
from revgn.training.problem import Problem, TrainState, averaged, initial_state
from revgn.training.step import Batch, Record, is_finite, measure, train_step

_CROP = 3  # tag of the augmentation's draws
_OTHER_EPOCH = 2**31  # an order that no epoch of training uses
_EVAL_ROWS = 2048  # rows evaluated at once


class StepDone(NamedTuple):
    """A step was taken; `record` holds series of the `steps` group."""

    state: TrainState
    record: Record


class Evaluated(NamedTuple):
    """Training and test data were evaluated; `record` holds series of the `epochs` group."""

    state: TrainState
    record: Record


Event = StepDone | Evaluated


class DivergedError(RunError):
    """The loss or the step is not a finite number any more."""


def train(problem: Problem, state: TrainState) -> Iterator[Event]:
    """Train from `state` to the last step, yielding an event for each step and each evaluation.

    Batches and crops follow from (seed, epoch, step) alone: training on from any state yielded gives the
    same bits as never having stopped.

    Raises
    ------
    DivergedError
        After the event of a step or an evaluation whose numbers are not finite.
    """
    settings = problem.config.training
    n = problem.dataset.train.inputs.shape[0]
    others, rows = _other_batches(problem), settings.analyse_rows
    probe = None if rows is None else start_probe(problem, rows, settings.analyse_probes)
    order, epoch, kept = None, -1, None
    if is_evaluated(problem, state.step):  # also on resume: the evaluation may not have been recorded
        yield from _evaluated(problem, state, probe)
    while state.step < problem.total_steps:
        if epoch != state.step // problem.steps_per_epoch:
            epoch = state.step // problem.steps_per_epoch
            order = batch_indices(n, problem.batch_size, seed=settings.seed, epoch=epoch)
        assert order is not None
        batch = kept or _take(problem, order[state.step % problem.steps_per_epoch], epoch, state.step)
        if problem.batch_size == n and not problem.config.data.crop:
            kept = batch  # the full batch is the same at every step
        before = state
        state, record = train_step(problem, before, batch)
        if settings.measure_every and state.step % settings.measure_every == 0 and is_finite(record):
            record |= measure(problem, before, state, batch, others, record["loss"])
        del before  # its weights need not outlive the step
        yield StepDone(state, record)
        if not is_finite(record):
            raise DivergedError(_diverged(problem, record))
        if is_evaluated(problem, state.step):
            yield from _evaluated(problem, state, probe)


def is_evaluated(problem: Problem, step: int) -> bool:
    """Tell whether the network is evaluated after `step` steps."""
    eval_every = problem.config.training.eval_every or problem.steps_per_epoch
    return step % eval_every == 0 or step == problem.total_steps


def evaluate(problem: Problem, state: TrainState) -> Record:
    """Loss and accuracy on the training data (its first `eval_train_rows`), all validation and test data.

    With the labels as they are, never smoothed; of the averaged weights as well, where there are any.
    """
    record = {
        "epoch": state.step / problem.steps_per_epoch,
        "step": state.step,
        "samples": state.step * problem.batch_size,
        "seconds": state.seconds,
    }
    for suffix, weights in (("", state), ("_average", averaged(state))):
        if weights is not None:
            record |= {f"{name}{suffix}": figure for name, figure in _figures(problem, weights).items()}
    return record


def evaluate_part(
    problem: Problem, params: ChainParams, part: Part, rows: int | None = None
) -> tuple[float, float]:
    """Mean loss and accuracy over the first `rows` of a part, or all."""
    n = part.inputs.shape[0] if rows is None else min(rows, part.inputs.shape[0])
    loss_sum = hit_sum = 0.0
    for start in range(0, n, _EVAL_ROWS):
        chunk = slice(start, min(start + _EVAL_ROWS, n))
        inputs, targets = take_batch(problem.dataset, part, chunk, problem.backend, problem.dtype)
        with unwarned():  # the loop looks at the numbers
            outputs = forward(problem.network, params, inputs)
            loss_sum += float(value(problem.loss, outputs, targets)) * inputs.shape[0]
        hit_sum += float(accuracy(outputs, targets)) * inputs.shape[0]
    return loss_sum / n, hit_sum / n


def _figures(problem: Problem, state: TrainState) -> Record:
    dataset, rows = problem.dataset, problem.config.training.eval_train_rows
    figures: Record = {}
    for name, part in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        if part is not None:
            loss, hits = evaluate_part(problem, state.params, part, rows if name == "train" else None)
            figures[f"{name}_loss"] = loss
            if dataset.task == "classification":
                figures[f"{name}_accuracy"] = hits
    return figures


def analyse(problem: Problem, state: TrainState, probe: Probe) -> Record:
    """Return how far the network is from its start, and what the next steps would be like, if two are left.

    Series of `epochs`; see `revgn.measures.drift` and `revgn.training.look_ahead`.
    """
    record = drift(problem.network, state.params, probe)
    if state.step + 2 <= problem.total_steps:
        record |= look_ahead(problem, state, probe, _coming(problem, state.step))
    return record


def start_probe(problem: Problem, rows: int, probes: int = 0) -> Probe:
    """Return the first test rows with the network at its start on them; see `revgn.measures.make_probe`."""
    start = initial_state(problem).params
    return make_probe(problem.network, start, *_test_rows(problem, rows), probes)


def _evaluated(problem: Problem, state: TrainState, probe: Probe | None) -> Iterator[Event]:
    record = evaluate(problem, state)
    if probe is not None and is_finite(record):
        record |= analyse(problem, state, probe)
    yield Evaluated(state, record)
    if not is_finite(record):
        raise DivergedError(_diverged(problem, record))


def _test_rows(problem: Problem, count: int) -> Batch:
    return take_batch(problem.dataset, problem.dataset.test, slice(0, count), problem.backend, problem.dtype)


def _coming(problem: Problem, step: int) -> tuple[Batch, ...]:
    """Return the batches of a step and of the one after it."""
    n, seed = problem.dataset.train.inputs.shape[0], problem.config.training.seed
    found = []
    for each in (step, step + 1):
        epoch = each // problem.steps_per_epoch
        order = batch_indices(n, problem.batch_size, seed=seed, epoch=epoch)
        found.append(_take(problem, order[each % problem.steps_per_epoch], epoch, each))
    return tuple(found)


def _take(problem: Problem, rows: np.ndarray, epoch: int, step: int) -> Batch:
    crop = None
    if problem.config.data.crop:
        crop = np.random.default_rng([problem.config.training.seed, epoch, step, _CROP])
    return _training_rows(problem, rows, crop)


def _training_rows(problem: Problem, rows: np.ndarray, crop: np.random.Generator | None = None) -> Batch:
    """Rows as they are fitted: labels smoothed."""
    return take_batch(
        problem.dataset,
        problem.dataset.train,
        rows,
        problem.backend,
        problem.dtype,
        crop=crop,
        smoothing=problem.config.training.label_smoothing,
    )


def _other_batches(problem: Problem) -> dict[str, Batch]:
    """Return as many training and test rows as a batch has, that no step is fitted to on purpose, by name.

    No training rows where every batch is the full one, and none at all where nobody asks for them.
    """
    n = problem.dataset.train.inputs.shape[0]
    if not problem.config.training.measure_every:
        return {}
    found: dict[str, Batch] = {}
    if problem.batch_size < n:
        seed = problem.config.training.seed
        rows = batch_indices(n, problem.batch_size, seed=seed, epoch=_OTHER_EPOCH)[0]
        found["other"] = _training_rows(problem, rows)
    found["test"] = _test_rows(problem, problem.batch_size)
    return found


def _diverged(problem: Problem, record: Record) -> str:
    if not record["step"]:
        return (
            f"before the first step the training loss is {record['train_loss']:g} and the test loss "
            f"{record['test_loss']:g}; rescale the data, or try training.dtype float64"
        )
    advice = "try a smaller lr" + (f" (now {record['lr']:g})" if "lr" in record else "")
    dampings = [part.damping for part in parts_of(problem.optimizer) if hasattr(part, "damping")]
    if dampings:
        advice += f" or a larger damping (now {dampings[0]:g})"
    if "loss" in record:
        figures = f"the loss is {record['loss']:g} and the step's norm {record['step_norm']:g}"
    else:
        figures = f"the training loss is {record['train_loss']:g}, the test loss {record['test_loss']:g}"
    return f"step {record['step']:.0f}: {figures}; {advice}"
