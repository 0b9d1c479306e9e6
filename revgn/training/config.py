"""Settings: frozen, strict, written to the run as they are.

The dotted path of a field (`optimizer.lr`) is its name everywhere: in TOML files, behind `--set`, and as
attribute `config.optimizer.lr` of a run. Precedence: option, file, preset, default.
"""

import difflib
import math
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from revgn.errors import UsageError
from revgn.layers import Activation
from revgn.linalg import PAPER_RULE
from revgn.networks import REFERENCE, Activations
from revgn.optimizers import Length, ScheduleKind

Count = Annotated[int, Meta(ge=1, le=10**12)]
NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
OptimizerName = Literal["gauss-newton", "sgd", "adam", "muon", "kfac", "lbfgs"]


class DataSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where images or tables come from; see `revgn.data.load_dataset`."""

    name: str = "digits"
    folder: str | None = None
    subset: Count | None = None
    subset_seed: int | None = None
    inputs: str | None = None
    targets: str | None = None
    test_inputs: str | None = None
    test_targets: str | None = None
    target: str | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    test_fraction: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    crop: bool = False


class NetworkSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The reversible network; see `revgn.networks.Architecture`."""

    blocks: Count = 2
    hidden: Count = 512
    activation: Activation = "relu"
    first_block: Literal["same", "identity", "relu"] = "same"
    activations: Activations = "keep"
    init_scale: NotNegative = 1e-3


class OptimizerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The optimizer and its schedule; how long its steps are, and the hybrid that it is part of.

    `lr` None takes the optimizer's default, of `DEFAULT_LR`; of other settings that are not given `DEFAULTS`
    has those of Muon and K-FAC. A `second` optimizer has a rate of its own on the same schedule, `second_lr`,
    and takes its other settings from where the first does.
    """

    name: OptimizerName = "gauss-newton"
    lr: Positive | None = None
    schedule: ScheduleKind = "constant"
    warmup: Annotated[int, Meta(ge=0)] = 0
    floor: Annotated[float, Meta(ge=0, le=1)] = 0.0
    every: Count = 1000
    gamma: Annotated[float, Meta(gt=0, le=1)] = 0.1
    weight_decay: NotNegative = 0.0
    inverse: Literal["block", "minimum-norm"] = "minimum-norm"
    shares: Literal["uniform", "first", "last", "full-rank"] | tuple[float, ...] = "full-rank"
    outputs: Literal["logits", "contrasts"] = "logits"
    solver: Literal["dense", "cg"] = "dense"
    tolerance: Annotated[float, Meta(gt=0, lt=1)] = 1e-3
    max_iterations: Count = 1000
    preconditioner: Literal["blocks", "none"] = "blocks"
    block_samples: Count = 4096
    directions: Annotated[int, Meta(ge=0)] = 1000
    damping: NotNegative = 0.0
    curvature: Literal["identity", "exact"] = "identity"
    output_damping: NotNegative = 0.0
    adapt_damping: bool = False
    damping_raised: Annotated[float, Meta(gt=1)] = 4.0
    damping_lowered: Annotated[float, Meta(gt=1)] = 3.0
    damping_min: Positive = 1e-6
    damping_max: Positive = 1e3
    carry: Annotated[float, Meta(ge=0, le=1)] = 0.0
    carry_decay: Annotated[float, Meta(ge=0, le=1)] = 1.0
    rtol: NotNegative | None = None
    atol: NotNegative = 0.0
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    beta1: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1)] = 0.999
    eps: Positive = 1e-8
    factor_every: Count = 10
    factor_mean: Annotated[float, Meta(ge=0, lt=1)] = 0.95
    kl_clip: Positive | None = None
    history: Count = 10
    length_rule: Length = "fixed"
    halvings: Annotated[int, Meta(ge=1, le=60)] = 10
    trust_radius: Positive | None = None
    trust_change: Positive | None = None
    decay_to: Literal["zero", "start"] = "zero"
    hybrid: Literal["none", "switch", "blend", "couplings", "agreement"] = "none"
    second: OptimizerName | None = None
    second_lr: Positive | None = None
    second_share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    switch_at: Count | None = None
    patience: Count | None = None
    couplings: tuple[Annotated[int, Meta(ge=0)], ...] | None = None


class TrainingSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The loop. `steps`, if given, ends training whatever `epochs` says.

    Without a `batch_size` it is 256, or all rows where there are fewer. `average` is explained in
    `revgn.training.average`; `average_from` is a share of all steps, after which the tail begins.
    """

    loss: Literal["auto", "cross-entropy", "squared-error"] = "auto"
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    average: Literal["none", "exponential", "tail"] = "none"
    average_decay: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    average_from: Annotated[float, Meta(ge=0, lt=1)] = 0.75
    batch_size: Count | Literal["full"] | None = None
    epochs: Count = 5
    steps: Count | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    dtype: Literal["float32", "float64"] = "float32"
    backend: Literal["auto", "numpy", "cupy"] = "auto"
    eval_every: Count | None = None
    eval_train_rows: Count = 10_000
    measure_every: Annotated[int, Meta(ge=0)] = 10
    checkpoint_every: Count | None = None


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a run."""

    preset: str | None = None
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    training: TrainingSettings = TrainingSettings()


DEFAULT_BATCH = 256
DEFAULT_LR = {"gauss-newton": 1.0, "sgd": 0.1, "adam": 1e-3, "muon": 0.02, "kfac": 0.03, "lbfgs": 1.0}
DEFAULTS: dict[str, dict[str, Any]] = {
    "muon": {"momentum": 0.95, "nesterov": True},
    "kfac": {"momentum": 0.9, "damping": 0.03},
}
_BLOCKS = ("block_samples", "directions")
_CG = ("tolerance", "max_iterations", "preconditioner", *_BLOCKS)
_INVERSE = ("inverse", "shares", "outputs", "damping", "rtol", "atol", "solver", *_CG)
_ADAPTED = ("damping_raised", "damping_lowered", "damping_min", "damping_max")
_CURVATURE = ("curvature", "output_damping", "adapt_damping", *_ADAPTED)
_USED = {
    "gauss-newton": (*_INVERSE, *_CURVATURE, "carry", "carry_decay"),
    "sgd": ("momentum", "nesterov"),
    "adam": ("beta1", "beta2", "eps"),
    "muon": ("momentum", "nesterov", "beta1", "beta2", "eps"),
    "kfac": ("damping", "momentum", "factor_every", "factor_mean", "kl_clip"),
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
_OF_OTHER_INVERSE = {"block": ("outputs", "solver"), "minimum-norm": ("shares", "rtol", "atol")}


def _reference(name: str) -> dict[str, Any]:
    shape = REFERENCE[name]
    network = {"blocks": shape.blocks, "hidden": shape.hidden, "first_block": shape.first_block}
    data = {"name": "cifar10", "crop": True} if "cifar" in name else {"name": "mnist"}
    block = {"inverse": "block", "shares": "uniform", "rtol": PAPER_RULE.rtol, "atol": PAPER_RULE.atol}
    return {
        "network": network,
        "training": {"batch_size": 1024, "epochs": 100},
        "data": data,
        "optimizer": {"name": "gauss-newton", "lr": 0.1} | block,
    }


PRESETS: dict[str, dict[str, Any]] = {name: _reference(name) for name in REFERENCE}
"""The paper's network, data, batch and block step, by name (Buffelli et al. 2024, section 5).

