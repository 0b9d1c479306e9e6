"""Evaluation of a training state: losses, accuracies, and the quantities of `revgn.analysis`."""

from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from revgn import analysis
from revgn.analysis import Ahead, Moment, Probe, make_probe
from revgn.arrays import Array, fetch, unwarned
from revgn.data import Part, PlacedDataset, PlacedPart, place_part, take_rows
from revgn.losses import accuracy, value
from revgn.maps import forward
from revgn.networks import ChainParams
from revgn.training.batches import batches, test_rows
from revgn.training.problem import Problem, TrainState, averaged, initial_state, place_data
from revgn.training.step import Record, is_finite, train_step

_EVAL_ROWS = 2048  # rows evaluated at once


def is_evaluated(problem: Problem, step: int) -> bool:
    """Tell whether the network is evaluated after `step` steps."""
    eval_every = problem.config.training.eval_every or problem.steps_per_epoch
    return step % eval_every == 0 or step == problem.total_steps


class _Piece(NamedTuple):
    """Loss and accuracy over some rows of a data set, which the device may still be computing."""

    name: str
    rows: int
    loss: Array  # 0-d: mean over the rows
    accuracy: Array


def evaluate(problem: Problem, state: TrainState, data: PlacedDataset | None = None) -> Record:
    """Return loss and accuracy on the training, validation and test sets.

    Of the training set, only the first `eval_train_rows` rows are evaluated. Labels are not smoothed.
    Averaged weights, if there are any, are evaluated too. `data` is the problem's data, if already on the
    device.

    Notes
    -----
    Cost: a forward pass over the rows; the host waits for the device once.
    """
    data = data or place_data(problem)
    of_part = {"train": data.train, "validation": data.validation, "test": data.test}
    settings = problem.config.training
    pieces = []
    for suffix, weights in (("", state), ("_average", averaged(state))):
        for name, part in of_part.items():
            if weights is not None and part is not None:
                rows = settings.eval_train_rows if name == "train" else None
                pieces += _pieces(problem, weights.params, part, f"{name}_{{}}{suffix}", rows)
    record = {
        "epoch": state.step / problem.steps_per_epoch,
        "step": state.step,
        "samples": state.step * problem.batch_size,
        "seconds": state.seconds,
    }
    for name, (loss, hits) in _means(pieces).items():
        record[name.format("loss")] = loss
        if problem.dataset.task == "classification":
            record[name.format("accuracy")] = hits
    return record


def evaluate_part(
    problem: Problem, params: ChainParams, part: Part, rows: int | None = None
) -> tuple[float, float]:
    """Return mean loss and accuracy over the first `rows` rows of a data set, or over all rows.

    Notes
    -----
    Memory: the rows are copied to the device piece by piece.
    """
    placed = place_part(problem.dataset, part, problem.backend, problem.dtype, is_resident=False)
    return _means(_pieces(problem, params, placed, "", rows))[""]


def _pieces(
    problem: Problem, params: ChainParams, part: PlacedPart, name: str, rows: int | None
) -> list[_Piece]:
    """Return loss and accuracy of the first `rows` rows (or all), in pieces; the host does not wait."""
    n = part.inputs.shape[0] if rows is None else min(rows, part.inputs.shape[0])
    pieces = []
    for start in range(0, n, _EVAL_ROWS):
        inputs, targets = take_rows(part, slice(start, min(start + _EVAL_ROWS, n)))
        with unwarned():  # the training loop checks the numbers
            outputs = forward(problem.network, params, inputs)
            loss = value(problem.loss, outputs, targets)
        pieces.append(_Piece(name, inputs.shape[0], loss, accuracy(outputs, targets)))
    return pieces


def _means(pieces: list[_Piece]) -> dict[str, tuple[float, float]]:
    """Return mean loss and accuracy by name, from the pieces of each name."""
    numbers = iter(fetch([number for piece in pieces for number in (piece.loss, piece.accuracy)]))
    sums: dict[str, tuple[int, float, float]] = {}
    for piece, loss, hits in zip(pieces, numbers, numbers, strict=True):
        rows, losses, hit = sums.get(piece.name, (0, 0.0, 0.0))
        sums[piece.name] = (rows + piece.rows, losses + loss * piece.rows, hit + hits * piece.rows)
    return {name: (losses / rows, hit / rows) for name, (rows, losses, hit) in sums.items()}


def start_probe(problem: Problem, rows: int, probes: int = 0) -> Probe:
    """Return a probe: the first test rows, with the network at initialization.

    See `revgn.analysis.make_probe`.
    """
    return make_probe(problem.network, initial_state(problem).params, *test_rows(problem, rows), probes)


def analyse(problem: Problem, state: TrainState, probe: Probe, data: PlacedDataset | None = None) -> Record:
    """Return the quantities of `revgn.analysis` at a state.

    Quantities of the next two steps are measured as if training were continued, so the last evaluation has
    them too; only a state from which training diverges lacks them. `data` is the problem's data, if already
    on the device.
    """
    ahead = _look_ahead(problem, state, data or place_data(problem))
    return analysis.measure(Moment(problem.network, state.params, probe, ahead))


def _look_ahead(problem: Problem, state: TrainState, data: PlacedDataset) -> Ahead | None:
    """Take the next two steps, only for analysis and also past the last step; None if they diverge."""
    further = replace(problem, total_steps=max(problem.total_steps, state.step + 2))
    found = []
    for batch in islice(batches(further, data, state.step), 2):
        within = problem if state.step < problem.total_steps else further  # whose schedule has not ended
        state, record = train_step(within, state, batch)
        if not is_finite(record):
            return None
        found.append((batch, state.params))
    (first, one), (second, two) = found
    return Ahead(problem.loss, (first, second), (one, two))
