"""One training step: a function of state and batch that returns the new state and a record."""

import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from revgn import trees
from revgn.arrays import Array, fetch, instant, memory_in_use, row_major, seconds_between, unwarned
from revgn.linalg import OUTCOMES, RUNGS
from revgn.losses import accuracy, value
from revgn.maps import forward
from revgn.networks import round_trip_error
from revgn.optimizers import Linearization, schedule_factor, update
from revgn.solvers import jacobian
from revgn.training.average import update_average
from revgn.training.problem import Problem, is_evaluated, is_measured
from revgn.training.state import TrainState

Batch = tuple[Array, Array]
Record = dict[str, float]

_PROBE_ROWS = 64


def train_step(problem: Problem, state: TrainState, batch: Batch) -> tuple[TrainState, Record]:
    """Take one optimizer step on `batch`, inputs (n, d) and targets (n, c).

    Returns
    -------
    The new state, and the record of the step: values of the series in `revgn.store.names`, by name. Loss and
    accuracy are computed on the batch before the update, with the given targets (labels may be smoothed).

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"data": {"subset": 64}, "network": {"hidden": 16}})
    >>> problem = revgn.build_problem(config, revgn.load_data(config))
    >>> train = problem.dataset.train
    >>> batch = revgn.take_batch(problem.dataset, train, slice(0, 32), problem.backend, problem.dtype)
    >>> state, record = revgn.train_step(problem, revgn.initial_state(problem), batch)
    >>> state.step, "rho" in record
    (1, True)
    """
    with unwarned():  # the training loop checks the numbers
        return _train_step(problem, state, *batch)


def _train_step(
    problem: Problem, state: TrainState, inputs: Array, targets: Array
) -> tuple[TrainState, Record]:
    started, start, step = perf_counter(), instant(inputs), state.step + 1
    measures_rho = is_measured(problem, step) or is_evaluated(problem, step)
    outputs, J = jacobian(problem.network, state.params, inputs)
    loss = value(problem.loss, outputs, targets)
    linearized = instant(outputs)
    result = update(
        problem.optimizer,
        state.optimizer,
        state.params,
        Linearization(problem.loss, outputs, targets, J, problem.config.training.seed, measures_rho),
        schedule_factor(problem.schedule, state.step, problem.total_steps),
    )
    params, inner = _row_major(result.params), _row_major(result.state)
    average = state.average
    if problem.average and average:
        average = update_average(problem.average, average, params, step, problem.total_steps)
    numbers = {"loss": loss, "step_norm": result.step_norm}
    if problem.dataset.task == "classification":
        numbers["accuracy"] = accuracy(outputs, targets)
    # The host waits for the device only here.
    fetched = dict(zip(numbers, fetch([*numbers.values()]), strict=True))
    seconds = perf_counter() - started
    seconds_forward = seconds_between(start, linearized)
    record: Record = {
        "step": step,
        "epoch": step / problem.steps_per_epoch,
        "samples": step * problem.batch_size,
        "lr": result.lr,
        "length": result.length,
        "seconds": seconds,
        "seconds_forward": seconds_forward,
        "seconds_update": seconds - seconds_forward,
        "memory": memory_in_use(problem.backend),
        **fetched,
    }
    if result.solve is not None:
        solved = result.solve
        record |= {
            "rho_measured": int(solved.is_measured),
            "residual": solved.residual,
            "cg_iterations": solved.iterations,
            "damping": solved.damping,
            "seconds_kernel": solved.seconds_kernel,
            "seconds_solve": solved.seconds_solve,
            "seconds_update": seconds - seconds_forward - solved.seconds_kernel - solved.seconds_solve,
        }
        known = {"rho": solved.rho, "rho_outputs": solved.rho_outputs}
        if solved.rung is not None and solved.rank is not None:
            record |= {"rung": RUNGS.index(solved.rung), "rank": solved.rank}
            known |= {"s_max": solved.s_max, "s_min": solved.s_min}
        record |= {name: x for name, x in known.items() if x is not None and not math.isnan(x)}
        if solved.outcome is not None:
            record["cg_outcome"] = OUTCOMES.index(solved.outcome)
    return TrainState(params, inner, step, state.seconds + seconds, average, state.course), record


def _row_major(tree: Any) -> Any:
    """Return a tree in the layout of a checkpoint, in case an optimizer breaks this law of `init_state`."""
    is_row_major = all(row_major(leaf) is leaf for leaf in trees.leaves(tree))
    return tree if is_row_major else trees.map_leaves(row_major, tree)


def measure(
    problem: Problem,
    before: TrainState,
    after: TrainState,
    batch: Batch,
    others: Mapping[str, Batch],
    loss_before: float,
) -> Record:
    """Return the losses after a step, and the error of the network's inverse on 64 samples of the batch.

    loss_decrease              loss of the batch before the step (`loss_before`) minus its loss after the step
    loss_decrease_other, ...   the same for each of the other batches, by name

    Notes
    -----
    Cost: one forward pass for the batch and two for each other batch; the host waits for the device once.
    """

    def loss(state: TrainState, of: Batch) -> Array:
        return value(problem.loss, forward(problem.network, state.params, of[0]), of[1])

    with unwarned():
        measured = {
            "loss_after": loss(after, batch),
            "inverse_error": round_trip_error(problem.network, after.params, batch[0][:_PROBE_ROWS, :]),
        }
        for name, other in others.items():
            measured[f"loss_{name}"] = loss(after, other)
            measured[f"loss_{name}_before"] = loss(before, other)
        record = dict(zip(measured, fetch([*measured.values()]), strict=True))
        record["loss_decrease"] = loss_before - record["loss_after"]
        for name in others:
            record[f"loss_decrease_{name}"] = record.pop(f"loss_{name}_before") - record[f"loss_{name}"]
    return record


def is_finite(record: Record) -> bool:
    """Return whether a record is finite: loss and step norm of a step, or the losses of an evaluation."""
    names = ("loss", "step_norm") if "loss" in record else ("train_loss", "test_loss")
    return all(math.isfinite(record[name]) for name in names)