The optimizer is left out where another one, or another inverse, is asked for.
"""


def build_config(*layers: dict[str, Any]) -> Config:
    """Settings from nested dicts, the earlier of them stronger, over the preset and the defaults.

    Raises
    ------
    UsageError
        For an unknown key (with the nearest known one), a value of the wrong type or out of its range,
        a setting that the chosen optimizer does not use. One line that names the dotted path.
    """
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        _check_keys(layer, Config, "")
        merged = _merge(merged, layer)
    name = merged.get("preset")
    if name is not None:
        if not isinstance(name, str) or name not in PRESETS:
            raise UsageError(f"preset: {_unknown(str(name), list(PRESETS))}")
        merged = _merge(_preset_for(PRESETS[name], merged.get("optimizer", {})), merged)
    merged = _merge({"optimizer": _own_defaults(merged.get("optimizer", {}))}, merged)
    try:
        config = msgspec.convert(merged, Config)
    except msgspec.ValidationError as error:
        raise UsageError(_readable(str(error), merged)) from None
    _check_relevance(config)
    optimizer = config.optimizer
    rates = {"lr": optimizer.lr or DEFAULT_LR[optimizer.name]}
    if optimizer.second is not None:
        rates["second_lr"] = optimizer.second_lr or DEFAULT_LR[optimizer.second]
    return msgspec.structs.replace(config, optimizer=msgspec.structs.replace(optimizer, **rates))


def config_dict(config: Config) -> dict[str, Any]:
    """Nested dict of all settings, of TOML's types (lists for tuples), None where not set."""
    return _with_lists(msgspec.to_builtins(config))  # type: ignore[no-any-return]


def config_toml(config: Config) -> str:
    """TOML text that `build_config` reads back; settings that are None are left out."""
    import tomli_w

    return tomli_w.dumps(_without_none(config_dict(config)))


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Nested dict of a TOML text; `UsageError` naming `source` and the line where it is not TOML."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {error}") from None


def parse_assignment(text: str) -> dict[str, Any]:
    """Nested dict of `section.key=value`; the value as TOML reads it, else a string.

    Raises
    ------
    UsageError
        If there is no "=".
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {text}: expected key=value, such as optimizer.lr=0.5")
    return nested(path.strip(), _literal(value.strip()))


def nested(path: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def merge_settings(*layers: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts merged, the earlier of them stronger."""
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = _merge(merged, layer)
    return merged


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of {"a": {"b": value}}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def _literal(value: str) -> Any:
    import tomllib

    if value.lower() == "none":
        return None
    try:
        return tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return value


def _merge(weak: dict[str, Any], strong: dict[str, Any]) -> dict[str, Any]:
    merged = dict(weak)
    for key, value in strong.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _own_defaults(optimizer: dict[str, Any]) -> dict[str, Any]:
    """Defaults of the optimizer asked for, and of its second where the first does not use the setting."""
    first, second = str(optimizer.get("name", OptimizerSettings().name)), str(optimizer.get("second"))
    used = _USED.get(first, ())
    of_second = {name: value for name, value in DEFAULTS.get(second, {}).items() if name not in used}
    return of_second | DEFAULTS.get(first, {})


def _preset_for(preset: dict[str, Any], optimizer: dict[str, Any]) -> dict[str, Any]:
    own = preset["optimizer"]
    if all(optimizer.get(name, own[name]) == own[name] for name in ("name", "inverse")):
        return preset
    return {section: settings for section, settings in preset.items() if section != "optimizer"}


def _check_keys(settings: dict[str, Any], struct: type[Struct], prefix: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in settings.items():
        if key not in fields:
            raise UsageError(f"{prefix}{key}: {_unknown_setting(key, list(fields), prefix)}")
        kind = fields[key]
        if isinstance(kind, type) and issubclass(kind, Struct):
            if not isinstance(value, dict):
                raise UsageError(f"{prefix}{key}: a section is expected here, such as {key}.{_first(kind)}")
            _check_keys(value, kind, f"{prefix}{key}.")


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"unknown name {name!r}; " + (
        f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    )


def _unknown_setting(name: str, beside: list[str], prefix: str) -> str:
    """Say that a setting is unknown, with the nearest known one here, else in another section."""
    near = [f"{prefix}{match}" for match in difflib.get_close_matches(name, beside, 1)]
    if not near:
        paths = list(flat(config_dict(Config())))
        near = [path for path in paths if path.rpartition(".")[2] == name]
        near = near or difflib.get_close_matches(name, paths, 1)
    hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(beside)}"
    return f"unknown setting; {hint}"


def _first(struct: type[Struct]) -> str:
    return msgspec.structs.fields(struct)[0].name


