"""Levenberg-Marquardt: a damping that grows where the model of the loss fails and shrinks where it holds.

A step W - lr D is judged by its gain, what the batch's loss falls by over what its quadratic model promises,

    gain = (loss(W) - loss(W - lr D)) / (lr <g, u> - lr^2/2 <u, H u>),   u = J D, g and H mean gradient and
                                                                         curvature in the outputs

and the damping is multiplied by `raised` below a gain of 1/4, divided by `lowered` above 3/4, within bounds.
A step that raises the loss is not taken. Sources: Marquardt 1963; Nocedal and Wright, algorithm 4.1 for the
ratio and its bounds; Martens 2010, section 4.1 for mini-batches.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from revgn.arrays import array_namespace
from revgn.errors import UsageError
from revgn.linalg import norm
from revgn.losses import gradient, output_step, value
from revgn.maps import forward
from revgn.networks import ChainParams, Network, join
from revgn.optimizers.gauss_newton import GaussNewton, GaussNewtonState, wanted_of
from revgn.optimizers.optimizer import Linearization, Update, direction, init_state, moved_by, update
from revgn.solvers import apply, combined, damping_of, with_damping


@dataclass(frozen=True, slots=True)
class LevenbergMarquardt:
    """Gauss-Newton whose damping follows the gain: its output damping where it has one, else its solver's.

    Parameters
    ----------
    optimizer : GaussNewton
        Its damping is the first.
    raised, lowered : float
        Factors > 1 of the damping.
    lowest, highest : float
        Bounds of the damping.
    rejects : bool
        Whether a step that raises the batch's loss is left out.

    Raises
    ------
    UsageError
        If a factor is not above 1, the bounds are not 0 < lowest <= highest, or the first damping is not
        within them.
    """

    optimizer: GaussNewton
    raised: float = 4.0
    lowered: float = 3.0
    lowest: float = 1e-6
    highest: float = 1e3
    rejects: bool = True

    def __post_init__(self) -> None:
        if not (self.raised > 1 and self.lowered > 1 and 0 < self.lowest <= self.highest):
            raise UsageError(
                f"LevenbergMarquardt: raised {self.raised}, lowered {self.lowered}, lowest {self.lowest}, "
                f"highest {self.highest}; expected factors > 1 and 0 < lowest <= highest"
            )
        first = _damping(self.optimizer)
        if not self.lowest <= first <= self.highest:
            raise UsageError(
                f"LevenbergMarquardt: the first damping is {first}; "
                f"expected one from lowest {self.lowest} to highest {self.highest}"
            )


class LevenbergMarquardtState(NamedTuple):
    """The damping of the next step, and the state of Gauss-Newton."""

    damping: float
    inner: GaussNewtonState


@init_state.register(LevenbergMarquardt)
def init_levenberg_marquardt(
    optimizer: LevenbergMarquardt, network: Network, params: ChainParams
) -> LevenbergMarquardtState:
    return LevenbergMarquardtState(
        _damping(optimizer.optimizer), init_state(optimizer.optimizer, network, params)
    )


@update.register(LevenbergMarquardt)
def update_levenberg_marquardt(
    optimizer: LevenbergMarquardt,
    state: LevenbergMarquardtState,
    params: ChainParams,
    at: Linearization,
    lr: float,
) -> Update:
    damped = _with_damping(optimizer.optimizer, state.damping)
    D, inner, info = direction(damped, state.inner, params, at, lr)
    promised = abs(promise(damped, at, D, lr))  # below 0 where lr goes far beyond the model's minimum
    moved, step_norm = moved_by(params, D, lr, damped.weight_decay)
    network = at.jacobian.network
    z = forward(network, moved, join(at.jacobian.point.input, network.features))
    gained = float(value(at.loss, at.outputs, at.targets) - value(at.loss, z, at.targets))
    damping = state.damping
    if not gained > 0.25 * promised:  # also where the loss is not a number
        damping = min(optimizer.highest, damping * optimizer.raised)
    elif gained > 0.75 * promised:
        damping = max(optimizer.lowest, damping / optimizer.lowered)
    if optimizer.rejects and not gained >= 0:
        moved, step_norm, lr = params, 0.0 * step_norm, 0.0
        inner = state.inner
    return Update(moved, LevenbergMarquardtState(damping, inner), step_norm, info, lr)


def promise(optimizer: GaussNewton, at: Linearization, D: ChainParams, lr: float) -> float:
    """What the model says that the mean loss falls by, lr <g, u> - lr^2/2 <u, H u>, with u = J D.

    The curvature is the one that the optimizer takes for the loss's; its scale is that of `output_step`.
    """
    u = apply(at.jacobian, D)
    g = gradient(at.loss, at.outputs, at.targets)
    scale = norm(g) / (norm(output_step(at.loss, at.outputs, at.targets)) or 1.0)
    J, _ = wanted_of(replace(optimizer, output_damping=0.0), at)  # R^T dz/dW, or dz/dW itself
    slope = float(array_namespace(u).sum(g * u))
    return lr * slope - 0.5 * lr * lr * scale * norm(combined(J.outputs, u)) ** 2


def _damping(optimizer: GaussNewton) -> float:
    return optimizer.output_damping or damping_of(optimizer.solver)


def _with_damping(optimizer: GaussNewton, damping: float) -> GaussNewton:
    if optimizer.output_damping:
        return replace(optimizer, output_damping=damping)
    return replace(optimizer, solver=with_damping(optimizer.solver, damping))
