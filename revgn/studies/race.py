"""Race: every method is tuned with the same number of trials, separately for each budget of training.

A budget is a number of epochs, or the wall-clock time that the reference method takes for a number of epochs.
The trials of a race follow from the results so far:

    1. Time a few steps of each method with each batch size, one run at a time, in several rounds. The fastest
       round counts, so that other work of the machine during one of them favours no method.
    2. Convert each budget into a number of steps, for each method and batch size.
    3. For each method and budget, search the learning rate and the batch size with `trials` runs on the first
       seed (see `proposal`), and select by the last evaluation on the validation set.
    4. Run the best setting on every seed.

A budget in wall-clock time counts the time of steps alone, as it was measured in the first stage. The number
of steps, and with it the result of a run, therefore does not depend on other work of the machine later.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from revgn.errors import RunError, UsageError
from revgn.settings import canonical
from revgn.store import open_run
from revgn.sweeps.drive import Board
from revgn.sweeps.plan import SEED, Plan, Trial, make_trial, trial_maker
from revgn.sweeps.tune import numerical_value, rounded
from revgn.training import load_data
from revgn.training.choices import remembered

_TIMED, _SKIPPED = 24, 4  # steps of a timing run; the first ones, which include set-up, are not counted
_ROUNDS = 3  # rounds of timing runs
_RATIO = 3.0  # ratio of a new learning rate to the largest or smallest one so far
_NEAR = 1.2  # a geometric mean closer than this ratio to both learning rates is not tried
_LR, _BATCH, _STEPS = "lr", "training.batch_size", "training.steps"

Setting = tuple[int, float]  # batch size and learning rate


class Budget(NamedTuple):
    """Amount of training: a number of epochs, or the wall-clock time of this number of reference epochs."""

    epochs: float
    is_time: bool

    def words(self, reference: str) -> str:
        """Return the budget in words, such as "3 epochs" or "the time of 4 adamw epochs"."""
        unit = "epoch" if self.epochs == 1 else "epochs"
        return f"time of {self.epochs:g} {reference} {unit}" if self.is_time else f"{self.epochs:g} {unit}"


@dataclass(frozen=True, slots=True)
class Race:
    """Budgets of a race, and the extent of the search for each method and budget.

    Attributes
    ----------
    reference : str
        Variant whose epochs, with the first batch size, define the budgets in wall-clock time.
    baselines : sequence of str
        Variants with which the others are compared.
    epochs, reference_epochs : sequence of float
        Budgets in epochs, and in wall-clock time.
    batch_sizes : sequence of int
        Batch sizes of the search. A variant's own learning rate belongs to the first one.
    trials : int
        Number of runs of the search.
    too_slow : mapping
        Batch sizes that are left out for a variant, because its steps would take too long.
    """

    reference: str
    baselines: Sequence[str]
    epochs: Sequence[float]
    reference_epochs: Sequence[float]
    batch_sizes: Sequence[int]
    trials: int
    too_slow: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, those in wall-clock time first."""
        of_time = [Budget(epochs, True) for epochs in self.reference_epochs]
        return (*of_time, *(Budget(epochs, False) for epochs in self.epochs))


class Speed(NamedTuple):
    """Mean time of a step in seconds, and steps per epoch."""

    seconds: float
    per_epoch: float


class Final(NamedTuple):
    """Best setting of a method within a budget, its time in steps (s), and its trial for each seed."""

    batch_size: int
    lr: float
    seconds: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True, eq=False)
