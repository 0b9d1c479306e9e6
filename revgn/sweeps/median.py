"""Median rule: ends trials early whose score is low compared to other trials.

At an evaluation, a trial ends if its best score so far is below the median over the other trials that have
trained for at least as many epochs. Each of them enters the median with the mean of its scores up to the same
epoch. Only trials on the same data and with the same loss are compared. Source: Golovin et al., Google
Vizier, KDD 2017, section 3.2.
"""

import functools
import json
import statistics
from dataclasses import dataclass

from revgn.errors import UsageError
from revgn.settings import build_config, config_dict
from revgn.sweeps.drive import Board
from revgn.sweeps.plan import Trial

_FEWEST = 3  # smallest number of other trials that allows a comparison


@dataclass(frozen=True, slots=True)
class MedianRule:
    """Median rule for trials after `after` epochs (>= 0); compares a trial with at least three others."""

    after: float

    def __post_init__(self) -> None:
        if not self.after >= 0:
            raise UsageError(f"median rule: {self.after} epochs; expected a number that is not negative")

    def __call__(self, board: Board) -> dict[str, str]:
        """Return the trials that should end, by name, with the reason for each."""
        reasons = {}
        for name, state in board.items():
            if state.status != "running" or not state.beat.scores:
                continue
            epoch, best = state.beat.scores[-1][0], max(score for _, score in state.beat.scores)
            means = [
                statistics.fmean(score for at, score in other.beat.scores if at <= epoch)
                for rival, other in board.items()
                if rival != name and other.beat.scores and other.beat.epoch >= epoch
                if other.beat.scores[0][0] <= epoch and _kind(other.trial) == _kind(state.trial)
            ]
            if epoch >= self.after and len(means) >= _FEWEST and best < statistics.median(means):
                reasons[name] = (
                    f"below the median at epoch {epoch:.4g}: best score {best:.4g}, "
                    f"median of {len(means)} others {statistics.median(means):.4g}"
                )
        return reasons


@functools.cache
def _kind(trial: Trial) -> str:
    """Return a key that is equal for trials with comparable scores: their data and loss."""
    config = config_dict(build_config(dict(trial.settings)))
    return json.dumps([config["data"], config["training"]["loss"]])
