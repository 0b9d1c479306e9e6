"""Tune one setting for each point of a sweep: a grid, further out where its end is best, then finer.

    1. every value of the grid, on the first seed
    2. while the best is the smallest or the largest: one more beyond it, at the ratio to the one before
    3. the geometric means of the best and its neighbours
    4. the best of all, on every seed

The best value by each rule:

    score      highest score of the run, on validation data where there are some
    largest    largest value whose run did not diverge           (Buffelli et al. 2024, appendix)
    progress   lowest training loss after the first epoch, of runs of one epoch       (ibid.)
    fit        lowest training loss at the last evaluation
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from revgn.errors import RunError, UsageError
from revgn.settings import build_config, config_dict, flat, path_of
from revgn.store import open_run
from revgn.sweeps.axes import Axis, parse_axis
from revgn.sweeps.drive import Board
from revgn.sweeps.plan import SEED, Job, Plan, make_job, plan_jobs

Rule = Literal["score", "largest", "progress", "fit"]
Scores = dict[float, float]  # of each value; minus infinity where it is no good

LR = "lr"
_FURTHER = 2  # values beyond the grid, at most
_DIGITS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """Source of the jobs that tune a setting for each point of a plan.

    Raises
    ------
    UsageError
        If there is no such rule, or the axis has fewer than two positive numbers.
    """

    plan: Plan  # tuned on the first of its seeds
    axis: Axis  # values to begin with
    rule: Rule
    folder: Path  # of the sweep
    relative: bool = False  # whether the values are factors of the value that each point has

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise UsageError(f"rule: {self.rule!r} is not one of {', '.join(get_args(Rule))}")
        values = self.axis.values
        if len({*values}) < 2 or not all(isinstance(v, int | float) and v > 0 for v in values):
            raise UsageError(f"tune {self.axis.path}: needs two positive numbers or more to begin with")

    def more(self, board: Board, free: int) -> list[Job]:
        """Jobs of the stage that each point has come to."""
        jobs = {job.name: job for point in self._points() for job in self._stage(point, board)}
        return [job for name, job in jobs.items() if name not in board]

    def best(self, board: Board) -> dict[str, float]:
        """Best value of each point that has come to the last stage, by the point's name."""
        found = {point.name: self._tried(point, board) for point in self._points()}
        return {name: _best(scores) for name, (scores, done) in found.items() if done and _has_good(scores)}

    def _points(self) -> list[Job]:
        axes = tuple(axis for axis in self.plan.axes if axis.path not in (self.axis.path, SEED))
        return plan_jobs(replace(self.plan, axes=axes))

    def _stage(self, point: Job, board: Board) -> list[Job]:
        scores, done = self._tried(point, board)
        if not done:
            return [self._trial(point, value) for value in scores]
        if not _has_good(scores):
            return []
        return [self._job(point, _best(scores), end) for end in self._ends()]

    def _tried(self, point: Job, board: Board) -> tuple[Scores, bool]:
        """Scores of the values to try, NaN until a run is over, and whether there will be no more of them."""
        scores: Scores = {}
        unit = _value(dict(point.settings), self.axis.path) if self.relative else 1.0
        new = [float(value) if unit == 1.0 else _rounded(float(value) * unit) for value in self.axis.values]
        for propose in (*[beyond] * _FURTHER, between, None):
            scores |= {value: self._score(self._trial(point, value), board) for value in new}
            if any(math.isnan(score) for score in scores.values()):
                return scores, False
            new = propose(scores, self.rule) if propose else []
        return scores, True

    def _trial(self, point: Job, value: float) -> Job:
        one_epoch = {"training.epochs": 1} if self.rule == "progress" else {}
        return self._job(point, value, self._ends()[0] | one_epoch)

    def _ends(self) -> list[dict[str, Any]]:
        """Return the seeds as choices, one that is empty where the plan has none."""
        seeds = next((axis.values for axis in self.plan.axes if axis.path == SEED), ())
        return [{SEED: seed} for seed in seeds] or [{}]

    def _job(self, point: Job, value: float, end: dict[str, Any]) -> Job:
        choices = {path: chosen for path, chosen in point.choices.items() if path != "variant"}
        return make_job(self.plan, choices | {self.axis.path: value} | end, point.choices.get("variant"))

    def _score(self, job: Job, board: Board) -> float:
        state = board.get(job.name)
        if state is None or not state.is_over:
            return math.nan
        if state.status in ("failed", "diverged"):
            return -math.inf
        if self.rule == "largest":
            return float(job.choices[self.axis.path])
        if self.rule == "score":
            return max((score for _, score in state.beat.scores), default=-math.inf)
        return -_training_loss(self.folder / job.name, after=1.0 if self.rule == "progress" else math.inf)


def beyond(scores: Scores, rule: Rule) -> list[float]:
    """Return the value beyond the end of those tried, where that end is the best or none is any good."""
    tried = sorted(scores)
    best = _best(scores) if _has_good(scores) else tried[0]
    if best == tried[-1] and _has_good(scores):
        return [_rounded(best * best / tried[-2])]
    if best == tried[0] and (rule != "largest" or not _has_good(scores)):
        return [_rounded(best * best / tried[1])]
    return []


def between(scores: Scores, rule: Rule) -> list[float]:
    """Return the geometric means of the best and its neighbours; for "largest" of the one above alone."""
    if not _has_good(scores):
        return []
    tried = sorted(scores)
    at = tried.index(_best(scores))
    pairs = list(pairwise(tried))[at if rule == "largest" else max(at - 1, 0) : at + 1]
    return [value for low, high in pairs if (value := _rounded(math.sqrt(low * high))) not in scores]


def rates(plan: Plan) -> Axis:
    """Return the learning rates to begin with where none are given: around the default, a factor 3 apart."""
    rate = _value(dict(plan.settings), LR)
    return parse_axis(LR, [_rounded(rate * 3.0**k) for k in (-2, -1, 0, 1, 2)])


def _value(settings: dict[str, Any], name: str) -> float:
    """Return the number that a setting has, or has by default."""
    return float(flat(config_dict(build_config(settings)))[path_of(name, settings, of_first=True)])


def _best(scores: Scores) -> float:
    return max(scores, key=lambda value: scores[value])


def _has_good(scores: Scores) -> bool:
    return any(score > -math.inf for score in scores.values())


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _training_loss(folder: Path, after: float) -> float:
    """Return the training loss at the first evaluation from `after` epochs on, or at the last one."""
    epochs = open_run(folder).epochs
    if "train_loss" not in epochs:
        raise RunError(f"{folder}: was never evaluated")
    at = min(int(np.searchsorted(epochs["epoch"], after)), epochs["epoch"].size - 1)
    loss = float(epochs["train_loss"][at])
    return loss if math.isfinite(loss) else math.inf
