"""Learning-rate schedules: a factor in (0, 1] for each step, times the base rate.

With t = 0, 1, ... the step and T the total, after a linear warm-up of w steps ((t+1)/w):

    constant  1
    cosine    f + (1 - f) (1 + cos(pi (t - w)/(T - w))) / 2, f the floor   (Loshchilov and Hutter 2017)
    step      gamma^floor((t - w)/every)
"""

import math
from dataclasses import dataclass
from typing import Literal

from revgn.errors import UsageError

ScheduleKind = Literal["constant", "cosine", "step"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the learning rate goes with the step.

    Parameters
    ----------
    kind : {"constant", "cosine", "step"}
    warmup : int
        Steps of linear rise at the start, for every kind.
    floor : float
        Share of the base rate at which the cosine ends.
    every, gamma : int, float
        The step schedule multiplies by gamma every so many steps.

    Raises
    ------
    UsageError
        If a number is out of its range.
    """

    kind: ScheduleKind = "constant"
    warmup: int = 0
    floor: float = 0.0
    every: int = 1000
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "cosine", "step"):
            raise UsageError(f"Schedule: {self.kind!r} is not one of constant, cosine, step")
        if self.warmup < 0 or self.every < 1 or not 0 <= self.floor <= 1 or not 0 < self.gamma <= 1:
            raise UsageError(
                f"Schedule: warmup {self.warmup}, every {self.every}, floor {self.floor}, "
                f"gamma {self.gamma}; "
                "expected warmup >= 0, every >= 1, 0 <= floor <= 1, 0 < gamma <= 1"
            )


def rate_factor(schedule: Schedule, step: int, total: int) -> float:
    """Factor for the base rate at `step` (from 0) of `total` steps.

    Examples
    --------
    >>> [rate_factor(Schedule("cosine", warmup=2), step, 6) for step in (0, 1, 2, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    past = step - schedule.warmup
    match schedule.kind:
        case "constant":
            return 1.0
        case "cosine":
            done = min(1.0, past / max(1, total - schedule.warmup))
            return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done))
        case "step":
            return schedule.gamma ** (past // schedule.every)
