"""A step length that satisfies the strong Wolfe conditions.

With f(a) the loss at the step length a along a direction of descent, f'(0) < 0,

    f(a) <= f(0) + c1 a f'(0)        |f'(a)| <= c2 |f'(0)|        c1 = 1e-4, c2 = 0.9

Nocedal and Wright 2006, algorithms 3.5 (lengths grow until two of them bracket such a one) and 3.6 (the
bracket shrinks, by the cubic of equation 3.59, or by halves where that leaves the bracket's inner 80 %). The
second condition makes s.y > 0 for the change y of the gradient over the step s.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from revgn.networks import ChainParams

DECREASE, CURVATURE = 1e-4, 0.9  # c1, c2
_GROWTH = 4.0
_TRIALS = 20


class Trial(NamedTuple):
    """A step length a, with f(a), f'(a), and the gradient of the loss there."""

    length: float
    value: float
    slope: float
    gradient: ChainParams


def strong_wolfe(evaluate: Callable[[float], Trial], start: Trial, first: float) -> Trial:
    """Trial that satisfies both conditions, of at most 20.

    `evaluate` gives the trial at a length, `start` is that at 0, where its slope is negative, and `first` the
    length tried first. Where no trial satisfies both conditions (rounding, a kink, a loss without bound) the
    lowest that satisfies the first one is returned; `start` where none does.
    """
    best = before = start
    bracket: tuple[Trial, Trial] | None = None  # the lower end first
    length = first
    for _ in range(_TRIALS):
        trial = evaluate(length)
        is_lower = trial.value <= start.value + DECREASE * length * start.slope and math.isfinite(trial.slope)
        if is_lower and abs(trial.slope) <= -CURVATURE * start.slope:
            return trial
        if is_lower and trial.value < best.value:
            best = trial
        low, high = bracket or (before, None)
        if not is_lower or trial.value >= low.value:
            bracket = low, trial
        elif high is not None:
            bracket = trial, low if trial.slope * (high.length - low.length) >= 0 else high
        elif trial.slope >= 0:
            bracket = trial, low
        else:  # still downhill
            before, length = trial, _GROWTH * length
            continue
        length = _between(*bracket)
        if length in (bracket[0].length, bracket[1].length):
            break  # no number lies between
    return best


def _between(low: Trial, high: Trial) -> float:
    """Minimizer of the cubic through both, or the middle where it is not well inside."""
    middle, span = 0.5 * (low.length + high.length), high.length - low.length
    if not span:
        return middle
    d1 = low.slope + high.slope - 3 * (high.value - low.value) / span
    square = d1 * d1 - low.slope * high.slope
    if not 0 <= square < math.inf:  # also where the loss is not finite
        return middle
    d2 = math.copysign(math.sqrt(square), span)
    turn = high.slope - low.slope + 2 * d2
    found = high.length - span * (high.slope + d2 - d1) / turn if turn else middle
    return found if abs(found - middle) <= 0.4 * abs(span) else middle