def _readable(message: str, settings: dict[str, Any]) -> str:
    """Turn msgspec's "... - at `$.a.b`" into "a.b: ...", naming the value and the choices."""
    text, _, where = message.partition(" - at `$.")
    path = where.rstrip("`").partition("[")[0]
    value = flat(settings).get(path)
    section, _, field = path.partition(".")
    struct = {f.name: f.type for f in msgspec.structs.fields(Config)}.get(section)
    choices: list[str] = []
    if isinstance(struct, type) and issubclass(struct, Struct):
        kinds = {f.name: f.type for f in msgspec.structs.fields(struct)}
        choices = _choices(kinds.get(field))
    if choices and isinstance(value, str):
        near = difflib.get_close_matches(value, choices, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{path}: {value!r} is not one of {', '.join(choices)}{hint}"
    shown = "" if value is None else f"{value!r} "
    return f"{path}: {shown}cannot be used: {text[0].lower()}{text[1:]}"


def _choices(kind: Any) -> list[str]:
    own = [choice for choice in get_args(kind) if isinstance(choice, str)]
    return own + [choice for part in get_args(kind) if not isinstance(part, str) for choice in _choices(part)]


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(child) for key, child in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _without_none(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None
    }


def unused_settings(config: Config) -> tuple[str, ...]:
    """Dotted paths of the settings that the chosen optimizer, or the chosen average, does not use."""
    of_others = [name for kind, name in _OF_AVERAGE.items() if kind != config.training.average]
    return (*_unused_by(config.optimizer), *(f"training.{name}" for name in of_others))


def _unused_by(optimizer: OptimizerSettings) -> tuple[str, ...]:
    names = optimizers_of(optimizer)
    used = {name for optimizer_name in names for name in _USED[optimizer_name]}
    if "gauss-newton" in names:
        used -= set(_OF_OTHER_INVERSE[optimizer.inverse])
        if optimizer.inverse == "block" or optimizer.solver == "dense":
            used -= set(_CG)
        elif optimizer.preconditioner == "none":
            used -= set(_BLOCKS)
        used -= set() if optimizer.adapt_damping else set(_ADAPTED)
        used -= set() if optimizer.curvature == "exact" else {"output_damping"}
    used |= {*_OF_HYBRID[optimizer.hybrid], *([] if optimizer.length_rule == "fixed" else ["halvings"])}
    tables = (*_USED.values(), *_OF_HYBRID.values(), ("halvings",))
    known = dict.fromkeys(name for names in tables for name in names)
    return tuple(f"optimizer.{name}" for name in known if name not in used)


def optimizers_of(optimizer: OptimizerSettings) -> tuple[OptimizerName, ...]:
    """Names of the optimizers that work: one, or the two of a hybrid."""
    has_second = optimizer.second is not None and "second" in _OF_HYBRID[optimizer.hybrid]
    return (optimizer.name, optimizer.second) if has_second and optimizer.second else (optimizer.name,)


def _check_relevance(config: Config) -> None:
    settings, defaults = flat(config_dict(config)), flat(config_dict(Config()))
    for path in unused_settings(config):
        if settings[path] != defaults[path]:
            raise UsageError(f"{path}: {_who(config, path)} does not use it; leave it out")
    if "gauss-newton" in optimizers_of(config.optimizer):
        _check_curvature(config.optimizer)
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
    if name == "output_damping":
        return f"gauss-newton with curvature {optimizer.curvature}"
    if name in _CG and optimizer.inverse == "minimum-norm":
        used_by_cg = name in _BLOCKS and optimizer.solver == "cg"
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
    if optimizer.decay_to == "start" and not optimizer.weight_decay:
        raise UsageError("optimizer.decay_to: a decay towards the start needs optimizer.weight_decay > 0")
    if "second" in _OF_HYBRID[optimizer.hybrid] and optimizer.second in (None, optimizer.name):
        raise UsageError(
            f"optimizer.second: is {optimizer.second}; hybrid {optimizer.hybrid} is of {optimizer.name} "
            "and another optimizer"
        )
    if optimizer.hybrid == "switch" and (optimizer.switch_at is None) == (optimizer.patience is None):
        raise UsageError("optimizer.switch_at: a switch takes either this or optimizer.patience")
    if optimizer.hybrid == "couplings" and not optimizer.couplings:
        raise UsageError(f"optimizer.couplings: is missing; list those that {optimizer.name} is for")
