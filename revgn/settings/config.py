"""The configuration of a run: a tree of structs.

The dotted path of a field, such as `optimizer.solver.damping`, is the name of a setting in TOML files, in
`--set`, and in the attributes of a run (`config.optimizer.solver.damping`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from revgn.data import DataSettings
from revgn.errors import UsageError
from revgn.losses import Loss
from revgn.networks import Architecture, Convolutional
from revgn.optimizers import Constant, FeatureMetric, GaussNewton, Optimizer, Schedule
from revgn.structs import setting, settings_of, struct


@struct
class Exponential:
    """Exponential moving average of the weights, with bias correction."""

    decay: float = setting(
        "Decay of the average per step.",
        default=0.95,
        gt=0,
        lt=1,
    )


@struct
class Tail:
    """Mean of the weights over the last steps."""

    tail_start: float = setting(
        "Fraction of all steps after which averaging begins.", default=0.75, ge=0, lt=1
    )


@struct
class TrainingSettings:
    """The training loop."""

    loss: Loss | None = setting(
        "Loss; by default cross-entropy for classification, squared error for regression.",
        default=None,
        family="loss",
    )
    label_smoothing: float = setting(
        "Label smoothing: fraction of each label spread uniformly over all classes (cross-entropy).",
        default=0.0,
        ge=0,
        lt=1,
    )
    schedule: Schedule = setting(
        "Learning rate schedule.", default=Constant(), family="schedule", resumable=True, chosen=True
    )
    average: Exponential | Tail | None = setting(
        "Running average of the weights, evaluated in addition to them.",
        default=None,
        family="average",
    )
    batch_size: int | Literal["full"] | None = setting(
        "Samples per batch; with a preset, 256 by default, or all samples if there are fewer.",
        default=None,
        ge=1,
        le=10**12,
        chosen=True,
    )
    epochs: int = setting(
        "Number of epochs.", default=5, ge=1, le=10**12, resumable=True, chosen=True, replaces="steps"
    )
    steps: int | None = setting(
        "Number of steps; by default set by epochs.",
        default=None,
        ge=1,
        le=10**12,
        resumable=True,
    )
    seed: int = setting("Seed of all random numbers.", default=0, ge=0, le=2**63 - 1)
    dtype: Literal["float32", "float64"] = setting("Floating-point precision.", default="float32")
    backend: Literal["auto", "numpy", "cupy"] = setting(
        "Array library; auto uses a GPU if possible.", default="auto", resumable=True
    )
    eval_every: int | None = setting(
        "Steps between evaluations; by default one epoch.", default=None, ge=1, le=10**12, resumable=True
    )
    eval_train_rows: int = setting(
        "Maximum number of training samples per evaluation.",
        default=10_000,
        ge=1,
        le=10**12,
        resumable=True,
    )
    measure_every: int = setting(
        "Steps between measurements of loss_after, loss_decrease and inverse_error; 0 disables them.",
        default=10,
        ge=0,
        resumable=True,
    )
    analyse_rows: int | None = setting(
        "Number of test samples used to compare tangent kernel, representations and weights with "
        "initialization, and to measure the next two steps, at each evaluation; by default no comparison.",
        default=None,
        ge=4,
        le=100_000,
        resumable=True,
    )
    analyse_probes: int = setting(
        "Number of random vectors that estimate the tangent kernel of the analyse_rows samples; 0 computes "
        "it exactly.",
        default=0,
        ge=0,
        resumable=True,
    )
    diverged_above: float | None = setting(
        "Training has diverged if the losses of 10 successive batches, or the last training loss, exceed "
        "this factor times the initial loss; none: only if a loss is not finite.",
        default=1000.0,
        gt=1,
        resumable=True,
    )
    checkpoint_every: int | None = setting(
        "Steps between checkpoints; by default chosen from the time that they take.",
        default=None,
        ge=1,
        le=10**12,
        resumable=True,
    )


@struct
class Own:
    """A struct of the user's own, which a configuration describes but cannot build."""

    description: str = setting("Description of the struct.", default="")


@struct
class Config:
    """All settings of a run."""

    preset: str | None = setting(
        "Set-up of defaults: plain, mlp, revnet-small, revnet-cifar10, paper-mnist or paper-cifar10. "
        "The last two may end in -relu or -full-batch. "
        "With plain, all are fixed; without one, some are from the data.",
        default=None,
    )
    data: DataSettings = setting("Data set.", default=DataSettings())
    network: Architecture | Convolutional | Own = setting(
        "Network architecture.", default=Architecture(), family="network"
    )
    optimizer: Optimizer = setting("Optimizer.", default=GaussNewton(), family="optimizer")
    training: TrainingSettings = setting("Training loop.", default=TrainingSettings())

    def check(self) -> None:
        """Raise `UsageError` if the optimizer needs activations that the network does not keep."""
        has_metric = any(isinstance(part, FeatureMetric) for part in parts_of(self.optimizer))
        if has_metric and getattr(self.network, "activations", "keep") == "rebuild":
            raise UsageError("metric features needs the activations; set network.activations to keep")


def parts_of(part: Any) -> Iterator[Any]:
    """Yield a struct and all structs nested in it."""
    yield part
    for of in settings_of(type(part)):
        if of.is_part:
            yield from parts_of(getattr(part, of.name))


def mapped(function: Callable[[Any], Any], part: Any) -> Any:
    """Return a struct with `function` applied to it and to all structs nested in it, innermost first."""
    if part is None:
        return None
    names = [of.name for of in settings_of(type(part)) if of.is_part]
    inner = {name: mapped(function, getattr(part, name)) for name in names}
    changes = {name: after for name, after in inner.items() if after is not getattr(part, name)}
    return function(replace(part, **changes) if changes else part)
