"""Learning-rate schedules: a factor in (0, 1] of every learning rate at each step.

With t = 0, 1, ... the step and T the total, after a linear warm-up of w steps ((t+1)/w):

    constant  1
    cosine    f + (1 - f) (1 + cos(pi (t - w)/(T - w))) / 2, f the floor   (Loshchilov and Hutter 2017)
    step      gamma^floor((t - w)/every)
"""

import math
from typing import TypeAlias

from revgn.structs import setting, struct

_WARMUP = "Steps of linear warm-up."


@struct
class Constant:
    """1 after the warm-up."""

    warmup: int = setting(_WARMUP, default=0, ge=0, resumable=True)


@struct
class Cosine:
    """Half a cosine from 1 to the floor."""

    warmup: int = setting(_WARMUP, default=0, ge=0, resumable=True)
    floor: float = setting("Factor at the last step.", default=0.0, ge=0, le=1, resumable=True)


@struct
class StepDecay:
    """A factor of gamma at equal distances."""

    warmup: int = setting(_WARMUP, default=0, ge=0, resumable=True)
    every: int = setting("Steps between two decays.", default=1000, ge=1, resumable=True)
    gamma: float = setting("Factor of each decay.", default=0.1, gt=0, le=1, resumable=True)


Schedule: TypeAlias = Constant | Cosine | StepDecay


def schedule_factor(schedule: Schedule, step: int, total: int) -> float:
    """Factor of the learning rates at `step` (from 0) of `total` steps.

    Examples
    --------
    >>> schedule_factor(Cosine(floor=0.1), 50, 100)
    0.55
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    past = step - schedule.warmup
    if isinstance(schedule, Cosine):
        done = min(1.0, past / max(1, total - schedule.warmup))
        return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done))
    return schedule.gamma ** (past // schedule.every) if isinstance(schedule, StepDecay) else 1.0
