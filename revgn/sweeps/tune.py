"""Tuning of one setting, such as the learning rate, separately for each point of a sweep.

    1. Try every initial value on the first seed.
    2. If the best value is the smallest or the largest, try one value beyond it, with the same ratio as
       between the best value and its neighbour. Repeat at most twice.
    3. Try the geometric means of the best value and its neighbours.
    4. Run the best of all values on every seed.

The rule defines the best value:

    score      highest score on the validation set; without one, the last score on the test set
    largest    largest value whose run did not diverge, and whose training loss ended below its initial value
                                                                           (Buffelli et al. 2024, appendix)
    progress   lowest training loss after one epoch, in runs of one epoch  (ibid.)
    fit        lowest training loss at the last evaluation
"""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np

from revgn.errors import RunError, UsageError
from revgn.settings import build_config, config_dict, flat, merge_settings, path_of
from revgn.store import open_run
from revgn.sweeps.axes import Axis, is_whole
from revgn.sweeps.claim import score_of_trial
from revgn.sweeps.drive import Board
from revgn.sweeps.plan import SEED, Plan, Rule, Trial, plan_trials, trial_maker
from revgn.training import choose_defaults, load_data
from revgn.training.choices import Load, remembered

Scores = dict[float, float]  # score of each value; minus infinity if its run failed or diverged

LR = "lr"
LR_FACTORS = tuple(3.0**k for k in (-2, -1, 0, 1, 2))  # initial values over the default learning rate
_FURTHER = 2  # largest number of values beyond the grid
_DIGITS = 3


@dataclass(frozen=True, eq=False)
class Tuned:
    """Source of the trials that tune a setting for each point of a plan.

    Raises
    ------
    UsageError
        If the rule is unknown, or a point has fewer than two distinct positive values.
    """

    plan: Plan  # its first seed is used for tuning
    axis: Axis  # the setting and its initial values
    rule: Rule
    folder: Path  # folder of the sweep
    relative: bool = False  # whether the values are factors of the value at each point

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise UsageError(f"rule: {self.rule!r} is not one of {', '.join(get_args(Rule))}")
        values = self.axis.values
        if len({*values}) < 2 or not all(isinstance(v, int | float) and v > 0 for v in values):
            raise UsageError(f"tune {self.axis.path}: expected at least two distinct positive values")
        _ = self._initial  # raises an error for a point without initial values

    def more(self, board: Board, free: int) -> list[Trial]:
        """Return the trials of the current stage of each point."""
        trials = {trial.name: trial for point in self.points for trial in self._stage(point, board)}
        return [trial for name, trial in trials.items() if name not in board]

    def best(self, board: Board) -> dict[str, float]:
        """Return the best value for each point that has reached the last stage, by the name of the point."""
        found = {point.name: self._tried(point, board) for point in self.points}
        return {name: _best(scores) for name, (scores, done) in found.items() if done and _has_good(scores)}

    def untried(self, board: Board) -> dict[str, float]:
        """Return the next value for each point whose best one is the smallest or the largest tried.

        Points are left out if that value is impossible, or cannot be the best by the rule.
        """
        found, best = {}, self.best(board)
        for point in self.points:
            scores, _ = self._tried(point, board)
            if point.name in best and (new := self._possible(point, beyond(scores, self.rule))):
                found[point.name] = new[0]
        return found

    def later(self) -> list[tuple[Trial, int]]:
        """Return for each point a trial, and the number of trials of the same duration that may follow."""
        finer = 1 if self.rule == "largest" else 2
        most = _FURTHER + finer + len(self._ends()) - (self.rule != "progress")
        return [(point, most) for point in self.points]

    @cached_property
    def points(self) -> list[Trial]:
        """Points of the plan, without the tuned setting and the seed."""
        axes = (axis for axis in self.plan.axes if axis.path != SEED)
        others = tuple(axis for axis in axes if not is_same_setting(self.plan, axis.path, self.axis.path))
        return plan_trials(replace(self.plan, axes=others))

    @cached_property
    def _initial(self) -> Mapping[str, list[float]]:
        """Initial values of each point, by its name."""
        load = remembered(load_data)
        return {point.name: self._values_at(point, load) for point in self.points}

    def _values_at(self, point: Trial, load: Load) -> list[float]:
        name, values = self.axis.path, self.axis.values
        if not self.relative:
            return [value if is_whole(name) else float(value) for value in values]
        unit = numerical_value(dict(point.settings), name, load)
        found = [self._rounded(float(value) * unit) for value in values]
        if len({*found}) < 2 or min(found) <= 0:
            products = ", ".join(f"{value:g}" for value in found)
            raise UsageError(
                f"tune {name}: its value {unit:g} times {', '.join(f'{value:g}' for value in values)} gives "
                f"{products}; expected at least two distinct positive values, as in {name}=1,2,4"
            )
        return found

    def _rounded(self, value: float) -> float:
        return round(value) if is_whole(self.axis.path) else rounded(value)

    def _stage(self, point: Trial, board: Board) -> list[Trial]:
        scores, done = self._tried(point, board)
        if not done:
            return [self._first(point, value) for value in scores]
        if not _has_good(scores):
            return []
        return [self._trial(point, _best(scores), end) for end in self._ends()]

    def _tried(self, point: Trial, board: Board) -> tuple[Scores, bool]:
        """Return the scores of all values so far, NaN for unfinished runs, and whether no more follow."""
        scores: Scores = {}
        new = self._initial[point.name]
        for propose in (*[beyond] * _FURTHER, between, None):
            scores |= {value: self._score(self._first(point, value), board) for value in new}
            if any(math.isnan(score) for score in scores.values()):
                return scores, False
            new = self._possible(point, propose(scores, self.rule)) if propose else []
        return scores, True

    def _possible(self, point: Trial, values: Iterable[float]) -> list[float]:
        """Return the proposed values that are within the bounds of the setting."""
        found = []
        for value in map(self._rounded, values):
            with suppress(UsageError):
                self._first(point, value)
                found.append(value)
        return found

    def _first(self, point: Trial, value: float) -> Trial:
        one_epoch = {"training.epochs": 1} if self.rule == "progress" else {}
        return self._trial(point, value, self._ends()[0] | one_epoch)

    def _ends(self) -> list[dict[str, Any]]:
        """Return the seeds of the plan as choices; one empty choice if the plan has no seeds."""
        seeds = next((axis.values for axis in self.plan.axes if axis.path == SEED), ())
        return [{SEED: seed} for seed in seeds] or [{}]

    def _trial(self, point: Trial, value: float, end: dict[str, Any]) -> Trial:
        choices = {path: chosen for path, chosen in point.choices.items() if path != "variant"}
        return self._make(choices | {self.axis.path: value} | end, point.choices.get("variant"))

    @cached_property
    def _make(self) -> Callable[[Mapping[str, Any], str | None], Trial]:
        return trial_maker(self.plan)

    def _score(self, trial: Trial, board: Board) -> float:
        state = board.get(trial.name)
        if state is None or not state.is_over:
            return math.nan
        if state.status in ("failed", "diverged"):
            return -math.inf
        if self.rule == "largest":
            losses = [_training_loss(self.folder / trial.name, after) for after in (0.0, math.inf)]
            return float(trial.choices[self.axis.path]) if losses[1] < losses[0] else -math.inf
        if self.rule == "score":
            return score_of_trial(state.beat)
        return -_training_loss(self.folder / trial.name, after=1.0 if self.rule == "progress" else math.inf)


