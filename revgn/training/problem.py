"""The training problem that settings describe: data, network, loss, and optimizer.

Every random draw is determined by the seed and a tag of its own, so changing one choice does not change the
draws of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from revgn.arrays import Backend, DType, ShapesOnly, limits_of, select_backend
from revgn.data import (
    Dataset,
    Interface,
    PlacedDataset,
    check_target_range,
    load_dataset,
    place_dataset,
    steps_per_epoch,
)
from revgn.errors import UsageError
from revgn.losses import CrossEntropy, Loss, SquaredError
from revgn.networks import Network, draw_network
from revgn.optimizers import Optimizer, Schedule
from revgn.settings import Config, Exponential, Own, Tail, config_dict, kind_of, mapped, parts_of
from revgn.settings.registry import OWN
from revgn.solvers import Automatic, BlockWise, MinimumNorm, is_dense, kernel_memory
from revgn.solvers.block_weights import fixed_weights

DEFAULT_BATCH = 256
_NETWORK = 1  # tag of the random draw


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Constants of a training run."""

    config: Config
    dataset: Dataset
    network: Network
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    backend: Backend
    dtype: DType
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    average: Exponential | Tail | None = None


def is_evaluated(problem: Problem, step: int) -> bool:
    """Return whether the network is evaluated after `step` steps."""
    eval_every = problem.config.training.eval_every or problem.steps_per_epoch
    return step % eval_every == 0 or step == problem.total_steps


def is_measured(problem: Problem, step: int) -> bool:
    """Return whether the effect of step number `step` on the losses is measured."""
    every = problem.config.training.measure_every
    return every > 0 and step % every == 0


def load_data(config: Config, *, for_training: bool = True, input_columns: Sequence[str] = ()) -> Dataset:
    """Load the data set of `config`, by `load_dataset`.

    If `for_training` is false, the rows may lack information; `input_columns` names the inputs in a table.

    Examples
    --------
    >>> import revgn
    >>> data = revgn.load_data(revgn.build_config({"data": {"subset": 100}}))
    >>> data.train.inputs.shape
    (100, 64)
    """
    own = config_dict(config.data)
    return load_dataset(for_training=for_training, input_columns=input_columns, **own)


def build_problem(
    config: Config,
    dataset: Dataset,
    *,
    network: Network | None = None,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    shapes_only: bool = False,
) -> Problem:
    """Return the training problem of `config` and a data set.

    The network is drawn, and settings that `config` leaves open (loss, batch size, memory) are chosen. A
    user-defined network, loss or optimizer replaces the one that `config` describes. With `shapes_only`, the
    projections are zeros instead: for estimates, and for a network whose arrays are then replaced.

    Raises
    ------
    UsageError
        If settings do not fit the data, such as cross-entropy for a regression, or augmentation of a table.
    BackendError
        If the backend is not available.

    Examples
    --------
    >>> import revgn
    >>> tiny = {"data": {"subset": 100}, "network": {"hidden": 16}, "training": {"steps": 2}}
    >>> config = revgn.build_config(tiny)
    >>> problem = revgn.build_problem(config, revgn.load_data(config))
    >>> problem.batch_size, problem.total_steps
    (100, 2)
    """
    settings = config.training
    backend = select_backend(settings.backend)
    dtype = getattr(backend.xp, settings.dtype)
    n, outputs = dataset.train.inputs.shape[0], dataset.train.targets.shape[1]
    batch_size = n if settings.batch_size == "full" else settings.batch_size or min(DEFAULT_BATCH, n)
    per_epoch = steps_per_epoch(n, batch_size)
    total_steps = settings.steps or settings.epochs * per_epoch
    if config.data.augmentation != "none" and dataset.image_shape is None:
        raise UsageError(f"data.augmentation: {dataset.name} has no images")
    check_target_range(dataset, settings.dtype)
    config = with_parts(config, network, loss, optimizer)
    if network is None:
        network = draw_network_of(config, dataset, outputs, backend, shapes_only=shapes_only)
    loss = choose_loss(config, dataset) if loss is None else loss
    optimizer = config.optimizer if optimizer is None else optimizer
    _check_parts(optimizer, loss, config, outputs)
    return Problem(
        config=config,
        dataset=dataset,
        network=network,
        loss=loss,
        optimizer=mapped(partial(_bounded, samples=batch_size, outputs=outputs, backend=backend), optimizer),
        schedule=settings.schedule,
        backend=backend,
        dtype=dtype,
        batch_size=batch_size,
        steps_per_epoch=per_epoch,
        total_steps=total_steps,
        average=settings.average,
    )


