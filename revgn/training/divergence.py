"""Divergence: the loss is no longer finite, or it stays far above its initial value.

Training has diverged by the second rule if the loss of 10 batches in succession, or the training loss at the
last evaluation, exceeds

    limit = diverged_above max(training loss before the first step, loss of outputs that are all zero)

The second loss matters if the training loss is near zero before the first step. Measured on digits and
auto-mpg with six optimizers and very different learning rates: losses above 1000 times the initial loss that
recovered did so within three steps, and no run that stayed above for ten steps ever fell below its initial
loss.
"""

import math
from typing import NamedTuple

from revgn.arrays import fetch, unwarned
from revgn.data import PlacedPart, take_rows
from revgn.losses import Loss, value

LASTING = 10  # steps in succession with a loss above the limit
_ROWS = 2048  # largest number of rows for the loss of outputs that are zero


class Course(NamedTuple):
    """Course of the loss so far, as far as divergence depends on it.

    `scale` is the maximum in the formula of the limit, NaN before the first evaluation. `above` is the number
    of steps in succession, up to the last one, whose loss exceeded the limit.
    """

    scale: float = math.nan
    above: int = 0


def begun(loss_before: float, loss: Loss, part: PlacedPart, rows: int) -> Course:
    """Return the course at the start, from the training loss and the first rows of the training set.

    Its scale is NaN if neither loss is finite.
    """
    targets = take_rows(part, slice(0, min(rows, _ROWS, part.targets.shape[0])))[1]
    with unwarned():
        (of_zero,) = fetch([value(loss, 0 * targets, targets)])
    finite = [abs(each) for each in (loss_before, of_zero) if math.isfinite(each)]
    return Course(max(finite, default=math.nan))


def limit_of(course: Course, diverged_above: float | None) -> float:
    """Return the limit of the loss; infinity if there is none.

    Examples
    --------
    >>> limit_of(Course(scale=2.0), 1000.0), limit_of(Course(), 1000.0), limit_of(Course(2.0), None)
    (2000.0, inf, inf)
    """
    if diverged_above is None or not course.scale > 0:
        return math.inf
    return course.scale * diverged_above


def stepped(course: Course, loss: float, limit: float) -> Course:
    """Return the course after a step whose batch had this loss."""
    return course._replace(above=0 if loss <= limit else course.above + 1)
