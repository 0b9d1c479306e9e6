"""Orthogonalization of another optimizer's direction: all singular values of each weight's step become equal.

    D_k = s U V^T        for the inner D_k = U S V^T without its bias rows        s = sqrt(max(1, (d/2) / h))

The minimum-norm solution of J D = eps moves the weights along few singular directions and hardly changes the
features (the lazy regime of Buffelli et al. 2024, section 5). After orthogonalization, all singular
directions move equally. Muon is the orthogonalization of a running mean of the gradient (Jordan et al. 2024);
the use for Gauss-Newton with momentum is our own. The bias row keeps its
size relative to the matrix.
"""

from functools import partial

from revgn.arrays import Array, array_namespace, blockwise, inner
from revgn.cost import Cost, Sizes, cost
from revgn.maps import WeightForm
from revgn.networks import ChainParams, Network
from revgn.optimizers import muon
from revgn.optimizers.gauss_newton import GaussNewton
from revgn.optimizers.optimizer import (
    Direction,
    DirectionOptimizer,
    Linearization,
    OptimizerState,
    check_direction,
    direction,
    init_state,
    replaced_by,
)
from revgn.optimizers.polar import (
    Polar,
    cost_of_polar_factors,
    polar_factor,
    polar_setting,
    root_or_one,
)
from revgn.structs import setting, struct


@struct
class Orthogonalized:
    """Direction U V^T in place of the inner optimizer's direction U S V^T, for each weight matrix.

    Learning rate, weight decay and state are taken from the inner optimizer, so momentum accumulates
    directions before they are orthogonalized.

    Notes
    -----
    Law: the result does not depend on the length of the inner direction.
    Cost: the inner direction, and a polar factor of each weight (see `revgn.optimizers.polar`). If a solver
    found the inner direction, rho of the orthogonalized direction is known only at the steps at which
    Gauss-Newton measures it, which costs one jvp.
    """

    inner: DirectionOptimizer = setting(
        "Optimizer whose direction is orthogonalized.", default=GaussNewton(lr=0.02), family="optimizer"
    )

    polar: Polar = polar_setting()

    def check(self) -> None:
        """Raise `UsageError` unless the inner optimizer has a direction."""
        check_direction("Orthogonalized", self.inner)

    @property
    def lr(self) -> float:
        """Learning rate of the inner optimizer."""
        return float(self.inner.lr)

    @property
    def weight_decay(self) -> float:
        """Weight decay of the inner optimizer."""
        return float(self.inner.weight_decay)


@init_state.register(Orthogonalized)
def init_orthogonalized(optimizer: Orthogonalized, network: Network, params: ChainParams) -> OptimizerState:
    return init_state(optimizer.inner, network, params)


@direction.register(Orthogonalized)
def direction_orthogonalized(
    optimizer: Orthogonalized,
    state: OptimizerState,
    params: ChainParams,
    at: Linearization,
    scale: float = 1.0,
) -> Direction:
    found = direction(optimizer.inner, state, params, at, scale)
    D = muon.map_weights(partial(_orthogonal, optimizer.polar), at.jacobian.network, found.params)
    return replaced_by(found, D)


@cost.register(Orthogonalized)
def cost_orthogonalized(optimizer: Orthogonalized, sizes: Sizes) -> Cost:
    return cost(optimizer.inner, sizes) + cost_of_polar_factors(optimizer.polar, sizes)


def _orthogonal(method: Polar, form: WeightForm, D: Array) -> Array:
    xp = array_namespace(D)
    matrix, bias = muon.matrix_and_bias(form, D)
    if not matrix.shape[0]:
        return D
    M, s = polar_factor(method, matrix), muon.spectral_scale(matrix)

    def ratio(now: Array, before: Array) -> tuple[Array]:
        return (s * array_namespace(now).sqrt(now) / root_or_one(before),)

    (of_bias,) = blockwise(ratio, inner(M, M), inner(matrix, matrix))
    return xp.reshape(muon.with_bias(M, s, bias, of_bias), D.shape)
