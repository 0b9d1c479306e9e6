"""Levenberg-Marquardt: a damping that grows where the model of the loss fails and shrinks where it holds.

The gain ratio of a step W - lr D is the actual decrease of the batch's loss over the decrease that its
quadratic model predicts,

    gain ratio = (loss(W) - loss(W - lr D)) / (lr <g, u> - lr^2/2 <u, H u>),   u = J D,

with g and H the mean gradient and curvature in the outputs,

and the damping is multiplied by `raised` below a gain ratio of 1/4, divided by `lowered` above 3/4, within
bounds. A step that raises the loss is not taken. Sources: Marquardt 1963; Nocedal and Wright, algorithm 4.1
for the ratio and its bounds; Martens 2010, section 4.1 for mini-batches.
"""

from dataclasses import replace
from typing import NamedTuple

from revgn.arrays import array_namespace
from revgn.cost import Cost, Sizes, cost
from revgn.errors import UsageError
from revgn.linalg import norm
from revgn.losses import curvature_root, gradient, output_step, value
from revgn.maps import forward
from revgn.networks import ChainParams, Network, join
from revgn.optimizers.gauss_newton import GaussNewton, GaussNewtonState
from revgn.optimizers.optimizer import Linearization, Update, direction, init_state, moved_by, update
from revgn.solvers import MinimumNorm, apply, combined
from revgn.structs import setting, struct


@struct
class LevenbergMarquardt:
    """Gauss-Newton whose damping, the output damping if there is one, follows the gain ratio."""

    inner: GaussNewton = setting(
        "Gauss-Newton with the first damping.", default=GaussNewton(solver=MinimumNorm(damping=1.0))
    )
    raised: float = setting("Factor of the damping after a bad step.", default=4.0, gt=1)
    lowered: float = setting("Divisor of the damping after a good step.", default=3.0, gt=1)
    lowest: float = setting("Smallest damping.", default=1e-6, gt=0)
    highest: float = setting("Largest damping.", default=1e3, gt=0)
    rejects: bool = setting("Whether a step that raises the loss of its batch is left out.", default=True)

    def check(self) -> None:
        """Raise `UsageError` unless lowest <= first damping <= highest."""
        first = _damping(self.inner)
        if not self.lowest <= first <= self.highest:
            raise UsageError(
                f"LevenbergMarquardt: the first damping is {first}; expected one from lowest {self.lowest} "
                f"to highest {self.highest}"
            )


class LevenbergMarquardtState(NamedTuple):
    """The damping of the next step, and the state of Gauss-Newton."""

    damping: float
    inner: GaussNewtonState


@init_state.register(LevenbergMarquardt)
def init_levenberg_marquardt(
    optimizer: LevenbergMarquardt, network: Network, params: ChainParams
) -> LevenbergMarquardtState:
    return LevenbergMarquardtState(_damping(optimizer.inner), init_state(optimizer.inner, network, params))


@update.register(LevenbergMarquardt)
def update_levenberg_marquardt(
    optimizer: LevenbergMarquardt,
    state: LevenbergMarquardtState,
    params: ChainParams,
    at: Linearization,
    scale: float = 1.0,
) -> Update:
    damped = _with_damping(optimizer.inner, state.damping)
    D, inner, info, _ = direction(damped, state.inner, params, at, scale)
    lr = length = scale * damped.lr
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
        moved, step_norm, length = params, 0.0 * step_norm, 0.0
        inner = state.inner
        # that of no step
        info = info and info._replace(rho=1.0, rho_outputs=None if info.rho_outputs is None else 1.0)
    return Update(moved, LevenbergMarquardtState(damping, inner), step_norm, info, lr, length)


@cost.register(LevenbergMarquardt)
def cost_levenberg_marquardt(optimizer: LevenbergMarquardt, sizes: Sizes) -> Cost:
    return cost(optimizer.inner, sizes) + Cost({"gain ratio": sizes.forward + sizes.jvp})


def promise(optimizer: GaussNewton, at: Linearization, D: ChainParams, lr: float) -> float:
    """What the model says that the mean loss falls by, lr <g, u> - lr^2/2 <u, H u>, with u = J D.

    The curvature is the one that the optimizer takes for the loss's; its scale is that of `output_step`.
    """
    u = apply(at.jacobian, D)
    g = gradient(at.loss, at.outputs, at.targets)
    scale = norm(g) / (norm(output_step(at.loss, at.outputs, at.targets)) or 1.0)
    is_exact = optimizer.curvature == "exact"
    R = curvature_root(at.loss, at.outputs, at.targets)[0] if is_exact else None
    slope = float(array_namespace(u).sum(g * u))
    return lr * slope - 0.5 * lr * lr * scale * norm(combined(R, u)) ** 2


def _damping(optimizer: GaussNewton) -> float:
    return optimizer.output_damping or float(getattr(optimizer.solver, "damping", 0.0))


def _with_damping(optimizer: GaussNewton, damping: float) -> GaussNewton:
    if optimizer.output_damping:
        return replace(optimizer, output_damping=damping)
    return replace(optimizer, solver=replace(optimizer.solver, damping=damping))
