"""End hopeless jobs early, by the median rule.

A job ends at an evaluation where its best score so far is worse than the median, over the others that have
come as far, of the mean of their scores up to there. Source: Golovin et al., Google Vizier, KDD 2017, section
3.2. Only jobs on the same data, with the same loss, are compared.
"""

import functools
import json
import statistics
from dataclasses import dataclass

from revgn.errors import UsageError
from revgn.settings import build_config, config_dict
from revgn.sweeps.drive import Board
from revgn.sweeps.plan import Job

_FEWEST = 3  # others that have come as far


@dataclass(frozen=True, slots=True)
class MedianRule:
    """Judge jobs that have done `after` epochs (>= 0), by at least three others."""

    after: float

    def __post_init__(self) -> None:
        if not self.after >= 0:
            raise UsageError(f"median rule: {self.after} epochs are not a number from 0 on")

    def __call__(self, board: Board) -> dict[str, str]:
        """Return why, by the name of each job that is to end."""
        reasons = {}
        for name, state in board.items():
            if state.status != "running" or not state.beat.scores:
                continue
            epoch, best = state.beat.scores[-1][0], max(score for _, score in state.beat.scores)
            means = [
                statistics.fmean(score for at, score in other.beat.scores if at <= epoch)
                for rival, other in board.items()
                if rival != name and other.beat.scores and other.beat.epoch >= epoch
                if other.beat.scores[0][0] <= epoch and _kind(other.job) == _kind(state.job)
            ]
            if epoch >= self.after and len(means) >= _FEWEST and best < statistics.median(means):
                reasons[name] = (
                    f"behind the median at epoch {epoch:.4g}: best {best:.4g}, "
                    f"{len(means)} others {statistics.median(means):.4g}"
                )
        return reasons


@functools.cache
def _kind(job: Job) -> str:
    """Return the settings that jobs with comparable scores share."""
    config = config_dict(build_config(dict(job.settings)))
    return json.dumps([config["data"], config["training"]["loss"]])
