"""Evaluation of a state: losses and accuracies on the data, and the quantities of `revgn.analysis`."""

from revgn import analysis
from revgn.analysis import Ahead, Moment, Probe, make_probe
from revgn.arrays import unwarned
from revgn.data import Part, take_batch
from revgn.losses import accuracy, value
from revgn.maps import forward
from revgn.networks import ChainParams
from revgn.training.batches import next_two, test_rows
from revgn.training.problem import Problem, TrainState, averaged, initial_state
from revgn.training.step import Record, is_finite, train_step

_EVAL_ROWS = 2048  # rows evaluated at once


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


def start_probe(problem: Problem, rows: int, probes: int = 0) -> Probe:
    """Return the first test rows with the network at initialization; see `revgn.analysis.make_probe`."""
    return make_probe(problem.network, initial_state(problem).params, *test_rows(problem, rows), probes)


def analyse(problem: Problem, state: TrainState, probe: Probe) -> Record:
    """Return the quantities of `revgn.analysis` at a state, and of its next two steps if there are two."""
    return analysis.measure(Moment(problem.network, state.params, probe, _look_ahead(problem, state)))


def _look_ahead(problem: Problem, state: TrainState) -> Ahead | None:
    """Take the next two steps, on the side."""
    batches = next_two(problem, state.step)
    if batches is None:
        return None
    one, record = train_step(problem, state, batches[0])
    two, other = train_step(problem, one, batches[1])
    if not (is_finite(record) and is_finite(other)):
        return None
    return Ahead(problem.loss, batches, (one.params, two.params))


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
