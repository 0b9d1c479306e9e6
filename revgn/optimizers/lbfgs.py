"""L-BFGS with a strong Wolfe line search (Nocedal and Wright 2006, algorithms 7.4 and 7.5).

    p = -H g        W <- W + a p - lr weight_decay W        s = a p,  y = g(W + a p) - g(W)

g is the gradient, and a the step length that `line_search` returns. H is the BFGS approximation of the
inverse Hessian from the last m pairs (s, y). It starts from (s.y / y.y) I of the newest pair, and it is never
formed. Both gradients of a pair are computed on one batch, so batches may change between steps. The line
search, however, takes the loss of the batch as exact, so L-BFGS is meant for full-batch training.
"""

import math
from typing import NamedTuple

from revgn import trees
from revgn.cost import Cost, Sizes, cost, cost_of_gradient
from revgn.losses import value
from revgn.networks import ChainParams, Network, from_halves
from revgn.optimizers.line_search import CURVATURE, Trial, strong_wolfe
from revgn.optimizers.optimizer import Linearization, Update, batch_gradient, init_state, update
from revgn.solvers import jacobian
from revgn.structs import setting, struct


@struct
class LBFGS:
    """L-BFGS with a strong Wolfe line search.

    As long as no pair is stored, the first step length tried is lr min(1, 1/|g|).

    Notes
    -----
    Cost: one gradient, and a forward pass with a gradient for each step length tried; usually one is enough.
    Memory: 2 m copies of the weights.
    """

    lr: float = setting("First step length that the line search tries.", default=1.0, gt=0, resumable=True)
    history: int = setting("Number m of stored pairs of step and gradient change.", default=10, ge=1)
    weight_decay: float = setting(
        "Decoupled weight decay, applied outside the line search.", default=0.0, ge=0, resumable=True
    )


class LBFGSState(NamedTuple):
    """Last m pairs (s, y) with 1/(s.y), oldest first; zeros in the places of missing pairs."""

    steps: tuple[ChainParams, ...]
    changes: tuple[ChainParams, ...]
    inverse_products: tuple[float, ...]


@init_state.register(LBFGS)
def init_lbfgs(optimizer: LBFGS, network: Network, params: ChainParams) -> LBFGSState:
    none = (trees.zeros_like(params),) * optimizer.history
    return LBFGSState(none, none, (0.0,) * optimizer.history)


@update.register(LBFGS)
def update_lbfgs(
    optimizer: LBFGS, state: LBFGSState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Update:
    lr = scale * optimizer.lr
    g = batch_gradient(at)
    p = trees.scale(-1.0, inverse_product(state, g))
    slope = float(trees.dot(g, p))
    if not slope < 0:  # because of rounding, or if the gradient is 0
        state, p = init_lbfgs(optimizer, at.jacobian.network, params), trees.scale(-1.0, g)
        slope = float(trees.dot(g, p))
    first = lr if state.inverse_products[-1] else lr * min(1.0, 1.0 / (math.sqrt(-slope) or 1.0))
    start = Trial(0.0, float(value(at.loss, at.outputs, at.targets)), slope, g)
    found = strong_wolfe(lambda length: _trial(at, params, p, length), start, first)
    step = trees.scale(found.length, p)
    state = (
        _remembered(state, start, found, step)
        if found.length
        else init_lbfgs(optimizer, at.jacobian.network, params)
    )
    if optimizer.weight_decay:
        step = trees.axpy(-lr * optimizer.weight_decay, params, step)
    return Update(trees.add(params, step), state, trees.norm(step), None, lr, found.length)


@cost.register(LBFGS)
def cost_lbfgs(optimizer: LBFGS, sizes: Sizes) -> Cost:
    """Count a step whose line search tries one length, the usual case."""
    search = Cost({"line search": sizes.forward + sizes.jvp})
    return cost_of_gradient(sizes, copies=4 + 2 * optimizer.history) + search


def inverse_product(state: LBFGSState, g: ChainParams) -> ChainParams:
    """Return H g by the two-loop recursion of algorithm 7.4, or g if no pair is stored.

    Notes
    -----
    Law: H <- V^T H V + rho s s^T with V = I - rho y s^T and rho = 1/(s.y), from the oldest pair to the
    newest.
    Cost: 4 m dot products and vector sums.
    """
    pairs = [pair for pair in zip(*state, strict=True) if pair[2]]
    shares = []
    for s, y, rho in reversed(pairs):
        shares.append(rho * float(trees.dot(s, g)))
        g = trees.axpy(-shares[-1], y, g)
    if pairs:
        _, y, rho = pairs[-1]
        g = trees.scale(1.0 / (rho * float(trees.dot(y, y))), g)
    for (s, y, rho), share in zip(pairs, reversed(shares), strict=True):
        g = trees.axpy(share - rho * float(trees.dot(y, g)), s, g)
    return g


def _trial(at: Linearization, params: ChainParams, p: ChainParams, length: float) -> Trial:
    network = at.jacobian.network
    x = from_halves(network, at.jacobian.point.input)
    z, J = jacobian(network, trees.axpy(length, p, params), x)
    g = batch_gradient(at._replace(outputs=z, jacobian=J))
    return Trial(length, float(value(at.loss, z, at.targets)), float(trees.dot(g, p)), g)


def _remembered(state: LBFGSState, start: Trial, found: Trial, s: ChainParams) -> LBFGSState:
    """Return the state with the new pair in place of the oldest; unchanged unless s.y is well above 0."""
    y = trees.axpy(-1.0, start.gradient, found.gradient)
    product = float(trees.dot(s, y))
    if not (found.slope > CURVATURE * start.slope and product > 0):
        return state
    return LBFGSState(
        (*state.steps[1:], s), (*state.changes[1:], y), (*state.inverse_products[1:], 1.0 / product)
    )
