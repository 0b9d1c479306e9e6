"""The configuration of a run: a tree of structs.

The dotted path of a field (`optimizer.solver.damping`) is its name everywhere: in TOML files, behind `--set`,
and as attribute `config.optimizer.solver.damping` of a run.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from revgn.data import DataSettings
from revgn.errors import UsageError
from revgn.losses import Loss
from revgn.networks import Architecture
from revgn.optimizers import Constant, FeatureMetric, GaussNewton, Optimizer, Schedule
from revgn.structs import setting, settings_of, struct


@struct
class Exponential:
    """Exponential moving average, free of the bias of its initialization."""

    decay: float = setting(
        "Weight of each set of weights relative to the next one.", default=0.95, gt=0, lt=1
    )


@struct
class Tail:
    """Mean of the weights of the last steps."""

    tail_start: float = setting(
        "Share of all steps after which the average begins.", default=0.75, ge=0, lt=1
    )


@struct
class TrainingSettings:
    """The training loop."""

    loss: Loss | None = setting(
        "Loss; by default cross-entropy for classes and squared error for numbers.",
        default=None,
        family="loss",
    )
    label_smoothing: float = setting(
        "Share of each label that is spread over all classes, in the steps (cross-entropy).",
        default=0.0,
        ge=0,
        lt=1,
    )
    schedule: Schedule = setting(
        "Schedule of the learning rates.", default=Constant(), family="schedule", resumable=True
    )
    average: Exponential | Tail | None = setting(
        "Average of the weights, kept beside training.", default=None, family="average"
    )
    batch_size: int | Literal["full"] | None = setting(
        "Rows in a batch; by default 256, or all where there are fewer.", default=None, ge=1, le=10**12
    )
    epochs: int = setting("Epochs.", default=5, ge=1, le=10**12, resumable=True)
    steps: int | None = setting(
        "Steps, whatever the number of epochs.", default=None, ge=1, le=10**12, resumable=True
    )
    seed: int = setting("Seed of everything random.", default=0, ge=0, le=2**63 - 1)
    dtype: Literal["float32", "float64"] = setting("Precision.", default="float32")
    backend: Literal["auto", "numpy", "cupy"] = setting("Array library.", default="auto", resumable=True)
    eval_every: int | None = setting(
        "Steps between two evaluations; by default an epoch.", default=None, ge=1, le=10**12, resumable=True
    )
    eval_train_rows: int = setting(
        "Training rows of an evaluation, at most.", default=10_000, ge=1, le=10**12, resumable=True
    )
    measure_every: int = setting(
        "Steps between two measurements of loss_after, loss decreases and inverse_error; 0 measures none.",
        default=10,
        ge=0,
        resumable=True,
    )
    analyse_rows: int | None = setting(
        "Test rows on which each evaluation compares the tangent kernel, representations and weights with "
        "those at initialization, and looks at the next two steps; by default none.",
        default=None,
        ge=4,
        le=100_000,
        resumable=True,
    )
    analyse_probes: int = setting(
        "Random vectors that estimate the tangent kernel of many analyse_rows; 0 forms it.",
        default=0,
        ge=0,
        resumable=True,
    )
    checkpoint_every: int | None = setting(
        "Steps between two checkpoints; by default as time allows.",
        default=None,
        ge=1,
        le=10**12,
        resumable=True,
    )


@struct
class Own:
    """A part of the user's own, which a configuration describes but cannot make."""

    description: str = setting("What the part is.", default="")


@struct
class Config:
    """All settings of a run."""

    preset: str | None = setting("Set-up whose settings are the defaults.", default=None)
    data: DataSettings = setting("Data.", default=DataSettings())
    network: Architecture | Own = setting("Network.", default=Architecture(), family="network")
    optimizer: Optimizer = setting("Optimizer.", default=GaussNewton(), family="optimizer")
    training: TrainingSettings = setting("Training.", default=TrainingSettings())

    def check(self) -> None:
        """Raise `UsageError` where the optimizer needs activations that the network does not keep."""
        has_metric = any(isinstance(part, FeatureMetric) for part in parts_of(self.optimizer))
        if has_metric and getattr(self.network, "activations", "keep") == "rebuild":
            raise UsageError("metric features needs the activations; set network.activations to keep")


def parts_of(part: Any) -> Iterator[Any]:
    """Yield a struct and all structs within it."""
    yield part
    for of in settings_of(type(part)):
        if of.is_part:
            yield from parts_of(getattr(part, of.name))


def mapped(function: Callable[[Any], Any], part: Any) -> Any:
    """Return a struct with `function` applied to it and to all structs within it, the innermost first."""
    if part is None:
        return None
    names = [of.name for of in settings_of(type(part)) if of.is_part]
    inner = {name: mapped(function, getattr(part, name)) for name in names}
    changes = {name: after for name, after in inner.items() if after is not getattr(part, name)}
    return function(replace(part, **changes) if changes else part)
