"""Average of the weights over the training steps; training itself does not use it.

    A <- A + share (W - A)        share = (1 - d) / (1 - d^k) at the k-th averaged step, 1/k for d = 1

A is then the mean of the weights W after the k averaged steps, in which each W counts d times as much as the
next one. For d < 1 this is the exponential moving average with bias correction. For d = 1, over the last
steps of training, it is the mean of Polyak and Juditsky 1992 and of Izmailov et al. 2018 (arXiv 1803.05407).
"""

from typing import NamedTuple

from revgn import trees
from revgn.networks import ChainParams
from revgn.settings import Exponential, Tail


class AverageState(NamedTuple):
    """Average A of the weights over `steps` steps.

    Before the first averaged step, `params` are the weights themselves, which takes no additional memory.
    """

    steps: int
    params: ChainParams


def tail_begin(average: Tail, total_steps: int) -> int:
    """Return the number of steps before the first one that the average includes.

    Examples
    --------
    >>> tail_begin(Tail(tail_start=0.75), 8)
    6
    """
    return min(round(average.tail_start * total_steps), total_steps - 1)


def update_average(
    average: Exponential | Tail, state: AverageState, params: ChainParams, step: int, total_steps: int
) -> AverageState:
    """Return the average that includes the weights after `step` of `total_steps` steps.

    A `Tail` includes at least the last step. If a resumed run begins to average later than before, an average
    that includes earlier weights is restarted.

    Notes
    -----
    Law: A is the sum of d^age W over the sum of d^age, with the age counted in steps.
    Cost: reads A and W once.
    """
    begin, d, k = 0, 1.0, state.steps + 1
    if isinstance(average, Exponential):
        d = average.decay
    else:
        begin = tail_begin(average, total_steps)
    if step <= begin:
        return AverageState(0, params)
    if k == 1 or k > step - begin:
        return AverageState(1, params)
    share = (1.0 - d) / (1.0 - d**k) if d < 1 else 1.0 / k
    (params,) = trees.elementwise(lambda a, w: (a + share * (w - a),), state.params, params)
    return AverageState(k, params)
