"""K-FAC: Gauss-Newton with a Kronecker-factored block for each weight matrix (Martens and Grosse 2015).

For a coupling y_i = x_i + A W, the block of W in the Gauss-Newton matrix of the mean loss is the mean over
samples of a a^T (x) sum_o b_o b_o^T. Here a is the sample's row of A, and the b_o are the columns of a square
root of the loss's curvature, pulled back to y_i. K-FAC replaces the mean of these products by the product of
the means. With g the gradient and mu the damping,

    D = (P + pi sqrt(mu) I)^-1 g (Q + sqrt(mu)/pi I)^-1        P, Q, pi of `kronecker`, as running means
    m <- momentum m + nu D        W <- W - lr (m + weight_decay W)

Q is exact, because all columns o are pulled back. The factor nu <= 1 keeps lr^2 nu^2 <D, g> below `kl_clip`;
this number is about twice the KL divergence between the predictions before and after the step (Ba, Grosse
and Martens 2017). With little damping, the step of each coupling alone makes the whole change of the outputs,
so the learning rate should be small.
"""

import math
from typing import NamedTuple

from revgn import maps, trees
from revgn.arrays import Deferred, array_namespace, read, ready, runs_ahead, together
from revgn.cost import Cost, Sizes, cost, cost_of_gradient
from revgn.layers import ReadoutParams, ReadoutPoint
from revgn.losses import gradient
from revgn.maps import Halves, Layer, Params
from revgn.networks import ChainParams, Network, points_backward
from revgn.optimizers.kronecker import (
    KroneckerFactors,
    begin_renewal,
    curvature_columns,
    no_factors,
    preconditioned,
)
from revgn.optimizers.optimizer import Direction, Linearization, direction, init_state
from revgn.structs import setting, struct
from revgn.trees import is_empty


@struct
class KFAC:
    """K-FAC with decoupled weight decay.

    When the factors are renewed, the old ones have the weight `decay`, or 1 - 1/k at the k-th renewal if that
    is smaller.

    Notes
    -----
    Cost: one gradient per step. A renewal also pulls back c columns (4 c n h d/2 operations for each
    coupling, and at most c n h elements in memory at once), forms the factors (2 n h^2 and c n d^2 / 2
    operations), and inverts them (7/3 h^3 and 7/3 (d/2)^3 operations; 10/3 of each on a GPU). The state
    holds P, Q and both inverses; at h = 8000 one P in single precision takes 256 MB.
    """

    lr: float = setting("Learning rate.", default=0.03, gt=0, resumable=True)
    damping: float = setting(
        "Damping mu, absolute: in units of the curvature of the mean loss.",
        default=0.03,
        gt=0,
        resumable=True,
    )
    momentum: float = setting("Momentum.", default=0.9, ge=0, lt=1)
    every: int = setting("Number of steps between renewals of the factors.", default=10, ge=1)
    decay: float = setting("Weight of the old factors in the running means.", default=0.95, ge=0, lt=1)
    kl_clip: float | None = setting(
        "Upper bound on lr^2 <D, g> (D direction, g gradient), about twice the KL divergence of a step.",
        default=None,
        gt=0,
    )
    weight_decay: float = setting("Decoupled weight decay.", default=0.0, ge=0, resumable=True)


class KFACState(NamedTuple):
    """Number of updates, factors of each matrix, and running sum m, which is empty without momentum."""

    updates: int
    factors: tuple[KroneckerFactors, ...]
    momentum: ChainParams


@init_state.register(KFAC)
def init_kfac(optimizer: KFAC, network: Network, params: ChainParams) -> KFACState:
    momentum = trees.zeros_like(params) if optimizer.momentum else ()
    trained = [(at, of) for at, of in zip(network.body.layers, params, strict=True) if not is_empty(of)]
    factors = tuple(no_factors(X) for at, of in trained for X in maps.to_matrices(at, of))
    return KFACState(0, factors, momentum)