class Raced:
    """Source of the trials of a race.

    Raises
    ------
    UsageError
        If the race names unknown variants, or has fewer trials than batch sizes.
    """

    plan: Plan
    race: Race
    seeds: int
    folder: Path  # folder of the sweep

    def __post_init__(self) -> None:
        named = {self.race.reference, *self.race.baselines, *self.race.too_slow}
        if unknown := sorted(named - set(self.plan.variants)):
            raise UsageError(f"race: there is no variant {unknown[0]!r}")
        if self.race.trials < len(self.race.batch_sizes):
            raise UsageError(
                f"race: {self.race.trials} trials for {len(self.race.batch_sizes)} batch sizes; expected at "
                "least one trial for each"
            )

    @property
    def most(self) -> int:
        """Largest number of trials: timing runs, searches and final runs."""
        searches = len(self.plan.variants) * len(self.race.budgets)
        return len(self._timings) * _ROUNDS + searches * (self.race.trials + self.seeds - 1)

    def more(self, board: Board, free: int) -> list[Trial]:
        """Return one timing run after the other, then the next trial of each method and budget."""
        for of_round in zip(*self._timings.values(), strict=True):
            for trial in of_round:
                if trial.name not in board:
                    return [trial]
                if not board[trial.name].is_over:
                    return []
        speeds = self.speeds(board)
        trials: dict[str, Trial] = {}
        for variant in self.plan.variants:
            for budget in self.race.budgets:
                for trial in self._next(variant, budget, board, speeds):
                    trials[trial.name] = trial
        return [trial for name, trial in trials.items() if name not in board]

    def speeds(self, board: Board) -> dict[tuple[str, int], Speed]:
        """Return the speed of each variant and batch size in its fastest round; without failed runs."""
        finished = {
            key: [t.name for t in trials if t.name in board and board[t.name].status == "finished"]
            for key, trials in self._timings.items()
        }
        return {key: min(map(self._speed_of, names)) for key, names in finished.items() if names}

    def steps(self, variant: str, batch: int, budget: Budget, speeds: Mapping[Any, Speed]) -> int:
        """Return the number of steps with this batch size that fit into the budget; at least one."""
        key = self.race.reference, self.race.batch_sizes[0]
        if key not in speeds:
            raise RunError(f"race: the timing run of {key[0]} failed; the budgets in its time are unknown")
        own, reference = speeds[variant, batch], speeds[key]
        epoch = reference.per_epoch * reference.seconds / own.seconds if budget.is_time else own.per_epoch
        steps = budget.epochs * epoch
        return max(1, math.floor(steps) if budget.is_time else round(steps))

    def finals(self, board: Board) -> dict[tuple[str, Budget], Final]:
        """Return the best setting of each variant and budget whose search has ended."""
        speeds, found = self.speeds(board), {}
        for variant in self.plan.variants:
            for budget in self.race.budgets:
                final = self._final(variant, budget, self._tried(variant, budget, board, speeds), speeds)
                if final is not None:
                    found[variant, budget] = final
        return found

    def _final(
        self, variant: str, budget: Budget, scores: Mapping[Setting, float], speeds: Mapping[Any, Speed]
    ) -> Final | None:
        """Return the best setting of a search; None if it has not ended, or if all its runs have failed."""
        good = {setting: score for setting, score in scores.items() if score > -math.inf}
        if not (good and _is_complete(scores, self.race.trials)):
            return None
        batch, lr = max(good, key=lambda setting: good[setting])
        seconds = speeds[variant, batch].seconds * self.steps(variant, batch, budget, speeds)
        of = [self._trial(variant, budget, (batch, lr), speeds, seed) for seed in range(self.seeds)]
        return Final(batch, lr, seconds, tuple(of))

    @cached_property
    def _timings(self) -> dict[tuple[str, int], list[Trial]]:
        """Timing runs of each variant and batch size, one for each round."""
        steps = {_STEPS: _TIMED, "training.eval_every": _TIMED, "training.measure_every": 0}
        rounds = [steps | {SEED: seed} for seed in range(_ROUNDS)]
        return {
            (variant, batch): [make_trial(self.plan, {_BATCH: batch} | each, variant) for each in rounds]
            for variant in self.plan.variants
            for batch in self.race.batch_sizes
            if batch not in self.race.too_slow.get(variant, ())
        }

    @cached_property
    def _speed_of(self) -> Callable[[str], Speed]:
        """Function from the name of a finished timing run to its speed; it reads each run only once."""
        return cache(lambda name: _read_speed(self.folder / name))

    @cached_property
    def _rates(self) -> dict[str, float]:
        """Learning rate of each variant, at which its searches begin."""
        own = {variant: make_trial(self.plan, {}, variant) for variant in self.plan.variants}
        load = remembered(load_data)
        return {variant: numerical_value(dict(trial.settings), _LR, load) for variant, trial in own.items()}

    def _trial(
        self, variant: str, budget: Budget, setting: Setting, speeds: Mapping[Any, Speed], seed: int
    ) -> Trial:
        batch, lr = setting
        steps = self.steps(variant, batch, budget, speeds)
        choices = {_BATCH: batch, self._path: lr, _STEPS: steps, "training.eval_every": steps, SEED: seed}
        return self._make(choices | {"training.measure_every": 0}, variant)

    @cached_property
    def _path(self) -> str:
        return canonical(_LR)

    @cached_property
    def _make(self) -> Callable[[Mapping[str, Any], str | None], Trial]:
        return trial_maker(self.plan)

    def _next(
        self, variant: str, budget: Budget, board: Board, speeds: Mapping[Any, Speed]
    ) -> Iterable[Trial]:
        scores = self._tried(variant, budget, board, speeds)
        if _is_complete(scores, self.race.trials):
            final = self._final(variant, budget, scores, speeds)
            return () if final is None else final.trials
        return [self._trial(variant, budget, setting, speeds, 0) for setting in scores]

    def _tried(
        self, variant: str, budget: Budget, board: Board, speeds: Mapping[Any, Speed]
    ) -> dict[Setting, float]:
        """Return the scores of the settings to try so far, NaN for those that have not ended."""
        batches = [batch for batch in self.race.batch_sizes if (variant, batch) in speeds]
        scores: dict[Setting, float] = {}
        for setting in ((batch, self._rates[variant]) for batch in batches):
            scores[setting] = self._score(variant, budget, setting, board, speeds)
        while 0 < len(scores) < self.race.trials and not any(math.isnan(score) for score in scores.values()):
            following = proposal(scores)
            if following is None:
                break
            scores[following] = self._score(variant, budget, following, board, speeds)
        return scores

    def _score(
        self, variant: str, budget: Budget, setting: Setting, board: Board, speeds: Mapping[Any, Speed]
    ) -> float:
        state = board.get(self._trial(variant, budget, setting, speeds, 0).name)
        if state is None or not state.is_over:
            return math.nan
        if state.status in ("failed", "diverged") or not state.beat.scores:
            return -math.inf
        return state.beat.scores[-1][1]


