"""From settings to what is trained: data, network, loss, optimizer, and the state before the first step.

Every draw follows from the seed and a tag of its own, so changing one choice leaves the others' bits.
"""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from revgn import trees
from revgn.arrays import Array, Backend, DType, memory_size, select_backend
from revgn.data import Dataset, load_dataset, steps_per_epoch
from revgn.errors import RunError, UsageError
from revgn.losses import CrossEntropy, Loss, SquaredError
from revgn.maps import init
from revgn.networks import Architecture, ChainParams, Network, draw_network
from revgn.optimizers import Optimizer, OptimizerState, Schedule, init_state
from revgn.solvers import is_dense
from revgn.solvers.shares import fixed_shares
from revgn.training.average import Average, AverageState, init_average
from revgn.training.optimizer import build_optimizer
from revgn.training.settings import DEFAULT_BATCH, Config, OptimizerSettings, TrainingSettings, default_lr

_NETWORK, _PARAMS = 1, 2  # tags that keep the draws of one seed apart


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """All that stays the same during a training run."""

    config: Config
    dataset: Dataset
    network: Network
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    lr: float
    backend: Backend
    dtype: DType
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    average: Average | None = None


class TrainState(NamedTuple):
    """All that changes: parameters, optimizer state, steps taken, seconds spent in them, and the average.

    The average is empty where there is none to keep.
    """

    params: ChainParams
    optimizer: OptimizerState
    step: int
    seconds: float
    average: AverageState | tuple[()] = ()


def load_data(config: Config) -> Dataset:
    """Data set of `config`."""
    settings = config.data
    return load_dataset(
        settings.name,
        folder=settings.folder,
        subset=settings.subset,
        subset_seed=settings.subset_seed,
        inputs=settings.inputs,
        targets=settings.targets,
        test_inputs=settings.test_inputs,
        test_targets=settings.test_targets,
        target=settings.target,
        task=settings.task,
        test_fraction=settings.test_fraction,
        validation_fraction=settings.validation_fraction,
        standardize_targets=settings.standardize_targets,
    )


