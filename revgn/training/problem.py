"""The training problem that settings describe: data, network, loss, optimizer, and the initial state.

Every random draw is determined by the seed and a tag of its own, so changing one choice does not change the
draws of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from revgn import trees
from revgn.arrays import Array, Backend, DType, ShapesOnly, limits_of, select_backend
from revgn.data import (
    Dataset,
    Interface,
    PlacedDataset,
    check_target_range,
    load_dataset,
    place_dataset,
    steps_per_epoch,
)
from revgn.errors import RunError, UsageError
from revgn.losses import CrossEntropy, Loss, SquaredError
from revgn.maps import init
from revgn.networks import ChainParams, Network, draw_network
from revgn.optimizers import Optimizer, OptimizerState, Schedule, init_state
from revgn.settings import Config, Exponential, Own, Tail, config_dict, kind_of, mapped, parts_of
from revgn.settings.registry import OWN
from revgn.solvers import Automatic, BlockWise, MinimumNorm, is_dense, kernel_memory
from revgn.solvers.block_weights import fixed_weights
from revgn.training.average import AverageState
from revgn.training.divergence import Course

DEFAULT_BATCH = 256
_INIT_SCALE = 1e-3  # scale of the initial weights of a user-defined network
_NETWORK, _PARAMS = 1, 2  # tags of the random draws


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


class Drawn(Protocol):
    """Protocol of a network with the settings from which it was drawn: a `Problem`, or a `Model`."""

    @property
    def config(self) -> Config:
        """Settings."""

    @property
    def network(self) -> Network:
        """Network."""

    @property
    def backend(self) -> Backend:
        """Array library and device of the network."""


class TrainState(NamedTuple):
    """Variables of a training run: parameters, optimizer state, step, seconds in steps, average, course.

    `average` is empty if no average of the weights is kept. `course` summarizes the loss so far; divergence
    is judged from it.
    """

    params: ChainParams
    optimizer: OptimizerState
    step: int
    seconds: float
    average: AverageState | tuple[()] = ()
    course: Course = Course()


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
    rng = ShapesOnly() if shapes_only else _generator(config, _NETWORK)
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


def initial_state(problem: Problem) -> TrainState:
    """Return the state before the first step, with random initial parameters.

    Examples
    --------
    >>> import revgn
    >>> tiny = {"data": {"subset": 100}, "network": {"hidden": 16}, "training": {"steps": 2}}
    >>> config = revgn.build_config(tiny)
    >>> problem = revgn.build_problem(config, revgn.load_data(config))
    >>> revgn.initial_state(problem).step
    0
    """
    return _state_before(problem, _draw_params(problem, _generator(problem.config, _PARAMS)))


def _generator(config: Config, tag: int) -> np.random.Generator:
    return np.random.default_rng([config.training.seed, tag])


def _draw_params(of: Drawn, rng: np.random.Generator) -> ChainParams:
    return init(of.network, rng, getattr(of.config.network, "init_scale", _INIT_SCALE))


def _state_before(problem: Problem, params: ChainParams) -> TrainState:
    average = AverageState(0, params) if problem.average else ()
    return TrainState(params, init_state(problem.optimizer, problem.network, params), 0, 0.0, average)


def averaged(state: TrainState) -> TrainState | None:
    """Return `state` with the averaged weights as parameters, or None if nothing was averaged yet."""
    if not state.average or not state.average.steps:
        return None
    return state._replace(params=state.average.params)


def state_arrays(state: TrainState) -> dict[str, Array | int | float]:
    """Return the leaves of the state by path, such as "params/0/weight"."""
    return dict(trees.named_leaves(state))


def restore_state(problem: Problem, arrays: dict[str, np.ndarray]) -> TrainState:
    """Return the state of `problem` from the host arrays of a checkpoint, by path.

    Raises
    ------
    RunError
        If an array is missing or has another shape.
    """
    # checkpoints of older versions have no course
    of_old = {name: np.asarray(leaf) for name, leaf in trees.named_leaves(Course(), "course")}
    return _restored(_state_before(problem, _blank_params(problem)), "", problem, of_old | arrays)  # type: ignore[no-any-return]


def restore_weights(of: Drawn, arrays: dict[str, np.ndarray]) -> ChainParams:
    """Return only the weights of a checkpoint, which may be from any optimizer."""
    return _restored(_blank_params(of), "params/", of, arrays)  # type: ignore[no-any-return]


def restore_average(of: Drawn, arrays: dict[str, np.ndarray]) -> ChainParams | None:
    """Return only the averaged weights of a checkpoint, or None if nothing was averaged yet."""
    if not int(arrays.get("average/steps", 0)):
        return None
    return _restored(_blank_params(of), "average/params/", of, arrays)  # type: ignore[no-any-return]


def _blank_params(of: Drawn) -> ChainParams:
    """Return parameters with the right shapes.

    They are zero, except for a user-defined network, whose `init` may divide by its random numbers.
    """
    is_own = isinstance(of.config.network, Own)
    return _draw_params(of, _generator(of.config, _PARAMS) if is_own else ShapesOnly())


def _restored(template: Any, prefix: str, of: Drawn, arrays: dict[str, np.ndarray]) -> Any:
    """Return a tree like `template` with the arrays whose paths begin with `prefix`."""
    names = iter([f"{prefix}{name}" for name, _ in trees.named_leaves(template)])

    def restored(leaf: Array | int | float) -> Array | int | float:
        name = next(names)
        if name not in arrays:
            raise RunError(
                f"checkpoint: {name} is missing; is the checkpoint from a run with other settings?"
            )
        array = arrays[name]
        if isinstance(leaf, int | float):
            return type(leaf)(array)
        if array.shape != leaf.shape:
            raise RunError(
                f"checkpoint: {name} has the shape {array.shape}, but these settings need {leaf.shape}; "
                "settings that determine the network's shapes cannot change on resume"
            )
        return of.backend.asarray(array, dtype=leaf.dtype)

    return trees.map_leaves(restored, template)
