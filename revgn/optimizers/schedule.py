"""Learning-rate schedules: a factor in [0, 1] that multiplies every learning rate at each step.

With t = 0, 1, ... the step and T the total number of steps, the factor is (t + 1)/w during the first w steps,
a linear warm-up. Afterwards it is

    constant  1
    cosine    f + (1 - f) (1 + cos(pi (t - w)/(T - w))) / 2, f the floor   (Loshchilov and Hutter 2017)
    step      gamma^floor((t - w)/every)
"""

import math
from typing import TypeAlias

from revgn.structs import setting, struct

_WARMUP = "Number of linear warm-up steps."


@struct
class Constant:
    """Constant factor 1 after the warm-up."""

    warmup: int = setting(_WARMUP, default=0, ge=0, resumable=True)


@struct
class Cosine:
    """Cosine decay from 1 to the floor."""

    warmup: int = setting(_WARMUP, default=0, ge=0, resumable=True)
    floor: float = setting(
        "Factor of the learning rate at the end of training.", default=0.0, ge=0, le=1, resumable=True
    )


@struct
class StepDecay:
    """Decay by the factor gamma at regular intervals."""

    warmup: int = setting(_WARMUP, default=0, ge=0, resumable=True)
    every: int = setting("Number of steps between decays.", default=1000, ge=1, resumable=True)
    gamma: float = setting(
        "Factor of the learning rate at each decay.", default=0.1, gt=0, le=1, resumable=True
    )


Schedule: TypeAlias = Constant | Cosine | StepDecay


def schedule_factor(schedule: Schedule, step: int, total: int) -> float:
    """Return the factor of the learning rates at `step`, counted from 0, of `total` steps.

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