def beyond(scores: Scores, rule: Rule) -> list[float]:
    """Return the value beyond the tried ones, if the best is at their end or all runs have failed."""
    tried = sorted(scores)
    best = _best(scores) if _has_good(scores) else tried[0]
    if best == tried[-1] and _has_good(scores):
        return [rounded(best * best / tried[-2])]
    if best == tried[0] and (rule != "largest" or not _has_good(scores)):
        return [rounded(best * best / tried[1])]
    return []


def between(scores: Scores, rule: Rule) -> list[float]:
    """Return the geometric means of the best value and its neighbours; for "largest" only the upper one."""
    if not _has_good(scores):
        return []
    tried = sorted(scores)
    at = tried.index(_best(scores))
    pairs = list(pairwise(tried))[at if rule == "largest" else max(at - 1, 0) : at + 1]
    return [value for low, high in pairs if (value := rounded(math.sqrt(low * high))) not in scores]


def split_tune(text: str) -> tuple[str, str]:
    """Return the name and the values of a tuned setting, as in "lr=x0.3,1"; "" if there are no values."""
    name, _, values = text.partition("=")
    return name.strip(), values


def is_same_setting(plan: Plan, name: str, other: str) -> bool:
    """Return whether two names or paths mean one setting, such as lr and optimizer.lr."""
    for variant in plan.variants.values() or ({},):
        settings = merge_settings(dict(variant), dict(plan.settings))
        with suppress(UsageError):  # the variant does not have the setting
            if path_of(name, settings, of_first=True) == path_of(other, settings, of_first=True):
                return True
    return name == other


def numerical_value(settings: dict[str, Any], name: str, load: Load) -> float:
    """Return the value of a numerical setting, or a run's default; the first one if there are several.

    Raises
    ------
    UsageError
        If the value is not a number.
    """
    config = build_config(settings)
    if config.preset is None:  # the data choose some of the defaults
        config = choose_defaults(settings, load).config
    value = flat(config_dict(config))[path_of(name, settings, of_first=True)]
    if not isinstance(value, int | float):
        shown = "none" if value is None else value
        raise UsageError(f"{name}: is {shown} by default, which has no multiples; give values instead")
    return float(value)


def _best(scores: Scores) -> float:
    return max(scores, key=lambda value: scores[value])


def _has_good(scores: Scores) -> bool:
    return any(score > -math.inf for score in scores.values())


def rounded(value: float) -> float:
    """Return a number with the significant digits that values of a tuned setting have."""
    return float(f"{value:.{_DIGITS}g}")


def _training_loss(folder: Path, after: float) -> float:
    """Return the training loss at the first evaluation from `after` epochs on, or at the last one."""
    epochs = open_run(folder).epochs
    if "train_loss" not in epochs:
        raise RunError(f"{folder}: has no evaluation")
    at = min(int(np.searchsorted(epochs["epoch"], after)), epochs["epoch"].size - 1)
    loss = float(epochs["train_loss"][at])
    return loss if math.isfinite(loss) else math.inf
