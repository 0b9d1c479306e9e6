"""Levenberg-Marquardt: Gauss-Newton with a damping that adapts to the quality of the quadratic model.

The gain ratio of a step W - lr D is the actual decrease of the batch loss over the decrease that the
quadratic model of the loss predicts,

    gain ratio = (loss(W) - loss(W - lr D)) / (lr <g, u> - lr^2/2 <u, H u>),   u = J D,

with g and H the gradient and the curvature of the mean loss with respect to the outputs. If the gain ratio is
below 1/4, the damping is multiplied by `raised`; if it is above 3/4, the damping is divided by `lowered`. The
damping stays within `lowest` and `highest`. A step that raises the loss is rejected. Sources: Marquardt 1963;
Nocedal and Wright 2006, algorithm 4.1, for the ratio and its thresholds; Martens 2010, section 4.1, for
mini-batches.
"""

from dataclasses import replace
from typing import NamedTuple

from revgn.arrays import Array, array_namespace
from revgn.cost import Cost, Sizes, cost
from revgn.errors import UsageError
from revgn.linalg import norm
from revgn.losses import curvature_root, gradient, output_step, value
from revgn.maps import forward
from revgn.networks import ChainParams, Network, from_halves
from revgn.optimizers.gauss_newton import GaussNewton, GaussNewtonState
from revgn.optimizers.optimizer import Linearization, Update, active, direction, init_state, moved_by, update
from revgn.solvers import MinimumNorm, combined, output_change, residuals
from revgn.structs import setting, struct


@struct
class LevenbergMarquardt:
    """Gauss-Newton with a damping that follows the gain ratio.

    The output damping is adapted if it is set, otherwise the damping of the solver.
    """

    inner: GaussNewton = setting(
        "Gauss-Newton optimizer, with the initial damping.",
        default=GaussNewton(solver=MinimumNorm(damping=1.0)),
    )
    raised: float = setting(
        "Factor by which the damping grows if the batch loss falls by less than 1/4 of the prediction.",
        default=4.0,
        gt=1,
    )
    lowered: float = setting(
        "Factor by which the damping shrinks if the batch loss falls by more than 3/4 of the prediction.",
        default=3.0,
        gt=1,
    )
    lowest: float = setting("Lower bound on the damping.", default=1e-6, gt=0)
    highest: float = setting("Upper bound on the damping.", default=1e3, gt=0)
    rejects: bool = setting("Reject a step that raises the loss of its batch.", default=True)

    def check(self) -> None:
        """Raise `UsageError` unless lowest <= initial damping <= highest."""
        if getattr(self.inner.solver, "damping", 0.0) == "leave-one-out":
            raise UsageError(
                "LevenbergMarquardt: the gain ratio chooses the damping, so leave-one-out cannot choose it; "
                "give the initial damping as a number"
            )
        first = _damping(self.inner)
        if not self.lowest <= first <= self.highest:
            raise UsageError(
                f"LevenbergMarquardt: the initial damping is {first}; expected a number between lowest "
                f"({self.lowest}) and highest ({self.highest})"
            )


class LevenbergMarquardtState(NamedTuple):
    """Damping of the next step, and state of the inner Gauss-Newton optimizer."""

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
    damped = active_levenberg_marquardt(optimizer, state)
    found = direction(damped, state.inner, params, at, scale)
    D, inner, info = found.params, found.state, found.solve
    lr = length = scale * damped.lr
    change = output_change(at.jacobian, D)
    predicted = abs(
        predicted_decrease(damped, at, change, lr)
    )  # negative if lr is far beyond the model's minimum
    moved, step_norm = moved_by(params, D, lr, damped.weight_decay)
    network = at.jacobian.network
    z = forward(network, moved, from_halves(network, at.jacobian.point.input))
    decrease = float(value(at.loss, at.outputs, at.targets) - value(at.loss, z, at.targets))
    damping = state.damping
    if not decrease > 0.25 * predicted:  # also if the loss is NaN
        damping = min(optimizer.highest, damping * optimizer.raised)
    elif decrease > 0.75 * predicted:
        damping = max(optimizer.lowest, damping / optimizer.lowered)
    if optimizer.rejects and not decrease >= 0:
        moved, step_norm, length = params, 0.0 * step_norm, 0.0
        inner = state.inner
        # without a step, J D = 0 and rho = 1
        of_outputs = None if info is None or info.rho_outputs is None else 1.0
        info = info and info._replace(rho=1.0, rho_outputs=of_outputs, change=None)
    elif info is not None and found.equation is not None:
        rho, of_outputs = residuals(found.equation, change)
        info = info._replace(rho=rho, rho_outputs=of_outputs, change=change)
    info = info and info._replace(is_measured=True)
    return Update(moved, LevenbergMarquardtState(damping, inner), step_norm, info, lr, length)


@active.register(LevenbergMarquardt)
def active_levenberg_marquardt(optimizer: LevenbergMarquardt, state: LevenbergMarquardtState) -> GaussNewton:
    return _with_damping(optimizer.inner, state.damping)


@cost.register(LevenbergMarquardt)
def cost_levenberg_marquardt(optimizer: LevenbergMarquardt, sizes: Sizes) -> Cost:
    return cost(optimizer.inner, sizes) + Cost({"gain ratio": sizes.forward + sizes.jvp})


def predicted_decrease(optimizer: GaussNewton, at: Linearization, u: Array, lr: float) -> float:
    """Return the decrease of the mean loss predicted by its model, lr <g, u> - lr^2/2 <u, H u>, for u = J D.

    H is the curvature that the optimizer uses (identity or exact), with the scale of `output_step`.
    """
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
