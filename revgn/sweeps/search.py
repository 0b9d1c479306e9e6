"""Search with optuna (extra `search`), which proposes each trial from the scores of the earlier ones.

The score of a trial is its highest on the validation set; without one, its last on the test set.

The optuna study is stored in the journal SWEEP/optuna.log. Several drivers can share it, and a sweep that is
started again continues it. An axis with values is a categorical parameter, a range is a numerical one.
"""

import json
from pathlib import Path
from typing import Any

from revgn.errors import UsageError
from revgn.sweeps.claim import score_of_trial
from revgn.sweeps.drive import Board
from revgn.sweeps.plan import SEED, Plan, Trial, make_trial

JOURNAL = "optuna.log"
_STUDY = "sweep"
_CHOICES = "choices"


class Searched:
    """Source of `count` trials that search for the highest score over the grid and variants of a plan.

    Raises
    ------
    UsageError
        If optuna is not installed, the count is below one, seeds are on the grid, or there is no grid.
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
        self._plan, self._count = plan, count
        self._states = optuna.trial.TrialState
        self._study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
            sampler=optuna.samplers.TPESampler(),  # unseeded, else all drivers would draw the same
            study_name=_STUDY,
            direction="maximize",
            load_if_exists=True,
        )

    def more(self, board: Board, free: int) -> list[Trial]:
        """Return the trials that optuna has already, then new ones for idle workers."""
        trials = []
        proposals = self._study.get_trials(deepcopy=False)
        proposal: Any
        for proposal in proposals:
            if _CHOICES not in proposal.user_attrs:  # its driver was killed while it proposed the trial
                continue
            trial = self._trial(proposal.user_attrs[_CHOICES])
            if trial.name not in board:
                trials.append(trial)
            elif proposal.state == self._states.RUNNING and board[trial.name].is_over:
                self._tell(proposal.number, trial, board)
        for _ in range(min(free - len(trials), self._count - len(proposals))):
            proposal = self._study.ask()
            choices = {axis.path: self._suggested(proposal, axis) for axis in self._plan.axes}
            if self._plan.variants:
                choices["variant"] = proposal.suggest_categorical("variant", list(self._plan.variants))
            proposal.set_user_attr(_CHOICES, choices)
            trial = self._trial(choices)
            trials.append(trial)
        return [trial for name, trial in {trial.name: trial for trial in trials}.items() if name not in board]

    def _trial(self, choices: dict[str, Any]) -> Trial:
        of_axes = {path: value for path, value in choices.items() if path != "variant"}
        return make_trial(self._plan, of_axes, choices.get("variant"))

    def _suggested(self, proposal: Any, axis: Any) -> Any:
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
