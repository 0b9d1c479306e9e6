"""Weights averaged over the steps, kept beside the raw ones; training never sees them.

    A <- A + share (W - A)        share = (1 - d) / (1 - d^k) at the k-th step averaged, 1/k for d = 1

A is then the mean of the k weights so far, each weighted by d relative to the next one: for d < 1 the
exponential moving average without the bias of its initialization, for d = 1 over the last part of training
the mean of Polyak and Juditsky 1992 and of Izmailov et al. 2018 (arXiv 1803.05407).
"""

from typing import NamedTuple

from revgn import trees
from revgn.networks import ChainParams
from revgn.settings import Exponential, Tail


class AverageState(NamedTuple):
    """A over the weights of `steps` steps; before the first of them the raw weights, which cost no memory."""

    steps: int
    params: ChainParams


def update_average(
    average: Exponential | Tail, state: AverageState, params: ChainParams, step: int, total_steps: int
) -> AverageState:
    """Take in the weights after `step` of `total_steps` steps; a tail has at least the last step in it.

    Notes
    -----
    Law: A is the sum of d^age W over the sum of d^age, age counted in steps.
    Cost: one pass over memory.
    """
    begin, d, k = 0, 1.0, state.steps + 1
    if isinstance(average, Exponential):
        d = average.decay
    else:
        begin = min(round(average.tail_start * total_steps), total_steps - 1)
    if step <= begin:  # also where a resumed run begins later than it was to
        return AverageState(0, params)
    if k == 1:
        return AverageState(1, params)
    share = (1.0 - d) / (1.0 - d**k) if d < 1 else 1.0 / k
    (params,) = trees.elementwise(lambda a, w: (a + share * (w - a),), state.params, params)
    return AverageState(k, params)
