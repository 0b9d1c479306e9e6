"""Another optimizer's direction, its matrices made orthogonal: a step of one length along all they span.

    D_k = s U V^T        of the other's D_k = U S V^T without its bias rows       s = sqrt(max(1, (d/2) / h))

The smallest solution of J D = eps moves the weights in few directions and leaves the features where they are
(the lazy regime of Buffelli et al. 2024, section 5); here all singular directions take part. Muon is this for
a gradient's running mean (Jordan 2024, whose iteration this is); for Gauss-Newton with momentum it is our
own. The bias row keeps its size relative to the matrix.
"""

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
    measured,
)
from revgn.structs import setting, struct


@struct
class Orthogonalized:
    """Direction U V^T of the inner optimizer's direction U S V^T, with its learning rate and weight decay.

    The state is the inner optimizer's: momentum collects directions before they are orthogonalized.

    Notes
    -----
    Law: the length of the inner direction does not matter.
    Cost: beyond the inner direction that of `revgn.optimizers.muon`, and a jvp where D was solved for: rho is
    that of the orthogonal direction.
    """

    inner: DirectionOptimizer = setting(
        "Optimizer whose direction is orthogonalized.", default=GaussNewton(lr=0.02), family="optimizer"
    )

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
    D = muon.map_weights(_orthogonal, at.jacobian.network, found.params)
    return found._replace(params=D, solve=measured(found, D))


@cost.register(Orthogonalized)
def cost_orthogonalized(optimizer: Orthogonalized, sizes: Sizes) -> Cost:
    return cost(optimizer.inner, sizes) + muon.cost_of_orthogonalizing(sizes)


def _orthogonal(form: WeightForm, D: Array) -> Array:
    xp = array_namespace(D)
    matrix, bias = muon.matrix_and_bias(form, D)
    if not matrix.shape[0]:
        return D
    M, s = muon.orthogonalized(matrix), muon.spectral_scale(matrix)

    def ratio(now: Array, before: Array) -> tuple[Array]:
        return (s * array_namespace(now).sqrt(now) / muon.root_or_one(before),)

    (of_bias,) = blockwise(ratio, inner(M, M), inner(matrix, matrix))
    return xp.reshape(muon.with_bias(M, s, bias, of_bias), D.shape)