def draw_network_of(
    config: Config, data: Dataset | Interface, outputs: int, backend: Backend, *, shapes_only: bool
) -> Network:
    """Return the network that settings describe, for inputs as in `data`; see `build_problem`."""
    rng = ShapesOnly() if shapes_only else generator(config, _NETWORK)
    dtype = getattr(backend.xp, config.training.dtype)
    features = data.shift.size if data.image_shape is None else data.image_shape
    return draw_network(config.network, features, outputs, rng, backend=backend, dtype=dtype)


def place_data(problem: Problem) -> PlacedDataset:
    """Move the data of a problem to its backend once, for many batches; see `revgn.data.place_dataset`.

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"data": {"subset": 100}, "network": {"hidden": 16}})
    >>> problem = revgn.build_problem(config, revgn.load_data(config))
    >>> place_data(problem).train.inputs.shape
    (100, 64)
    """
    return place_dataset(problem.dataset, problem.backend, problem.dtype)


def with_parts(
    config: Config, network: Network | None, loss: Loss | None, optimizer: Optimizer | None
) -> Config:
    """Return the configuration with the user-defined parts in it.

    Raises
    ------
    UsageError
        If the configuration names a user-defined part that is not given.
    """

    def part(given: Any, set_: Any, name: str) -> Any:
        if given is not None:
            return given if kind_of(given) != OWN else Own(_description(given))
        if isinstance(set_, Own):
            raise UsageError(f"{name}: is user-defined ({set_.description}); pass a Problem that contains it")
        return set_

    training = replace(config.training, loss=part(loss, config.training.loss, "training.loss"))
    return replace(
        config,
        network=part(network, config.network, "network"),
        optimizer=part(optimizer, config.optimizer, "optimizer"),
        training=training,
    )


def _description(part: Any) -> str:
    """Describe a user-defined part in one line, a network by the types of its layers."""
    layers = getattr(getattr(part, "body", None), "layers", None)
    return repr(part)[:200] if layers is None else ", ".join(type(layer).__name__ for layer in layers)


def _check_parts(optimizer: Optimizer, loss: Loss, config: Config, outputs: int) -> None:
    """Raise `UsageError` if optimizer or settings do not fit the loss, the network or the outputs."""
    most = outputs - isinstance(loss, CrossEntropy)
    for part in parts_of(optimizer):
        if isinstance(part, Automatic):
            raise UsageError("solver: auto must be replaced by another solver; call choose_solver first")
        if isinstance(part, BlockWise) and not isinstance(config.network, Own):
            fixed_weights(part.block_weights, config.network.block_count)  # raises if their number is wrong
        if getattr(part, "outputs", None) == "centered-logits" and not isinstance(loss, CrossEntropy):
            raise UsageError(
                "outputs: centered-logits is only for cross-entropy, which ignores a constant added to all "
                "logits"
            )
        if isinstance(rows := getattr(part, "rows", None), int) and rows > most:
            fewer = f"at most {most}, or all" if most else "all"
            raise UsageError(f"rows: {rows} for {outputs} outputs; expected {fewer}")
    if config.training.label_smoothing and not isinstance(loss, CrossEntropy):
        raise UsageError(
            "training.label_smoothing: is only for cross-entropy, whose targets are distributions"
        )


def choose_loss(config: Config, dataset: Dataset | Interface) -> Loss:
    """Return the loss of the settings; by default cross-entropy for classes, squared error for numbers."""
    loss: Loss | None = config.training.loss
    if isinstance(loss, CrossEntropy) and dataset.task == "regression":
        raise UsageError(f"training.loss: cross-entropy needs classes, but {dataset.name} is a regression")
    if loss is None:
        return SquaredError() if dataset.task == "regression" else CrossEntropy()
    return loss


def _bounded(part: Any, samples: int, outputs: int, backend: Backend) -> Any:
    """Return a minimum-norm solver with its memory bound, and other parts unchanged.

    No bound is set if even the eigenvectors of the kernel fit into memory.
    """
    if not isinstance(part, MinimumNorm) or part.memory is not None:
        return part
    memory, order = kernel_memory(None, backend), samples * (outputs if part.rows == "all" else part.rows)
    is_roomy = is_dense("eigh", order, 8, memory, limits_of(backend))
    return part if is_roomy else replace(part, memory=memory)


def generator(config: Config, tag: int) -> np.random.Generator:
    """Return a generator that is determined by the seed of the settings and a tag."""
    return np.random.default_rng([config.training.seed, tag])