def proposal(scores: Mapping[Setting, float]) -> Setting | None:
    """Return the setting to try next; None if none is worth a trial.

    First, the search finds the scale of the learning rate with each batch size, in the order of their best
    scores: if the best learning rate is the largest (smallest) one tried with this batch size, the next one
    is 3 times larger (smaller). Then it refines the best setting: the next learning rate is the geometric
    mean of the best one and its better neighbour, or its other neighbour if the better one is close. If both
    are close, the second-best setting is used in place of the best one, and so on.

    Examples
    --------
    >>> proposal({(128, 0.1): 0.8, (512, 0.1): 0.7})
    (128, 0.3)
    >>> proposal({(128, 0.1): 0.8, (128, 0.3): 0.7})
    (128, 0.0333)
    >>> proposal({(128, 0.1): 0.8, (128, 0.3): 0.7, (128, 0.0333): 0.6, (512, 0.1): 0.7})
    (512, 0.3)
    """
    rates: dict[int, list[float]] = {}
    for batch, lr in sorted(scores):
        rates.setdefault(batch, []).append(lr)
    by_score = sorted(scores, key=lambda setting: (-scores[setting], setting[1]))
    best: dict[int, float] = {}  # learning rate with each batch size, in the order of the scores
    for batch, lr in by_score:
        best.setdefault(batch, lr)
    for batch, lr in best.items():
        if lr == rates[batch][0] and (scores[batch, lr] == -math.inf or len(rates[batch]) > 1):
            return batch, rounded(lr / _RATIO)
        if lr == rates[batch][-1]:
            return batch, rounded(lr * _RATIO)
    for batch, lr in by_score:
        at = rates[batch].index(lr)
        for rate in sorted(rates[batch][max(at - 1, 0) : at + 2], key=lambda rate: -scores[batch, rate]):
            if max(rate, lr) > _NEAR**2 * min(rate, lr):
                return batch, rounded(math.sqrt(rate * lr))
    return None


def _is_complete(scores: Mapping[Setting, float], trials: int) -> bool:
    """Return whether all trials of a search have ended, and no further one follows."""
    if any(math.isnan(score) for score in scores.values()):
        return False
    return not scores or len(scores) >= trials or proposal(scores) is None


def _read_speed(folder: Path) -> Speed:
    steps = open_run(folder).steps
    return Speed(float(np.mean(steps["seconds"][_SKIPPED:])), float(steps["step"][-1] / steps["epoch"][-1]))
