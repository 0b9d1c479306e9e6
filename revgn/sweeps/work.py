"""Running one trial, from its claim to its end, in any process on any machine."""

import math
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec.structs import replace

from revgn.errors import RevgnError, RunHeldError
from revgn.launch import resume_run, start_run
from revgn.store import Run, is_run, open_run
from revgn.store.names import Weights, judged_name, judged_weights, score_of
from revgn.sweeps.claim import Beat, beating, take, write_beat
from revgn.sweeps.plan import Trial
from revgn.sweeps.stopping import signals_to_trial
from revgn.training import DivergedError, Evaluated, Event, Problem

Status = Literal[
    "waiting", "running", "elsewhere", "interrupted", "finished", "stopped", "diverged", "failed"
]
OVER: tuple[Status, ...] = ("finished", "stopped", "diverged")  # the trial has ended


class Result(NamedTuple):
    """Outcome of an attempt at a trial; the status is "elsewhere" if another process runs the trial."""

    trial: str
    status: Status
    message: str = ""


class Watched:
    """Heartbeat of a run, updated from its training events."""

    def __init__(self) -> None:
        self.beat = Beat()

    def observe(self, problem: Problem, event: Event) -> None:
        """Update the heartbeat with a training event."""
        record, scores = event.record, self.beat.scores
        weights: Weights = "average" if problem.average else "raw"
        judged = score_of(record, weights) if isinstance(event, Evaluated) else None
        if judged is not None and math.isfinite(judged[0]):
            before = (each for each in scores if each[0] < record["epoch"])
            scores = (*before, (record["epoch"], judged[0] * judged[1]))
            self.beat = replace(self.beat, scores=scores, judged=judged_name(record, weights))
        self.beat = replace(
            self.beat,
            step=event.state.step,
            steps=problem.total_steps,
            epoch=record["epoch"],
            seconds=event.state.seconds,
        )


def beat_of(run: Run) -> Beat:
    """Return the heartbeat that corresponds to a stored run."""
    weights, epochs = judged_weights(run.epochs), run.epochs["epoch"].tolist()
    judged, name = score_of(run.epochs, weights), judged_name(run.epochs, weights)
    signed = [] if judged is None else (judged[0] * judged[1]).tolist()
    scores = tuple(
        (epoch, score) for epoch, score in zip(epochs, signed, strict=False) if math.isfinite(score)
    )
    step = int(run.steps["step"][-1]) if run.steps["step"].size else 0
    seconds = float(run.epochs["seconds"][-1]) if epochs else 0.0
    epoch = epochs[-1] if epochs else 0.0
    return Beat(step=step, steps=step, epoch=epoch, seconds=seconds, scores=scores, judged=name)


def run_trial(sweep: Path, trial: Trial, after: int, command: str = "") -> Result:
    """Make the attempt after number `after` at a trial, and train to the end.

    A run that exists already is resumed. Errors are returned in the result and never raised. A signal that
    asks this process to stop ends the trial with a checkpoint, and acts on the process afterwards.
    """
    with signals_to_trial() as is_signalled:
        return _run_trial(sweep, trial, after, command, is_signalled)


def _run_trial(
    sweep: Path, trial: Trial, after: int, command: str, is_signalled: Callable[[], bool]
) -> Result:
    claim = take(sweep, trial.name, after)
    if claim is None:
        return Result(trial.name, "elsewhere")
    watched = Watched()
    result = Result(trial.name, "interrupted")
    try:
        with beating(claim, lambda: watched.beat) as verdict:
            result = _trained(
                sweep / trial.name, trial, command, watched, lambda: verdict() or is_signalled()
            )
    except RunHeldError as error:
        result = Result(trial.name, "elsewhere", str(error))
    except DivergedError as error:
        result = Result(trial.name, "diverged", str(error))
    except RevgnError as error:
        result = Result(trial.name, "failed", str(error))
    except MemoryError as error:
        result = Result(trial.name, "failed", f"not enough memory: {error or 'no detail'}")
    except Exception as error:  # a bug in the program must not end the other trials
        with suppress(OSError):
            (claim / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        result = Result(trial.name, "failed", f"{type(error).__name__}: {error} ({claim / 'traceback.txt'})")
    finally:
        with suppress(RevgnError):
            write_beat(claim, replace(watched.beat, ended=result.status, message=result.message))
    return result


def _trained(
    folder: Path, trial: Trial, command: str, watched: Watched, should_stop: Callable[[], bool | str]
) -> Result:
    if not is_run(folder):
        own = dict(trial.settings)  # a dict, so that defaults are chosen as for a single run
        outcome = start_run(own, folder, command=command, observe=watched.observe, should_stop=should_stop)
        return Result(trial.name, outcome.status, outcome.message)
    run = open_run(folder)
    if ended := [status for status in OVER if status == run.status]:  # by the previous process
        return Result(trial.name, ended[0], run.attributes["message"])
    watched.beat = beat_of(run)
    outcome = resume_run(folder, {}, command=command, observe=watched.observe, should_stop=should_stop)
    return Result(trial.name, outcome.status, outcome.message)
