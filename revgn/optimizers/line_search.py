"""Line search for a step length that satisfies the strong Wolfe conditions.

With f(a) the loss at step length a along a descent direction, so that f'(0) < 0, the conditions are

    f(a) <= f(0) + c1 a f'(0)        |f'(a)| <= c2 |f'(0)|        c1 = 1e-4, c2 = 0.9

Source: Nocedal and Wright 2006. In algorithm 3.5 the length grows until two lengths bracket a solution. In
algorithm 3.6 the bracket shrinks: the next length is the minimizer of the cubic of equation 3.59, or the
midpoint if the minimizer is outside the inner 80 % of the bracket. The second condition implies s.y > 0 for
the change y of the gradient over the step s.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from revgn.networks import ChainParams

DECREASE, CURVATURE = 1e-4, 0.9  # c1, c2
_GROWTH = 4.0
_TRIALS = 20


class Trial(NamedTuple):
    """A step length a with f(a), f'(a) and the gradient of the loss at that length."""

    length: float
    value: float
    slope: float
    gradient: ChainParams


def strong_wolfe(evaluate: Callable[[float], Trial], start: Trial, first: float) -> Trial:
    """Return a trial that satisfies both conditions; at most 20 lengths are tried.

    `evaluate` returns the trial at a length, `start` is the trial at length 0, with a negative slope, and
    `first` is the first length to try. If no trial satisfies both conditions (because of rounding, a kink, or
    an unbounded loss), the lowest trial that satisfies the first condition is returned, or `start` if none
    does.
    """
    best = before = start
    bracket: tuple[Trial, Trial] | None = None  # the end with the lower loss first
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
        else:  # the slope is still negative
            before, length = trial, _GROWTH * length
            continue
        length = _between(*bracket)
        if length in (bracket[0].length, bracket[1].length):
            break  # there is no floating-point number in between
    return best


def _between(low: Trial, high: Trial) -> float:
    """Return the minimizer of the cubic through both trials, or the midpoint if it is not well inside."""
    middle, span = 0.5 * (low.length + high.length), high.length - low.length
    if not span:
        return middle
    d1 = low.slope + high.slope - 3 * (high.value - low.value) / span
    square = d1 * d1 - low.slope * high.slope
    if not 0 <= square < math.inf:  # also if the loss is not finite
        return middle
    d2 = math.copysign(math.sqrt(square), span)
    turn = high.slope - low.slope + 2 * d2
    found = high.length - span * (high.slope + d2 - d1) / turn if turn else middle
    return found if abs(found - middle) <= 0.4 * abs(span) else middle
