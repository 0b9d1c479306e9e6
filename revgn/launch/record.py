"""Training into a run folder: each event is recorded, and checkpoints are saved when due."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from revgn.arrays import to_host
from revgn.errors import RevgnError, RunError
from revgn.store import RunWriter, Weights
from revgn.store.names import WEIGHTS, score_of
from revgn.training import (
    DivergedError,
    Evaluated,
    Event,
    Problem,
    TrainState,
    evaluate_part,
    idle_at_end,
    idle_settings,
    state_arrays,
    train,
)
from revgn.training.problem import is_evaluated
from revgn.training.step import is_finite

Observer = Callable[[Problem, Event], None]

CHECKPOINT_SHARE = 0.05  # largest fraction of the wall-clock time for checkpoints without a fixed interval


@dataclass(frozen=True, slots=True)
class Outcome:
    """How training ended, its total number of steps and seconds, and the record of the last evaluation.

    `message` is the reason why it ended early, or states which settings had no effect.
    """

    folder: Path
    status: Literal["finished", "stopped", "interrupted"]
    step: int
    seconds: float
    last: dict[str, float]
    message: str = ""


class _Candidate(NamedTuple):
    """An evaluated state with its scores."""

    state: TrainState
    scores: dict[Weights, float]


class _Keeper:
    """Schedules the checkpoints of a run, and keeps the best states until they are written.

    States are immutable, so the best ones are held without a copy. They are written before any later
    checkpoint. A run that is killed and resumed from its newest checkpoint therefore repeats each evaluation
    whose state was not written yet.
    """

    def __init__(self, writer: RunWriter) -> None:
        self._writer = writer
        self._best: dict[Weights, float] = {}
        self._held: dict[Weights, _Candidate] = {}
        self._saved_step, self._next = -1, 0.0

    def is_due(self) -> bool:
        """Return whether another checkpoint would respect `CHECKPOINT_SHARE`."""
        return time.monotonic() >= self._next

    def offer(self, state: TrainState, scores: dict[Weights, float]) -> None:
        """Hold an evaluated state if it is the best so far, for raw or for averaged weights."""
        better = {each for each, score in scores.items() if score > self._best.get(each, -math.inf)}
        self._best |= {each: scores[each] for each in better}
        self._held |= {each: _Candidate(state, scores) for each in better}

    def save(self, state: TrainState | None = None, scores: dict[Weights, float] | None = None) -> None:
        """Write the best states that are held, then `state`, each of them once."""
        found = {held.state.step: held for held in self._held.values()}
        if state is not None:
            found[state.step] = _Candidate(state, scores or {})
        self._held.clear()
        begun = time.monotonic()
        for step in sorted(found.keys() - {self._saved_step}):
            arrays = {
                name: np.asarray(leaf if isinstance(leaf, int | float) else to_host(leaf))
                for name, leaf in state_arrays(found[step].state).items()
            }
            self._writer.save_checkpoint(step=step, arrays=arrays, scores=found[step].scores)
            self._saved_step, ended = step, time.monotonic()
            self._next = ended + (ended - begun) / CHECKPOINT_SHARE


def record_training(
    writer: RunWriter,
    problem: Problem,
    state: TrainState,
    observe: Observer | None,
    should_stop: Callable[[], bool | str],
    note: Callable[[str], None],
) -> Outcome:
    """Train, record each event, save checkpoints when due, and close the run with its final status.

    While the loss is above the limit of divergence, only an interrupt saves a checkpoint. A diverged run can
    therefore be resumed, with other settings, from a state before the divergence.

    Notes
    -----
    Law: when this returns or raises, the states of the best evaluations are among the checkpoints.
    Cost: checkpoints take at most 5 % of the wall-clock time. Those at the first and the last step, and at
    the interval `checkpoint_every`, come in addition.
    """
    every = problem.config.training.checkpoint_every
    scores: dict[Weights, float] = {}
    last: dict[str, float] = {}
    keeper = _Keeper(writer)

    def save() -> None:
        is_sound = bool(scores) or _is_sound(problem, state)
        keeper.save(*((state, scores) if is_sound else ()))

    with writer, _diverging(writer), _saving_the_best(keeper):
        for event in train(problem, state):
            state = event.state
            finite = is_finite(event.record)
            if isinstance(event, Evaluated):
                last = event.record
                writer.record_epoch(last)
                scores = _scores(last)
                if event.is_sound:
                    keeper.offer(state, scores)
                due = keeper.is_due() if every is None else state.step % every == 0
            else:
                writer.record_step(event.record)
                scores = {}
                due = every is not None and state.step % every == 0 and not is_evaluated(problem, state.step)
            if observe is not None:
                observe(problem, event)
            if event.is_sound and (due or state.step == 0):
                save()
            elif scores and keeper.is_due():
                keeper.save()
            writer.snapshot_if_due()
            if finite and state.step < problem.total_steps and (reason := should_stop()):
                save()
                status: Literal["stopped", "interrupted"] = "interrupted" if reason is True else "stopped"
                message = f"stopped after step {state.step}" if reason is True else str(reason)
                writer.close(status, message)
                return Outcome(writer.folder, status, state.step, state.seconds, last, message)
        save()
        found = idle_at_end(problem, state)
        message = "; ".join([*idle_settings(problem), *found])
        writer.close("finished", message)
    for text in found:
        note(text)
    return Outcome(writer.folder, "finished", state.step, state.seconds, last, message)


@contextmanager
def _diverging(writer: RunWriter) -> Iterator[None]:
    """Close the run as diverged if training diverges."""
    try:
        yield
    except DivergedError as error:
        with suppress(RunError):  # a full disk must not hide the original error
            writer.close("diverged", str(error))
        raise


@contextmanager
def _saving_the_best(keeper: _Keeper) -> Iterator[None]:
    """Write the best states that are held if training ends with an error."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        with suppress(RevgnError):  # a full disk must not hide the original error
            keeper.save()
        raise


def _scores(record: dict[str, float]) -> dict[Weights, float]:
    """Return the score of each kind of weights; metrics for which lower is better are negated."""
    scores = {weights: score_of(record, weights) for weights in WEIGHTS}
    return {weights: score[0] * score[1] for weights, score in scores.items() if score is not None}


def _is_sound(problem: Problem, state: TrainState) -> bool:
    """Return whether the loss is finite on the first `batch_size` training rows."""
    return math.isfinite(evaluate_part(problem, state.params, problem.dataset.train, problem.batch_size)[0])
