"""Settings: frozen structs, their defaults, and the paper's set-ups.

The dotted path of a field (`optimizer.lr`) is its name everywhere: in TOML files, behind `--set`, and as
attribute `config.optimizer.lr` of a run.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

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
    validation_fraction: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    standardize_targets: bool = False
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
    and takes its other settings from where the first does. `memory` is bytes for the minimum norm's kernel,
    half of the machine's if not given; a larger one is factored by tiles. The solver "auto" stands for what
    `revgn.training.choose_solver` takes.
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
    solver: Literal["dense", "cg", "auto"] = "dense"
    memory: Annotated[int, Meta(ge=1, le=2**62)] | None = None
    tolerance: Annotated[float, Meta(gt=0, lt=1)] = 1e-3
    max_iterations: Count = 1000
    preconditioner: Literal["blocks", "none"] = "blocks"
    block_samples: Count = 4096
    directions: Annotated[int, Meta(ge=0)] | None = None
    damping: NotNegative = 0.0
    curvature: Literal["identity", "exact"] = "identity"
    output_damping: NotNegative = 0.0
    adapt_damping: bool = False
    damping_raised: Annotated[float, Meta(gt=1)] = 4.0
    damping_lowered: Annotated[float, Meta(gt=1)] = 3.0
    damping_min: Positive = 1e-6
    damping_max: Positive = 1e3
    orthogonal: bool = False
    carry: Annotated[float, Meta(ge=0, le=1)] = 0.0
    carry_decay: Annotated[float, Meta(ge=0, le=1)] = 1.0
    carry_limit: Annotated[float, Meta(ge=1)] = 1.2
    metric: Literal["identity", "features"] = "identity"
    metric_floor: Positive = 1.0
    metric_mean: Annotated[float, Meta(ge=0, lt=1)] = 0.95
    metric_every: Count = 10
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
    analyse_rows: Annotated[int, Meta(ge=4, le=100_000)] | None = None
    analyse_probes: Annotated[int, Meta(ge=0)] = 0
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


def default_lr(optimizer: OptimizerSettings) -> float:
    """Rate of the optimizer where none is set."""
    return DEFAULT_LR["muon" if optimizer.orthogonal else optimizer.name]


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


def config_dict(config: Config) -> dict[str, Any]:
    """Nested dict of all settings, of TOML's types (lists for tuples), None where not set."""
    return _with_lists(msgspec.to_builtins(config))  # type: ignore[no-any-return]


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of {"a": {"b": value}}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(child) for key, child in value.items()}
    return list(value) if isinstance(value, tuple) else value
