"""How far to go along a direction: bounds on the step, lengths that a batch agrees to, a pull to the start.

With E = D + w W + w_0 (W - W_0), D the direction of another optimizer, w its decay, W_0 where training began,

    W <- W - t E        t = lr / 2^k, lr made so small first that
                        |t E| <= trust_radius  and  |t J E| / sqrt(n) <= trust_change

fixed         k = 0
backtracking  the least k with loss(W - t E) <= loss(W) - c t max(<grad, E>, 0), on the batch itself
second-batch  k at the first minimum of a fresh batch's loss(W - t E)

Sources: Nocedal and Wright 2006, algorithm 3.1, of which the slope <grad, E> = <dloss/dz, J E> takes one jvp
(Vaswani et al. 2019 have it for mini-batches); Li, Grandvalet and Davoine 2018 for the decay towards the
start. A batch flatters the direction that was fitted to it; a fresh one does not.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.errors import UsageError
from revgn.linalg import norm
from revgn.losses import gradient, value
from revgn.maps import forward
from revgn.networks import ChainParams, Network, join
from revgn.optimizers.optimizer import (
    Linearization,
    Optimizer,
    OptimizerState,
    Update,
    check_direction,
    direction,
    init_state,
    update,
)
from revgn.solvers import apply

Length = Literal["fixed", "backtracking", "second-batch"]


@dataclass(frozen=True, slots=True)
class Paced:
    """An optimizer's direction, gone along as far as bounds and a rule allow.

    Parameters
    ----------
    optimizer : Optimizer
        Any that has a direction. Its weight decay is part of E.
    length : {"fixed", "backtracking", "second-batch"}
    halvings : int
        The largest k.
    decrease : float
        c of backtracking, in [0, 1).
    trust_radius : float or None
        Bound on the Euclidean norm of the step.
    trust_change : float or None
        Bound on the root mean square over samples of the outputs' change |t J E|, to first order.
    decay_to_start : float
        w_0.

    Raises
    ------
    UsageError
        If the optimizer has no direction, or a number is out of its range.

    Notes
    -----
    Law: where a bound is what shortens the step it holds with equality. By backtracking the batch's loss
    never rises: where no length keeps it down, it is 0, and only the optimizer's state goes on.

    Cost: a norm of E for `trust_radius`; one jvp for `trust_change` or backtracking; a forward pass for each
    length tried, one at least by backtracking, two by a second batch.
    """

    optimizer: Optimizer
    length: Length = "fixed"
    halvings: int = 10
    decrease: float = 1e-4
    trust_radius: float | None = None
    trust_change: float | None = None
    decay_to_start: float = 0.0

    def __post_init__(self) -> None:
        check_direction("Paced", self.optimizer)
        if self.length not in get_args(Length):
            raise UsageError(
                f"Paced: length is {self.length!r}; expected fixed, backtracking or second-batch"
            )
        if not (self.halvings >= 1 and 0 <= self.decrease < 1 and 0 <= self.decay_to_start < math.inf):
            raise UsageError(
                f"Paced: halvings {self.halvings}, decrease {self.decrease}, decay_to_start "
                f"{self.decay_to_start}; expected halvings >= 1, 0 <= decrease < 1 and decay_to_start >= 0"
            )
        for name, bound in (("trust_radius", self.trust_radius), ("trust_change", self.trust_change)):
            if bound is not None and not bound > 0:
                raise UsageError(f"Paced: {name} is {bound}; expected a number > 0, or None")


class PacedState(NamedTuple):
    """The optimizer's state, and W_0; empty without a decay towards it."""

    inner: OptimizerState
    start: ChainParams


@init_state.register(Paced)
def init_paced(optimizer: Paced, network: Network, params: ChainParams) -> PacedState:
    return PacedState(
        init_state(optimizer.optimizer, network, params), params if optimizer.decay_to_start else ()
    )


@update.register(Paced)
def update_paced(
    optimizer: Paced, state: PacedState, params: ChainParams, at: Linearization, lr: float
) -> Update:
    if optimizer.length == "second-batch" and at.fresh is None:
        raise UsageError(
            "update(Paced): the length by a second batch needs one; give it as Linearization.fresh"
        )
    E, inner, info = direction(optimizer.optimizer, state.inner, params, at, lr)
    if optimizer.optimizer.weight_decay:
        E = trees.axpy(optimizer.optimizer.weight_decay, params, E)
    if optimizer.decay_to_start:
        w = optimizer.decay_to_start
        (E,) = trees.elementwise(lambda Ei, Wi, Si: (Ei + w * (Wi - Si),), E, params, state.start)
    JE = apply(at.jacobian, E) if optimizer.trust_change or optimizer.length == "backtracking" else None
    size = trees.norm(E)
    t = _trusted(optimizer, size, JE, lr)
    if optimizer.length == "fixed":
        moved = trees.axpy(-t, E, params)
    elif optimizer.length == "backtracking":
        assert JE is not None
        t, moved = _backtracked(optimizer, params, at, E, JE, t)
    else:
        t, moved = _liked(optimizer, params, at, E, t)
    return Update(moved, PacedState(inner, state.start), t * size, info, t)


def _trusted(optimizer: Paced, size: Array, JE: Array | None, lr: float) -> float:
    """The rate, or the longest length that keeps both bounds; `size` is |E|."""
    lengths = [lr]
    if optimizer.trust_radius is not None:
        lengths.append(_ratio(optimizer.trust_radius, float(size)))
    if optimizer.trust_change is not None:
        assert JE is not None
        lengths.append(_ratio(optimizer.trust_change, norm(JE) / math.sqrt(JE.shape[0])))
    return min(lengths)


def _ratio(bound: float, size: float) -> float:
    return bound / size if size else math.inf


def _backtracked(
    optimizer: Paced, params: ChainParams, at: Linearization, E: ChainParams, JE: Array, t: float
) -> tuple[float, ChainParams]:
    """The first length that lowers the batch's loss enough, with the parameters there; 0 if none does."""
    start = float(value(at.loss, at.outputs, at.targets))
    slope = float(array_namespace(JE).sum(gradient(at.loss, at.outputs, at.targets) * JE))
    batch = join(at.jacobian.point.input, at.jacobian.network.features), at.targets
    for _ in range(optimizer.halvings + 1):
        moved = trees.axpy(-t, E, params)
        if _loss(at, moved, batch) <= start - optimizer.decrease * t * max(slope, 0.0):
            return t, moved
        t *= 0.5
    return 0.0, params


def _liked(
    optimizer: Paced, params: ChainParams, at: Linearization, E: ChainParams, t: float
) -> tuple[float, ChainParams]:
    """The length at the first minimum of the fresh batch's loss, with the parameters there."""
    assert at.fresh is not None
    moved = trees.axpy(-t, E, params)
    lowest = _loss(at, moved, at.fresh)
    for _ in range(optimizer.halvings):
        shorter = trees.axpy(-0.5 * t, E, params)
        loss = _loss(at, shorter, at.fresh)
        if not loss < lowest and math.isfinite(lowest):
            break
        t, moved, lowest = 0.5 * t, shorter, loss
    return t, moved


def _loss(at: Linearization, params: ChainParams, batch: tuple[Array, Array]) -> float:
    inputs, targets = batch
    return float(value(at.loss, forward(at.jacobian.network, params, inputs), targets))
