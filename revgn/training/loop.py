"""The training loop: a generator of events, which writes no files and keeps no hidden state."""

import math
from collections.abc import Generator, Iterator
from time import perf_counter
from typing import NamedTuple

from revgn.analysis import Probe
from revgn.arrays import is_out_of_memory
from revgn.data import PlacedDataset
from revgn.errors import MemoryShortageError, RevgnError, RunError
from revgn.optimizers import active
from revgn.settings import parts_of
from revgn.training.batches import batches, other_batches
from revgn.training.divergence import LASTING, begun, limit_of, stepped
from revgn.training.evaluation import analyse, evaluate, start_probe
from revgn.training.problem import Problem, is_evaluated, is_measured, place_data
from revgn.training.state import TrainState
from revgn.training.step import Record, is_finite, measure, train_step


class StepDone(NamedTuple):
    """A completed step; `record` holds the series of the `steps` group.

    `is_sound` is true if all values are finite and the loss is below the limit of `training.divergence`.
    """

    state: TrainState
    record: Record
    is_sound: bool = True


class Evaluated(NamedTuple):
    """A completed evaluation of the data sets; `record` holds the series of the `epochs` group.

    `is_sound` is as for `StepDone`, for the training loss.
    """

    state: TrainState
    record: Record
    is_sound: bool = True


Event = StepDone | Evaluated


class DivergedError(RunError):
    """Error raised when training has diverged; see `training.divergence`."""


def train(problem: Problem, state: TrainState) -> Iterator[Event]:
    """Train from `state` to the last step, and yield an event for each step and each evaluation.

    Batches and crops are determined by (seed, epoch, step) alone. Training that continues from any yielded
    state therefore gives the same bits as uninterrupted training.

    Raises
    ------
    DivergedError
        After the event of a step or an evaluation with numbers that are not finite, or with a loss that has
        stayed above the limit of the setting `diverged_above`.
    MemoryShortageError
        If the machine or the device runs out of memory.

    Examples
    --------
    >>> import revgn
    >>> tiny = {"data": {"subset": 100}, "optimizer": {"kind": "adam"}, "training": {"steps": 2}}
    >>> config = revgn.build_config(tiny)
    >>> problem = revgn.build_problem(config, revgn.load_data(config))
    >>> [type(event).__name__ for event in revgn.train(problem, revgn.initial_state(problem))]
    ['Evaluated', 'StepDone', 'Evaluated', 'StepDone', 'Evaluated']
    """
    try:
        yield from _train(problem, state)
    except RevgnError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        detail = " ".join(str(error).split()).rstrip(".") or "no detail"
        raise MemoryShortageError(f"out of memory: {detail}; try a smaller training.batch_size") from None


def _train(problem: Problem, state: TrainState) -> Iterator[Event]:
    settings, data, clock = problem.config.training, place_data(problem), _Clock(state.seconds)
    others, rows = other_batches(problem, data), settings.analyse_rows
    probe = None if rows is None else start_probe(problem, rows, settings.analyse_probes)
    if is_evaluated(problem, state.step):  # also on resume: the evaluation may not have been recorded
        state = yield from _evaluated(problem, state, data, probe, clock)
    for batch in batches(problem, data, state.step):
        before = state
        state, record = train_step(problem, before, batch)
        if is_measured(problem, state.step) and is_finite(record):
            record |= measure(problem, before, state, batch, others, record["loss"])
        del before  # its weights can be freed now
        limit = limit_of(state.course, settings.diverged_above)
        state = state._replace(course=stepped(state.course, record["loss"], limit))
        is_sound = is_finite(record) and not state.course.above
        yield StepDone(state, record, is_sound)
        if not is_finite(record) or state.course.above >= LASTING:
            raise DivergedError(_diverged(problem, state, record, limit))
        if is_evaluated(problem, state.step):
            state = yield from _evaluated(problem, state, data, probe, clock)


class _Clock:
    """Wall-clock time spent outside of the steps."""

    def __init__(self, in_steps: float) -> None:
        self._read, self._in_steps = perf_counter(), in_steps

    def outside(self, in_steps: float) -> float:
        """Return the seconds since the last call that were not spent in steps.

        `in_steps` is the total time of all steps so far.
        """
        now = perf_counter()
        passed = now - self._read - (in_steps - self._in_steps)
        self._read, self._in_steps = now, in_steps
        return passed


def _evaluated(
    problem: Problem, state: TrainState, data: PlacedDataset, probe: Probe | None, clock: _Clock
) -> Generator[Event, None, TrainState]:
    settings = problem.config.training
    record = evaluate(problem, state, data)
    if probe is not None and is_finite(record):
        record |= analyse(problem, state, probe, data)
    if math.isnan(state.course.scale):
        course = begun(record["train_loss"], problem.loss, data.train, settings.eval_train_rows)
        state = state._replace(course=course)
    limit = limit_of(state.course, settings.diverged_above)
    is_sound = is_finite(record) and record["train_loss"] <= limit
    record["seconds_outside"] = clock.outside(state.seconds)
    yield Evaluated(state, record, is_sound)
    if not is_finite(record) or (not is_sound and state.step == problem.total_steps):
        raise DivergedError(_diverged(problem, state, record, limit))
    return state


def _diverged(problem: Problem, state: TrainState, record: Record, limit: float) -> str:
    if not record["step"]:
        return (
            f"before the first step the training loss is {record['train_loss']:g} and the test loss "
            f"{record['test_loss']:g}; rescale the data, or try training.dtype float64"
        )
    advice = "try a smaller lr" + (f" (now {record['lr']:g})" if "lr" in record else "")
    optimizer = active(problem.optimizer, state.optimizer)
    dampings = [part.damping for part in parts_of(optimizer) if hasattr(part, "damping")]
    if dampings and dampings[0] != "leave-one-out":
        advice += f" or a larger damping (now {dampings[0]:g})"
    if is_finite(record):
        multiple = f"{limit:.4g}, {problem.config.training.diverged_above:g} times its initial value"
        if "loss" in record:
            found = f"the loss is {record['loss']:.4g}; for {LASTING} steps it has been above {multiple}"
        else:
            found = f"the training loss is {record['train_loss']:.4g} at the end, above {multiple}"
        advice += "; training.diverged_above sets the multiple"
    elif "loss" in record:
        found = f"the loss is {record['loss']:g} and the step's norm {record['step_norm']:g}"
    else:
        found = f"the training loss is {record['train_loss']:g}, the test loss {record['test_loss']:g}"
    return f"step {record['step']:.0f}: {found}; {advice}"
