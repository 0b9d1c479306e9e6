"""Which settings the chosen optimizer and average use, and which combinations make no sense.

Who sets what nobody reads is told so: a run never carries a number that did nothing.
"""

import math

from revgn.errors import UsageError
from revgn.training.settings import Config, OptimizerName, OptimizerSettings, config_dict, flat

_BLOCKS = ("block_samples", "directions")
_CG = ("tolerance", "max_iterations", "preconditioner", *_BLOCKS)
_INVERSE = ("inverse", "shares", "outputs", "damping", "rtol", "atol", "solver", "memory", *_CG)
_ADAPTED = ("damping_raised", "damping_lowered", "damping_min", "damping_max")
_CURVATURE = ("curvature", "output_damping", "adapt_damping", *_ADAPTED)
_METRIC = ("metric_floor", "metric_mean", "metric_every")
USED = {
    "gauss-newton": (
        *_INVERSE,
        *_CURVATURE,
        *_METRIC,
        "metric",
        "carry",
        "carry_decay",
        "carry_limit",
        "orthogonal",
    ),
    "sgd": ("momentum", "nesterov", "orthogonal"),
    "adam": ("beta1", "beta2", "eps", "orthogonal"),
    "muon": ("momentum", "nesterov", "beta1", "beta2", "eps"),
    "kfac": ("damping", "momentum", "factor_every", "factor_mean", "kl_clip", "orthogonal"),
    "lbfgs": ("history",),
}
_OF_AVERAGE = {"exponential": "average_decay", "tail": "average_from"}
_OF_HYBRID = {
    "none": (),
    "switch": ("second", "second_lr", "switch_at", "patience"),
    "blend": ("second", "second_lr", "second_share"),
    "couplings": ("second", "second_lr", "couplings"),
    "agreement": (),
}
_OF_OTHER_INVERSE = {"block": ("outputs", "solver", "memory"), "minimum-norm": ("shares", "rtol", "atol")}


def unused_settings(config: Config) -> tuple[str, ...]:
    """Dotted paths of the settings that the chosen optimizer, or the chosen average, does not use."""
    of_others = [name for kind, name in _OF_AVERAGE.items() if kind != config.training.average]
    return (*_unused_by(config.optimizer), *(f"training.{name}" for name in of_others))


def _unused_by(optimizer: OptimizerSettings) -> tuple[str, ...]:
    names = optimizers_of(optimizer)
    used = {name for optimizer_name in names for name in USED[optimizer_name]}
    if "gauss-newton" in names:
        used -= set(_OF_OTHER_INVERSE[optimizer.inverse])
        if optimizer.inverse == "block" or optimizer.solver == "dense":
            used -= set(_CG)
        if optimizer.preconditioner == "none":
            used -= set(_BLOCKS)
        if optimizer.solver == "cg":
            used -= {"memory"}
        used -= set() if optimizer.adapt_damping else set(_ADAPTED)
        used -= set() if optimizer.curvature == "exact" else {"output_damping"}
        used -= set() if optimizer.metric == "features" else set(_METRIC)
    used |= {*_OF_HYBRID[optimizer.hybrid], *([] if optimizer.length_rule == "fixed" else ["halvings"])}
    tables = (*USED.values(), *_OF_HYBRID.values(), ("halvings",))
    known = dict.fromkeys(name for names in tables for name in names)
    return tuple(f"optimizer.{name}" for name in known if name not in used)


def optimizers_of(optimizer: OptimizerSettings) -> tuple[OptimizerName, ...]:
    """Names of the optimizers that work: one, or the two of a hybrid."""
    has_second = optimizer.second is not None and "second" in _OF_HYBRID[optimizer.hybrid]
    return (optimizer.name, optimizer.second) if has_second and optimizer.second else (optimizer.name,)


