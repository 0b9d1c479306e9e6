"""Search with optuna (extra `search`), which proposes each trial from the scores of the earlier ones.

The score of a trial is its highest score on the validation set; without one, its last score on the test set.

The optuna study is stored in the journal SWEEP/optuna.log. Several drivers can share it, and a sweep that is
started again continues it. An axis with values is a categorical parameter, a range is a numerical one.
"""

import itertools
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revgn.errors import UsageError
from revgn.sweeps.claim import score_of_trial
from revgn.sweeps.drive import Board
from revgn.sweeps.plan import SEED, Plan, Trial, plan_toml, trial_maker, with_files_found

JOURNAL = "optuna.log"
_STUDY = "sweep"
_CHOICES, _GRID = "choices", "grid"  # attributes of a proposal, and of the study
_PROPOSALS = 10  # repeated proposals after which a point is drawn at random


class Searched:
    """Source of `count` trials that search for the highest score over the grid and variants of a plan.

    All trials differ. If optuna proposes an existing trial, another one is proposed, or drawn at random. If
    the grid has fewer than `count` points, all of them are run, and no others.

    Raises
    ------
    UsageError
        If optuna is not installed, the count is below one, seeds are on the grid, there is no grid, or the
        search in this folder has another grid.
    """

    def __init__(self, plan: Plan, count: int, folder: Path) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend
        except ModuleNotFoundError:
            raise UsageError("search: optuna is not installed; pip install 'revgn[search]'") from None
        if count < 1:
            raise UsageError(f"search: {count} trials; expected at least 1")
        if not plan.axes and not plan.variants:
            raise UsageError("search: there are no settings to vary; give a grid")
        if SEED in (axis.path for axis in plan.axes):
            raise UsageError("search: a seed cannot be searched; remove training.seed from the grid")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self._plan = with_files_found(plan, Path.cwd())
        self._make = trial_maker(self._plan)
        sizes = [len({json.dumps(value) for value in axis.values}) or math.inf for axis in plan.axes]
        points = math.prod(sizes) * max(1, len(plan.variants))
        self.count = count if count < points else int(points)
        self._states = optuna.trial.TrialState
        self._study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
            sampler=optuna.samplers.TPESampler(),  # unseeded, else all drivers would draw the same
            study_name=_STUDY,
            direction="maximize",
            load_if_exists=True,
        )
        grid = plan_toml(Plan({}, self._plan.axes, {name: {} for name in plan.variants}))
        if self._study.user_attrs.get(_GRID, grid) != grid:
            raise UsageError(f"{folder}: its search has another grid; choose another folder")
        self._study.set_user_attr(_GRID, grid)

    def more(self, board: Board, free: int) -> list[Trial]:
        """Return the trials that optuna has already, then new ones for idle workers."""
        known: dict[str, Trial] = {}
        for proposal in self._study.get_trials(deepcopy=False):
            if _CHOICES not in proposal.user_attrs:  # repeated, or its driver was killed while it proposed
                continue
            trial = self._trial(proposal.user_attrs[_CHOICES])
            known[trial.name] = trial
            if proposal.state == self._states.RUNNING and trial.name in board and board[trial.name].is_over:
                self._tell(proposal.number, trial, board)
        waiting = [name for name in known if name not in board]
        for _ in range(min(free - len(waiting), self.count - len(known))):
            if (new := self._proposed(known)) is None:
                break
            known[new.name] = new
        return [trial for name, trial in known.items() if name not in board]

    def _proposed(self, known: Mapping[str, Trial]) -> Trial | None:
        """Return a new trial: a proposal of optuna, else a random point among those that are left."""
        for number in range(_PROPOSALS + 1):
            if number == _PROPOSALS and not self._enqueue_new(known):
                return None
            proposal: Any = self._study.ask()
            choices = {axis.path: self._suggested(proposal, axis) for axis in self._plan.axes}
            if self._plan.variants:
                choices["variant"] = proposal.suggest_categorical("variant", list(self._plan.variants))
            trial = self._trial(choices)
            if trial.name not in known:
                proposal.set_user_attr(_CHOICES, choices)
                return trial
            self._study.tell(proposal.number, state=self._states.FAIL)
        return None

    def _enqueue_new(self, known: Mapping[str, Trial]) -> bool:
        """Make the next proposal a random point that is not among the trials; return whether there is one."""
        words = {axis.path: [json.dumps(value) for value in axis.values] for axis in self._plan.axes}
        if not all(words.values()):  # a range always contains further points
            return False
        done = {json.dumps({**trial.choices}, sort_keys=True) for trial in known.values()}
        names = {"variant": list(self._plan.variants)} if self._plan.variants else {}
        left = []
        for point in itertools.product(*words.values(), *names.values()):
            named = dict(zip((*words, *names), point, strict=True))
            choices = {name: word if name == "variant" else json.loads(word) for name, word in named.items()}
            if json.dumps(choices, sort_keys=True) not in done:
                left.append(named)
        if left:
            self._study.enqueue_trial(random.choice(left))
        return bool(left)

    def _trial(self, choices: dict[str, Any]) -> Trial:
        of_axes = {path: value for path, value in choices.items() if path != "variant"}
        return self._make(of_axes, choices.get("variant"))

    def _suggested(self, proposal: Any, axis: Any) -> Any:
        if axis.whole and axis.is_continuous:
            return proposal.suggest_int(axis.path, math.ceil(axis.low), math.floor(axis.high), log=axis.log)
        if axis.is_continuous:
            return float(f"{proposal.suggest_float(axis.path, axis.low, axis.high, log=axis.log):.6g}")
        words = [json.dumps(value) for value in axis.values]  # optuna does not support choices that are lists
        return json.loads(proposal.suggest_categorical(axis.path, words))

    def _tell(self, number: int, trial: Trial, board: Board) -> None:
        beat = board[trial.name].beat
        good = board[trial.name].status in ("finished", "stopped") and beat.scores
        self._study.tell(
            number,
            score_of_trial(beat) if good else None,
            state=None if good else self._states.FAIL,
            skip_if_finished=True,
        )
