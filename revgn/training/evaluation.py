"""Evaluation of a training state: losses, accuracies, errors of a regression, quantities of `revgn.analysis`.

A regression is also measured in the unit of its targets y. Means are over the evaluated rows, and RMSE and
R^2 of several targets are means over these:

    RMSE = sqrt(mean (prediction - y)^2)        R^2 = 1 - mean (prediction - y)^2 / var y

A prediction by the mean of y over the rows has R^2 = 0. R^2 is not defined if a target is constant in them.
"""

import math
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from revgn import analysis
from revgn.analysis import Ahead, Moment, Probe, make_probe
from revgn.arrays import Array, Deferred, array_namespace, read, unwarned
from revgn.data import Dataset, Interface, Part, PlacedDataset, PlacedPart, place_part
from revgn.data.dataset import HostArray
from revgn.losses import accuracy, value
from revgn.networks import ChainParams
from revgn.training.batches import batches, test_rows
from revgn.training.model import outputs_in_pieces
from revgn.training.problem import Problem, place_data
from revgn.training.state import TrainState, averaged, initial_state
from revgn.training.step import Record, is_finite, train_step


class _Piece(NamedTuple):
    """Measures over some rows of a data set, which the device may still be computing."""

    name: str
    rows: int
    means: tuple[Array, ...]  # loss and accuracy, 0-d; for a regression also the squared errors (c,)


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
                label = f"{name}_{{}}{suffix}"
                pieces += _pieces(problem, weights.params, part, label, rows)
    record = {
        "epoch": state.step / problem.steps_per_epoch,
        "step": state.step,
        "samples": state.step * problem.batch_size,
        "seconds": state.seconds,
    }
    for label, (loss, hits, *squares) in _means(pieces).items():
        record[label.format("loss")] = loss
        if not squares:
            record[label.format("accuracy")] = hits
            continue
        part = getattr(problem.dataset, label.partition("_")[0])
        rows = settings.eval_train_rows if part is problem.dataset.train else None
        for name, number in regression_scores(squares[0], part.targets[:rows], problem.dataset).items():
            record[label.format(name)] = number
    return record


def regression_scores(squares: HostArray, targets: HostArray, of: Dataset | Interface) -> dict[str, float]:
    """Return `rmse` in the unit of the targets, and `r2`, as far as they are defined.

    Parameters
    ----------
    squares : (c,)
        Mean squared error of each target, in the scale in which the network is fitted.
    targets : (n, c)
        Targets of the same rows in their own unit.
    of : Dataset or Interface
        Scale of the targets.
    """
    own = squares if of.target_scale is None else squares / of.target_scale**2
    found = {"rmse": math.sqrt(own.mean())}
    shares = r2_of(own, targets)
    return found if np.isnan(shares).any() else found | {"r2": float(shares.mean())}


def r2_of(squares: HostArray, targets: HostArray) -> HostArray:
    """Return R^2 (c,) of each target, from its mean squared errors; NaN for a constant target."""
    variance = np.var(targets, axis=0)
    varies = np.ptp(targets, axis=0) > 0
    return np.where(varies, 1 - squares / np.where(varies, variance, 1.0), np.nan)


def evaluate_part(
    problem: Problem, params: ChainParams, part: Part, rows: int | None = None
) -> tuple[float, float]:
    """Return mean loss and accuracy over the first `rows` rows of a data set, or over all rows.

    Notes
    -----
    Memory: the rows are copied to the device piece by piece.
    """
    placed = place_part(problem.dataset, part, problem.backend, problem.dtype, is_resident=False)
    loss, hits, *_ = _means(_pieces(problem, params, placed, "", rows))[""]
    return loss, hits


def _pieces(
    problem: Problem, params: ChainParams, part: PlacedPart, name: str, rows: int | None
) -> list[_Piece]:
    """Return the measures of the first `rows` rows (or all), in pieces; the host does not wait."""
    pieces = []
    for outputs, targets in outputs_in_pieces(problem.network, params, part, rows):
        with unwarned():  # the training loop checks the numbers
            means: tuple[Array, ...] = value(problem.loss, outputs, targets), accuracy(outputs, targets)
            if problem.dataset.task == "regression":
                xp = array_namespace(outputs)
                means = (*means, xp.mean((outputs - targets) ** 2, axis=0))
        pieces.append(_Piece(name, outputs.shape[0], means))
    return pieces


def _means(pieces: list[_Piece]) -> dict[str, list[Any]]:
    """Return the means by name, from the pieces of each name; the host waits once."""
    numbers = iter(read(Deferred(tuple(n for piece in pieces for n in piece.means), lambda *found: found)))
    rows: dict[str, int] = {}
    sums: dict[str, list[Any]] = {}
    for name, count, means in pieces:
        rows[name] = rows.get(name, 0) + count
        totals = sums.get(name, [0.0] * len(means))
        sums[name] = [total + next(numbers) * count for total in totals]
    return {name: [total / rows[name] for total in totals] for name, totals in sums.items()}


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
    with unwarned():  # values that are not finite are stored unchanged
        return analysis.measure(Moment(problem.network, state.params, probe, ahead))


def _look_ahead(problem: Problem, state: TrainState, data: PlacedDataset) -> Ahead | None:
    """Take the next two steps, for analysis only; they may lie after the last step. None if they diverge."""
    further = replace(problem, total_steps=max(problem.total_steps, state.step + 2))
    found = []
    for batch in islice(batches(further, data, state.step), 2):
        # past the last step, the schedule of `problem` has ended
        within = problem if state.step < problem.total_steps else further
        state, record = train_step(within, state, batch)
        if not is_finite(record):
            return None
        found.append((batch, state.params))
    (first, one), (second, two) = found
    return Ahead(problem.loss, (first, second), (one, two))