@direction.register(KFAC)
def direction_kfac(
    optimizer: KFAC, state: KFACState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Direction:
    D, g, factors = _sweep(optimizer, state, params, at)
    if optimizer.kl_clip is not None:
        change = (scale * optimizer.lr) ** 2 * float(trees.dot(D, g))
        if change > optimizer.kl_clip:
            D = trees.scale(math.sqrt(optimizer.kl_clip / change), D)
    if optimizer.momentum:
        D = trees.axpy(optimizer.momentum, state.momentum, D)
    state = KFACState(state.updates + 1, factors, D if optimizer.momentum else ())
    return Direction(D, state, None)


def _sweep(
    optimizer: KFAC, state: KFACState, params: ChainParams, at: Linearization
) -> tuple[ChainParams, ChainParams, tuple[KroneckerFactors, ...]]:
    """Return D, the gradient g and the factors from one backward sweep over the layers.

    The cotangent of the gradient is pulled back together with the columns of the curvature, in front of them.
    """
    layers, network = at.jacobian.network.body.layers, at.jacobian.network
    renewals, since = divmod(state.updates, optimizer.every)
    share = min(1 - 1 / (renewals + 1), optimizer.decay)
    z_bar = gradient(at.loss, at.outputs, at.targets)[None, :, :]
    if not since:
        columns = curvature_columns(at.loss, at.outputs)
        z_bar = array_namespace(z_bar).concat((z_bar, columns), axis=0)
    bar = maps.vjp_input(
        network.readout, ReadoutParams(), ReadoutPoint(), z_bar
    )  # (1, n, d/2), or (1 + c, n, d/2)
    old = iter(reversed(state.factors))
    g: list[Params] = []
    begun: list[Deferred[KroneckerFactors]] = []
    points = points_backward(layers, params, at.jacobian.point)
    for k, point in zip(reversed(range(len(params))), points, strict=True):
        layer, own = layers[k], params[k]
        is_trained = not is_empty(own)
        g_bar = Halves(*(half[0, :, :] for half in bar))
        g.append(maps.vjp_params(layer, own, point, g_bar) if is_trained else own)
        if is_trained and not since:
            parts = maps.kernel_parts(layer, own, point, Halves(*(half[1:, :, :] for half in bar)))
            for part, form in reversed(tuple(zip(parts, maps.weight_forms(layer), strict=True))):
                renewed = begin_renewal(next(old), share, part, optimizer.damping, form.rows, z_bar.shape[1])
                begun.append(renewed if runs_ahead(z_bar) else ready(read(renewed)))
        if k > 0:
            bar = maps.vjp_input(layer, own, point, bar)
    g.reverse()
    factors = state.factors if since else tuple(reversed(read(together(begun))))
    return _preconditioned(layers, g, factors), tuple(g), factors


def _preconditioned(
    layers: tuple[Layer, ...], g: list[Params], factors: tuple[KroneckerFactors, ...]
) -> ChainParams:
    """Return D from the gradient g and the factors of all matrices."""
    of_matrix, D = iter(factors), []
    for layer, own in zip(layers, g, strict=True):
        matrices = () if is_empty(own) else maps.to_matrices(layer, own)
        turned = tuple(preconditioned(next(of_matrix), X) for X in matrices)
        D.append(maps.from_matrices(layer, turned) if turned else own)
    return tuple(D)


@cost.register(KFAC)
def cost_kfac(optimizer: KFAC, sizes: Sizes) -> Cost:
    n, c, layers = sizes.samples, sizes.outputs, sizes.layers
    pulled = c * sum(sizes.tangents[1:])
    grams = sum(2.0 * n * of.positions * (of.features**2 + c * of.width**2) for of in layers)
    inverses = sum(7 / 3 * (layer.features**3 + layer.width**3) for layer in layers)
    sides = sum(layer.features**2 + layer.width**2 for layer in layers)
    own = Cost(
        {
            "factors": (pulled + grams + inverses) / optimizer.every,
            "solve": sum(2.0 * of.features * of.width * (of.features + of.width) for of in layers),
        },
        {
            "factors": (3 + sizes.limits.cholesky) * sides * sizes.number,  # old, new, and factored
            "pull-back": c * n * max(of.positions * max(of.rows, of.width) for of in layers) * sizes.number,
        },
    )
    return cost_of_gradient(sizes, copies=4 if optimizer.momentum else 2) + own
