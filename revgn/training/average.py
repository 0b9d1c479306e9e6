"""Weights averaged over the steps, kept beside the raw ones.

    A <- A + share (W - A)        share = (1 - d) / (1 - d^k) at the k-th step averaged, 1/k for d = 1

so that A is the mean of the k weights so far in which each weighs d times the one after it: with d < 1 the
exponential moving average freed from its start (as Adam frees its moments), with d = 1 the plain mean, which
over the last part of training is that of Polyak and Juditsky 1992 and of Izmailov et al. 2018
(arXiv 1803.05407). Training never sees A.
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn import trees
from revgn.networks import ChainParams


@dataclass(frozen=True, slots=True)
class Average:
    """The mean of the weights after each step later than `begin`, with `decay` from each to the one before.

    Parameters
    ----------
    decay : float
        d in (0, 1]; 1 is the plain mean.
    begin : int
        Steps that are left out.
    """

    decay: float = 1.0
    begin: int = 0


class AverageState(NamedTuple):
    """A over the weights of so many steps; before the first of them the raw ones, which cost no memory."""

    steps: int
    params: ChainParams


def init_average(params: ChainParams) -> AverageState:
    """State before the first step."""
    return AverageState(0, params)


def update_average(average: Average, state: AverageState, params: ChainParams, step: int) -> AverageState:
    """Take in the weights after `step` steps.

    Notes
    -----
    Law: A is the sum of d^age W over the sum of d^age, age counted in steps.
    Cost: one pass over memory.
    """
    if step <= average.begin:  # also where a resumed run begins later than it was to
        return init_average(params)
    k, d = state.steps + 1, average.decay
    if k == 1:
        return AverageState(1, params)
    share = (1.0 - d) / (1.0 - d**k) if d < 1 else 1.0 / k
    (params,) = trees.elementwise(lambda a, w: (a + share * (w - a),), state.params, params)
    return AverageState(k, params)