def check_relevance(config: Config) -> None:
    """Raise `UsageError` where a setting is not used, or a combination makes no sense."""
    settings, defaults = flat(config_dict(config)), flat(config_dict(Config()))
    for path in unused_settings(config):
        if settings[path] != defaults[path]:
            raise UsageError(f"{path}: {_who(config, path)} does not use it; leave it out")
    if "gauss-newton" in optimizers_of(config.optimizer):
        _check_curvature(config.optimizer)
        if config.optimizer.metric == "features" and config.network.activations == "rebuild":
            raise UsageError("optimizer.metric: features has to keep them; take network.activations=keep")
    _check_steps(config.optimizer)
    for path, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{path}: {value} cannot be used; expected a finite number")


def _who(config: Config, path: str) -> str:
    section, _, name = path.partition(".")
    if section == "training":
        return f"training.average {config.training.average}"
    optimizer = config.optimizer
    if name == "halvings":
        return f"optimizer.length_rule {optimizer.length_rule}"
    if any(name in names for names in _OF_HYBRID.values()):
        return f"optimizer.hybrid {optimizer.hybrid}"
    names = optimizers_of(optimizer)
    if "gauss-newton" not in names:
        return " with ".join(names)
    if name in _ADAPTED:
        return "gauss-newton without adapt_damping"
    if name in _METRIC:
        return "gauss-newton with metric identity"
    if name == "output_damping":
        return f"gauss-newton with curvature {optimizer.curvature}"
    if name in (*_CG, "memory") and optimizer.inverse == "minimum-norm":
        used_by_cg = name in _BLOCKS and optimizer.solver != "dense"
        return "cg without preconditioner" if used_by_cg else f"gauss-newton with solver {optimizer.solver}"
    return f"gauss-newton with inverse {optimizer.inverse}"


def _check_curvature(optimizer: OptimizerSettings) -> None:
    exact = optimizer.curvature == "exact"
    if exact and optimizer.inverse == "block" and not optimizer.output_damping:
        raise UsageError(
            "optimizer.curvature: the block inverse takes the exact one through optimizer.output_damping; "
            "give it a number > 0, such as 0.1"
        )
    if exact and optimizer.outputs == "contrasts":
        raise UsageError("optimizer.outputs: the exact curvature takes the contrasts by itself; leave it out")
    if optimizer.adapt_damping and not (optimizer.output_damping or optimizer.damping):
        raise UsageError("optimizer.adapt_damping: a first damping is missing, such as optimizer.damping=1")


def _check_steps(optimizer: OptimizerSettings) -> None:
    if optimizer.orthogonal and optimizer.adapt_damping:
        raise UsageError("optimizer.orthogonal: adapt_damping judges its own steps; leave one of the two out")
    if optimizer.adapt_damping and optimizer.hybrid not in ("none", "switch"):
        raise UsageError(
            f"optimizer.adapt_damping: judges its own steps, so it is no part of hybrid {optimizer.hybrid}"
        )
    if optimizer.decay_to == "start" and not optimizer.weight_decay:
        raise UsageError("optimizer.decay_to: a decay towards the start needs optimizer.weight_decay > 0")
    if "second" in _OF_HYBRID[optimizer.hybrid] and optimizer.second in (None, optimizer.name):
        raise UsageError(
            f"optimizer.second: is {optimizer.second}; hybrid {optimizer.hybrid} is of {optimizer.name} "
            "and another optimizer"
        )
    if optimizer.hybrid == "switch" and (optimizer.switch_at is None) == (optimizer.patience is None):
        raise UsageError("optimizer.switch_at: a switch takes either this or optimizer.patience")
    if (
        optimizer.hybrid == "couplings"
        and optimizer.inverse == "block"
        and "gauss-newton" in optimizers_of(optimizer)
    ):
        raise UsageError(
            "optimizer.hybrid: couplings takes the minimum norm; the block inverse is of whole blocks"
        )
    if optimizer.hybrid == "couplings" and not optimizer.couplings:
        raise UsageError(f"optimizer.couplings: is missing; list those that {optimizer.name} is for")
