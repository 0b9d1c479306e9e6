"""From settings to the optimizer: a plain one, or a hybrid of two, at the pace asked for."""

from dataclasses import replace

from revgn.errors import UsageError
from revgn.linalg import PinvRule
from revgn.optimizers import (
    KFAC,
    LBFGS,
    SGD,
    Adam,
    Blend,
    FeatureMetric,
    GaussNewton,
    LevenbergMarquardt,
    Muon,
    Optimizer,
    Orthogonalized,
    Paced,
    Switch,
)
from revgn.solvers import BlockInverse, ConjugateGradients, MinimumNorm, Solver
from revgn.training.relevance import optimizers_of
from revgn.training.settings import DEFAULT_LR, OptimizerName, OptimizerSettings, default_lr


def build_optimizer(settings: OptimizerSettings) -> Optimizer:
    """Optimizer that the settings describe.

    Raises
    ------
    UsageError
        If parts do not go together: what takes its steps itself cannot be paced or blended.
    """
    decay = settings.weight_decay if settings.decay_to == "zero" else 0.0
    plain = [_plain(settings, name, decay) for name in optimizers_of(settings)]
    if settings.orthogonal:
        plain[0] = Orthogonalized(replace(plain[0], weight_decay=0.0), decay)
    if settings.hybrid == "switch":
        first, second = (_paced(settings, optimizer) for optimizer in plain)
        return Switch(first, second, settings.switch_at, settings.patience, _second_rate(settings))
    return _paced(settings, _together(settings, plain, decay))


def _together(settings: OptimizerSettings, plain: list[Optimizer], decay: float) -> Optimizer:
    """One optimizer that goes along directions of others, or the only one there is."""
    if settings.hybrid == "none":
        return plain[0]
    first, *others = (replace(optimizer, weight_decay=0.0) for optimizer in plain)
    if settings.hybrid != "blend":
        raise UsageError(f"optimizer.hybrid: {settings.hybrid} was removed")
    return Blend(first, others[0], _second_rate(settings), settings.second_share, decay)


def _second_rate(settings: OptimizerSettings) -> float:
    """The second's learning rate, relative to the first's."""
    assert settings.second is not None
    first = settings.lr or default_lr(settings)
    return (settings.second_lr or DEFAULT_LR[settings.second]) / first


def _paced(settings: OptimizerSettings, optimizer: Optimizer) -> Optimizer:
    """Return `optimizer` at the pace of the settings, or as it is where they ask for none."""
    decay = settings.weight_decay if settings.decay_to == "start" else 0.0
    bounds = settings.trust_radius, settings.trust_change
    if settings.length_rule == "fixed" and bounds == (None, None) and not decay:
        return optimizer
    rule = settings.length_rule
    return Paced(optimizer, rule, settings.halvings, 1e-4, *bounds, decay)


def _plain(settings: OptimizerSettings, name: OptimizerName, weight_decay: float) -> Optimizer:
    if name == "sgd":
        return SGD(settings.momentum, settings.nesterov, weight_decay)
    if name == "adam":
        return Adam(settings.beta1, settings.beta2, settings.eps, weight_decay)
    if name == "muon":
        bias = Adam(settings.beta1, settings.beta2, settings.eps)
        return Muon(settings.momentum, settings.nesterov, weight_decay, bias)
    if name == "kfac":
        return KFAC(
            settings.damping,
            settings.momentum,
            settings.factor_every,
            settings.factor_mean,
            settings.kl_clip,
            weight_decay,
        )
    if name == "lbfgs":
        return LBFGS(settings.history, weight_decay)
    solver: Solver
    if settings.solver == "auto":
        raise UsageError("optimizer.solver: auto is not chosen yet; let choose_solver do it")
    if settings.inverse == "minimum-norm" and settings.solver == "cg":
        solver = ConjugateGradients(
            settings.damping,
            settings.tolerance,
            settings.max_iterations,
            settings.preconditioner,
            settings.block_samples,
            settings.directions,
            settings.outputs,
        )
    elif settings.inverse == "minimum-norm":
        solver = MinimumNorm(settings.damping, settings.outputs, settings.memory)
    else:
        rule = PinvRule(settings.rtol, settings.atol, settings.damping)
        solver = BlockInverse(settings.shares, rule)
    optimizer = GaussNewton(
        solver,
        weight_decay,
        settings.carry,
        settings.carry_decay,
        settings.carry_limit,
        settings.curvature,
        settings.output_damping,
        _metric(settings),
    )
    if not settings.adapt_damping:
        return optimizer
    factors = (settings.damping_raised, settings.damping_lowered)
    return LevenbergMarquardt(optimizer, *factors, settings.damping_min, settings.damping_max)


def _metric(settings: OptimizerSettings) -> FeatureMetric | None:
    if settings.metric == "identity":
        return None
    return FeatureMetric(settings.metric_floor, settings.metric_mean, settings.metric_every)
