"""Another optimizer's direction, its matrices made orthogonal: a step of one length along all they span.

    D_k = s U V^T        of the other's D_k = U S V^T without its bias rows       s = sqrt(max(1, (d/2) / h))

The smallest solution of J D = eps does in few directions of the weights what it can, and leaves the features
where they are: the lazy regime of Buffelli et al. 2024, section 5. What is wanted stays what it was, but all
singular directions take part in it. Muon is this for a gradient's running mean (Jordan 2024, whose iteration
this is); for Gauss-Newton with carry it is our own. The bias row keeps its size relative to the matrix.
"""

from dataclasses import dataclass

from revgn.arrays import Array, array_namespace, inner
from revgn.maps import WeightForm
from revgn.networks import ChainParams, Network
from revgn.optimizers.muon import map_weights, matrix_and_bias, orthogonalized, spectral_scale, with_bias
from revgn.optimizers.optimizer import (
    Direction,
    Linearization,
    Optimizer,
    OptimizerState,
    check_part,
    direction,
    init_state,
    update,
    update_along,
)


@dataclass(frozen=True, slots=True)
class Orthogonalized:
    """Direction U V^T of what `optimizer` goes along; decoupled weight decay.

    Parameters
    ----------
    optimizer : Optimizer
        One that has a direction, without a weight decay of its own. What it remembers are its own directions.
    weight_decay : float

    Raises
    ------
    UsageError
        If the optimizer has no direction or a decay of its own.

    Notes
    -----
    Law: the length of the other's direction does not matter.

    Cost: beyond the other's 5 (4 m^2 k + 2 m^3) operations for each weight, m = min(h, d/2) and
    k = max(h, d/2). How the direction was solved for is reported of D, before it is made orthogonal.
    """

    optimizer: Optimizer
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_part("Orthogonalized", self.optimizer)


@init_state.register(Orthogonalized)
def init_orthogonalized(optimizer: Orthogonalized, network: Network, params: ChainParams) -> OptimizerState:
    return init_state(optimizer.optimizer, network, params)


update.register(Orthogonalized)(update_along)


@direction.register(Orthogonalized)
def direction_orthogonalized(
    optimizer: Orthogonalized, state: OptimizerState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    found = direction(optimizer.optimizer, state, params, at, lr)
    return found._replace(params=map_weights(_orthogonal, at.jacobian.network, found.params))


def _orthogonal(form: WeightForm, D: Array) -> Array:
    xp = array_namespace(D)
    matrix, bias = matrix_and_bias(form, D)
    if not matrix.shape[0]:
        return D
    M, s = orthogonalized(matrix), spectral_scale(matrix)
    was = xp.sqrt(inner(matrix, matrix))
    ratio = s * xp.sqrt(inner(M, M)) / xp.where(was > 0, was, xp.ones_like(was))
    return xp.reshape(with_bias(M, s, ratio * bias), D.shape)
