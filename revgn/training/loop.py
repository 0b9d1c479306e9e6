"""The training loop: a generator of events, which writes no files and keeps no hidden state."""

from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple

from revgn.analysis import Probe
from revgn.arrays import is_out_of_memory
from revgn.data import PlacedDataset
from revgn.errors import MemoryShortageError, RevgnError, RunError
from revgn.settings import parts_of
from revgn.training.batches import batches, other_batches
from revgn.training.evaluation import analyse, evaluate, is_evaluated, start_probe
from revgn.training.problem import Problem, TrainState, place_data
from revgn.training.step import Record, is_finite, measure, train_step


class StepDone(NamedTuple):
    """A completed step; `record` holds the series of the `steps` group."""

    state: TrainState
    record: Record


class Evaluated(NamedTuple):
    """A completed evaluation of the data sets; `record` holds the series of the `epochs` group."""

    state: TrainState
    record: Record


Event = StepDone | Evaluated


class DivergedError(RunError):
    """Error raised when the loss or the step is no longer finite."""


def train(problem: Problem, state: TrainState) -> Iterator[Event]:
    """Train from `state` to the last step, and yield an event for each step and each evaluation.

    Batches and crops are determined by (seed, epoch, step) alone. Training that continues from any yielded
    state therefore gives the same bits as uninterrupted training.

    Raises
    ------
    DivergedError
        After the event of a step or an evaluation with numbers that are not finite.
    MemoryShortageError
        If the machine or the device runs out of memory.

    Examples
    --------
    >>> import revgn
    >>> tiny = {"data": {"subset": 100}, "network": {"hidden": 16}, "training": {"steps": 2}}
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
        yield from _evaluated(problem, state, data, probe, clock)
    for batch in batches(problem, data, state.step):
        before = state
        state, record = train_step(problem, before, batch)
        if settings.measure_every and state.step % settings.measure_every == 0 and is_finite(record):
            record |= measure(problem, before, state, batch, others, record["loss"])
        del before  # its weights can be freed now
        yield StepDone(state, record)
        if not is_finite(record):
            raise DivergedError(_diverged(problem, record))
        if is_evaluated(problem, state.step):
            yield from _evaluated(problem, state, data, probe, clock)


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
) -> Iterator[Event]:
    record = evaluate(problem, state, data)
    if probe is not None and is_finite(record):
        record |= analyse(problem, state, probe, data)
    record["seconds_outside"] = clock.outside(state.seconds)
    yield Evaluated(state, record)
    if not is_finite(record):
        raise DivergedError(_diverged(problem, record))


def _diverged(problem: Problem, record: Record) -> str:
    if not record["step"]:
        return (
            f"before the first step the training loss is {record['train_loss']:g} and the test loss "
            f"{record['test_loss']:g}; rescale the data, or try training.dtype float64"
        )
    advice = "try a smaller lr" + (f" (now {record['lr']:g})" if "lr" in record else "")
    dampings = [part.damping for part in parts_of(problem.optimizer) if hasattr(part, "damping")]
    if dampings and dampings[0] != "leave-one-out":
        advice += f" or a larger damping (now {dampings[0]:g})"
    if "loss" in record:
        found = f"the loss is {record['loss']:g} and the step's norm {record['step_norm']:g}"
    else:
        found = f"the training loss is {record['train_loss']:g}, the test loss {record['test_loss']:g}"
    return f"step {record['step']:.0f}: {found}; {advice}"