def build_problem(config: Config, dataset: Dataset) -> Problem:
    """Draw the network and settle what `config` leaves to the data.

    Raises
    ------
    UsageError
        If settings do not fit the data: a batch larger than it, a loss of the other task, crops of
        what are not images.
    BackendError
        If the backend asked for is not there.
    """
    backend = select_backend(config.training.backend)
    dtype = getattr(backend.xp, config.training.dtype)
    n, d = dataset.train.inputs.shape
    batch_size = n if config.training.batch_size == "full" else config.training.batch_size
    if batch_size is None:
        batch_size = min(DEFAULT_BATCH, n)
    per_epoch = steps_per_epoch(n, batch_size)
    if config.data.crop and dataset.image_shape is None:
        raise UsageError(f"data.crop: {dataset.name} has no images to crop")
    fixed_shares(config.optimizer.shares, config.network.blocks)  # refuses a wrong count of numbers
    if config.optimizer.length_rule == "second-batch" and per_epoch < 2:
        raise UsageError(
            f"optimizer.length_rule: an epoch of {n} rows has no second batch of {batch_size}; "
            "take smaller batches, or backtracking"
        )
    if config.optimizer.hybrid == "agreement" and batch_size < 2:
        raise UsageError("optimizer.hybrid: an agreement is of two halves, but batches have a single row")
    rng = np.random.default_rng([config.training.seed, _NETWORK])
    outputs = dataset.train.targets.shape[1]
    if outputs > 2 * ((d + 1) // 2):
        what = "classes" if dataset.task == "classification" else "targets"
        raise UsageError(
            f"{dataset.name}: {outputs} {what} but only {d} features; "
            "a reversible network has no more outputs than (an even number of) features"
        )
    loss = choose_loss(config, dataset)
    if config.optimizer.outputs == "contrasts" and not isinstance(loss, CrossEntropy):
        raise UsageError("optimizer.outputs: contrasts are for cross-entropy, which ignores a constant")
    if config.training.label_smoothing and not isinstance(loss, CrossEntropy):
        raise UsageError("training.label_smoothing: is for cross-entropy, whose targets are distributions")
    total_steps = config.training.steps or config.training.epochs * per_epoch
    return Problem(
        config=config,
        dataset=dataset,
        network=draw_network(architecture(config), d, outputs, rng, backend=backend, dtype=dtype),
        loss=loss,
        optimizer=build_optimizer(_bounded(config.optimizer, batch_size * outputs, backend)),
        schedule=Schedule(
            config.optimizer.schedule,
            config.optimizer.warmup,
            config.optimizer.floor,
            config.optimizer.every,
            config.optimizer.gamma,
        ),
        lr=config.optimizer.lr or default_lr(config.optimizer),
        backend=backend,
        dtype=dtype,
        batch_size=batch_size,
        steps_per_epoch=per_epoch,
        total_steps=total_steps,
        average=build_average(config.training, total_steps),
    )


def architecture(config: Config) -> Architecture:
    """Architecture that the network settings describe."""
    settings = config.network
    return Architecture(
        settings.blocks, settings.hidden, settings.activation, settings.first_block, settings.activations
    )


def choose_loss(config: Config, dataset: Dataset) -> Loss:
    """Loss of the settings; `auto` takes cross-entropy for classes and squared error for numbers."""
    name = config.training.loss
    if name == "cross-entropy" and dataset.task == "regression":
        raise UsageError(f"training.loss: cross-entropy needs classes, but {dataset.name} is a regression")
    if name == "squared-error" or dataset.task == "regression":
        return SquaredError()
    return CrossEntropy()


def kernel_memory(settings: OptimizerSettings, backend: Backend) -> int | None:
    """Bytes for the kernel: as set, else half of what the machine has; None where that is unknown.

    What is free at the moment does not count: a run and its resumption take the same steps to the same bits.
    """
    size = memory_size(backend)
    return settings.memory or (None if size is None else size // 2)


def _bounded(settings: OptimizerSettings, order: int, backend: Backend) -> OptimizerSettings:
    """Settings with the kernel's memory, left open where even eigenvectors of that order have room."""
    memory = kernel_memory(settings, backend)
    if settings.memory is None and is_dense("eigh", order, 8, memory):
        return settings
    return msgspec.structs.replace(settings, memory=memory)


def build_average(settings: TrainingSettings, total_steps: int) -> Average | None:
    """Average of the weights that the settings describe; a tail has at least the last step in it."""
    if settings.average == "exponential":
        return Average(settings.average_decay)
    if settings.average == "tail":
        return Average(begin=min(round(settings.average_from * total_steps), total_steps - 1))
    return None


def initial_state(problem: Problem) -> TrainState:
    """Draw the state before the first step."""
    rng = np.random.default_rng([problem.config.training.seed, _PARAMS])
    params = init(problem.network, rng, problem.config.network.init_scale)
    average = init_average(params) if problem.average else ()
    return TrainState(params, init_state(problem.optimizer, problem.network, params), 0, 0.0, average)


def averaged(state: TrainState) -> TrainState | None:
    """`state` with the averaged weights in place of the raw ones; None where nothing was averaged yet."""
    if not state.average or not state.average.steps:
        return None
    return state._replace(params=state.average.params)


def state_arrays(state: TrainState) -> dict[str, Array | int | float]:
    """Leaves of the state by path, such as "params/0/weight"."""
    return dict(trees.named_leaves(state))


def restore_state(problem: Problem, arrays: dict[str, np.ndarray]) -> TrainState:
    """State of `problem` from host arrays by path, as a checkpoint holds them.

    Raises
    ------
    RunError
        If an array is missing or of another shape.
    """
    template = initial_state(problem)
    names = iter([name for name, _ in trees.named_leaves(template)])

    def restored(leaf: Array | int | float) -> Array | int | float:
        name = next(names)
        if name not in arrays:
            raise RunError(f"checkpoint: {name} is missing; is it of a run with other settings?")
        array = arrays[name]
        if isinstance(leaf, int | float):
            return type(leaf)(array)
        if array.shape != leaf.shape:
            raise RunError(
                f"checkpoint: {name} is {array.shape} where these settings need {leaf.shape}; "
                "settings that shape the network cannot change on resume"
            )
        return problem.backend.asarray(array, dtype=problem.dtype)

    return trees.map_leaves(restored, template)
