"""Training into a run folder: every event is recorded, checkpoints are saved when due."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from revgn.arrays import to_host
from revgn.store import RunWriter, Weights
from revgn.store.names import WEIGHTS, score_of
from revgn.training import Evaluated, Event, Problem, TrainState, evaluate_part, state_arrays, train
from revgn.training.evaluation import is_evaluated
from revgn.training.step import is_finite

Observer = Callable[[Problem, Event], None]

CHECKPOINT_SHARE = 0.05  # of the time, at most, for checkpoints at evaluations without `checkpoint_every`


@dataclass(frozen=True, slots=True)
class Outcome:
    """How training ended, the steps and seconds it took in all, and the last evaluation's record."""

    folder: Path
    status: Literal["finished", "stopped", "interrupted"]
    step: int
    seconds: float
    last: dict[str, float]


def record_training(
    writer: RunWriter,
    problem: Problem,
    state: TrainState,
    observe: Observer | None,
    should_stop: Callable[[], bool | str],
) -> Outcome:
    """Record every event, checkpoint when due, and close the run with the status it ended by."""
    every = problem.config.training.checkpoint_every
    scores: dict[Weights, float] = {}
    best: dict[Weights, float] = {}
    last: dict[str, float] = {}
    saved_step, next_save = -1, 0.0

    def save() -> None:
        nonlocal saved_step, next_save
        if saved_step == state.step or (not scores and not _is_sound(problem, state)):
            return
        begun = time.monotonic()
        arrays = {
            name: np.asarray(leaf if isinstance(leaf, int | float) else to_host(leaf))
            for name, leaf in state_arrays(state).items()
        }
        writer.save_checkpoint(step=state.step, arrays=arrays, scores=scores)
        saved_step, ended = state.step, time.monotonic()
        next_save = ended + (ended - begun) / CHECKPOINT_SHARE

    with writer:
        for event in train(problem, state):
            state = event.state
            finite = is_finite(event.record)
            if isinstance(event, Evaluated):
                last = event.record
                writer.record_epoch(last)
                scores = _scores(last)
                due = time.monotonic() >= next_save if every is None else state.step % every == 0
                better = {each: score for each, score in scores.items() if score > best.get(each, -math.inf)}
                due = due or bool(better)
                best |= better
            else:
                writer.record_step(event.record)
                scores = {}
                due = every is not None and state.step % every == 0 and not is_evaluated(problem, state.step)
            if observe is not None:
                observe(problem, event)
            if finite and (due or state.step == 0):
                save()
            writer.snapshot_if_due()
            if finite and state.step < problem.total_steps and (reason := should_stop()):
                save()
                status: Literal["stopped", "interrupted"] = "interrupted" if reason is True else "stopped"
                message = f"stopped after step {state.step}" if reason is True else str(reason)
                writer.close(status, message)
                return Outcome(writer.folder, status, state.step, state.seconds, last)
        save()
        writer.close("finished")
    return Outcome(writer.folder, "finished", state.step, state.seconds, last)


def _scores(record: dict[str, float]) -> dict[Weights, float]:
    """What each kind of weights is judged by, with a minus where less is better."""
    scores = {weights: score_of(record, weights) for weights in WEIGHTS}
    return {weights: score[0] * score[1] for weights, score in scores.items() if score is not None}


def _is_sound(problem: Problem, state: TrainState) -> bool:
    """Whether the loss is finite on a batch's worth of training rows: worth going on from."""
    return math.isfinite(evaluate_part(problem, state.params, problem.dataset.train, problem.batch_size)[0])
