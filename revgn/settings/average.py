"""Averages of the weights, as settings; see `revgn.training.average`."""

from revgn.structs import setting, struct


@struct
class Exponential:
    """Exponential moving average, free of the bias of its initialization."""

    decay: float = setting(
        "Weight of each set of weights relative to the next one.", default=0.95, gt=0, lt=1
    )


@struct
class Tail:
    """Mean of the weights of the last steps."""

    tail_start: float = setting(
        "Share of all steps after which the average begins.", default=0.75, ge=0, lt=1
    )
