"""The problem that settings describe: data, network, loss, optimizer, and the state before the first step.

Every draw follows from the seed and a tag of its own, so changing one choice leaves the others' bits.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from revgn import trees
from revgn.arrays import Array, Backend, DType, limits_of, select_backend
from revgn.data import Dataset, PlacedDataset, load_dataset, place_dataset, steps_per_epoch
from revgn.errors import RunError, UsageError
from revgn.losses import CrossEntropy, Loss, SquaredError
from revgn.maps import init
from revgn.networks import Architecture, ChainParams, Network, draw_network
from revgn.optimizers import Optimizer, OptimizerState, Schedule, init_state
from revgn.settings import Config, Exponential, Own, Tail, config_dict, kind_of, mapped, parts_of
from revgn.settings.registry import OWN
from revgn.solvers import Automatic, BlockWise, MinimumNorm, is_dense, kernel_memory
from revgn.solvers.block_weights import fixed_weights
from revgn.training.average import AverageState

DEFAULT_BATCH = 256
_INIT_SCALE = 1e-3  # of a network of the user's own
_NETWORK, _PARAMS = 1, 2  # tags that keep the draws of one seed apart


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The constants of a training run."""

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


class TrainState(NamedTuple):
    """The variables of a training run: parameters, optimizer state, steps, seconds spent in them, average.

    Without an average it is empty.
    """

    params: ChainParams
    optimizer: OptimizerState
    step: int
    seconds: float
    average: AverageState | tuple[()] = ()


def load_data(config: Config) -> Dataset:
    """Data set of `config`.

    Examples
    --------
    >>> import revgn
    >>> data = revgn.load_data(revgn.build_config({"data": {"subset": 100}}))
    >>> data.train.inputs.shape
    (100, 64)
    """
    return load_dataset(**config_dict(config.data))


def build_problem(
    config: Config,
    dataset: Dataset,
    *,
    network: Network | None = None,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
) -> Problem:
    """Draw the network, and choose what `config` leaves open.

    A network, loss or optimizer of the user's own takes the place of the one that `config` describes.

    Raises
    ------
    UsageError
        If settings do not fit the data: a loss of the other task, crops of what are not images.
    BackendError
        If the backend is not there.

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
    n, d = dataset.train.inputs.shape
    outputs = dataset.train.targets.shape[1]
    batch_size = n if settings.batch_size == "full" else settings.batch_size or min(DEFAULT_BATCH, n)
    per_epoch = steps_per_epoch(n, batch_size)
    total_steps = settings.steps or settings.epochs * per_epoch
    if config.data.crop and dataset.image_shape is None:
        raise UsageError(f"data.crop: {dataset.name} has no images to crop")
    config = _with_parts(config, network, loss, optimizer)
    if network is None:
        if outputs > 2 * ((d + 1) // 2):
            what = "classes" if dataset.task == "classification" else "targets"
            raise UsageError(
                f"{dataset.name}: {outputs} {what} but only {d} features; "
                "a reversible network has no more outputs than (an even number of) features"
            )
        rng = np.random.default_rng([settings.seed, _NETWORK])
        assert isinstance(config.network, Architecture)
        network = draw_network(config.network, d, outputs, rng, backend=backend, dtype=dtype)
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


def place_data(problem: Problem) -> PlacedDataset:
    """Move the data of a problem to its backend, once for many batches; see `revgn.data.place_dataset`.

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"data": {"subset": 100}, "network": {"hidden": 16}})
    >>> problem = revgn.build_problem(config, revgn.load_data(config))
    >>> place_data(problem).train.inputs.shape
    (100, 64)
    """
    return place_dataset(problem.dataset, problem.backend, problem.dtype)


def _with_parts(
    config: Config, network: Network | None, loss: Loss | None, optimizer: Optimizer | None
) -> Config:
    """Return the configuration with the user's own parts in it; `UsageError` where one of them is missing."""

    def part(given: Any, set_: Any, name: str) -> Any:
        if given is not None:
            return given if kind_of(given) != OWN else Own(_description(given))
        if isinstance(set_, Own):
            raise UsageError(f"{name}: is one of the user's own ({set_.description}); pass it in a Problem")
        return set_

    training = replace(config.training, loss=part(loss, config.training.loss, "training.loss"))
    return replace(
        config,
        network=part(network, config.network, "network"),
        optimizer=part(optimizer, config.optimizer, "optimizer"),
        training=training,
    )


def _description(part: Any) -> str:
    """Describe a part of the user's own in one line: a network by the types of its layers."""
    layers = getattr(getattr(part, "body", None), "layers", None)
    return repr(part)[:200] if layers is None else ", ".join(type(layer).__name__ for layer in layers)


def _check_parts(optimizer: Optimizer, loss: Loss, config: Config, outputs: int) -> None:
    """Raise `UsageError` where optimizer or settings do not go with the loss, the network or the outputs."""
    most = outputs - isinstance(loss, CrossEntropy)
    for part in parts_of(optimizer):
        if isinstance(part, Automatic):
            raise UsageError("solver: auto is not chosen yet; let choose_solver do it")
        if isinstance(part, BlockWise) and isinstance(config.network, Architecture):
            fixed_weights(part.block_weights, config.network.blocks)  # refuses a wrong count
        if getattr(part, "outputs", None) == "centered-logits" and not isinstance(loss, CrossEntropy):
            raise UsageError("outputs: centered-logits is for cross-entropy, which ignores a constant")
        if isinstance(rows := getattr(part, "rows", None), int) and rows > most:
            fewer = f"at most {most}, or all" if most else "all"
            raise UsageError(f"rows: {rows} for {outputs} outputs; expected {fewer}")
    if config.training.label_smoothing and not isinstance(loss, CrossEntropy):
        raise UsageError("training.label_smoothing: is for cross-entropy, whose targets are distributions")


def choose_loss(config: Config, dataset: Dataset) -> Loss:
    """Loss of the settings, by default cross-entropy for classes and squared error for numbers."""
    loss: Loss | None = config.training.loss
    if isinstance(loss, CrossEntropy) and dataset.task == "regression":
        raise UsageError(f"training.loss: cross-entropy needs classes, but {dataset.name} is a regression")
    if loss is None:
        return SquaredError() if dataset.task == "regression" else CrossEntropy()
    return loss


def _bounded(part: Any, samples: int, outputs: int, backend: Backend) -> Any:
    """Return a minimum-norm solver with its memory, left open where even the kernel's eigenvectors fit."""
    if not isinstance(part, MinimumNorm) or part.memory is not None:
        return part
    memory, order = kernel_memory(None, backend), samples * (outputs if part.rows == "all" else part.rows)
    is_roomy = is_dense("eigh", order, 8, memory, limits_of(backend))
    return part if is_roomy else replace(part, memory=memory)


def initial_state(problem: Problem) -> TrainState:
    """Draw the state before the first step.

    Examples
    --------
    >>> import revgn
    >>> tiny = {"data": {"subset": 100}, "network": {"hidden": 16}, "training": {"steps": 2}}
    >>> config = revgn.build_config(tiny)
    >>> problem = revgn.build_problem(config, revgn.load_data(config))
    >>> revgn.initial_state(problem).step
    0
    """
    params = _draw_params(problem, np.random.default_rng([problem.config.training.seed, _PARAMS]))
    return _state_before(problem, params)


def _draw_params(problem: Problem, rng: np.random.Generator) -> ChainParams:
    return init(problem.network, rng, getattr(problem.config.network, "init_scale", _INIT_SCALE))


def _state_before(problem: Problem, params: ChainParams) -> TrainState:
    average = AverageState(0, params) if problem.average else ()
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
    return _restored(_state_before(problem, _blank_params(problem)), "", problem, arrays)  # type: ignore[no-any-return]


def restore_weights(problem: Problem, arrays: dict[str, np.ndarray]) -> ChainParams:
    """Weights alone of a checkpoint, whatever optimizer it is of."""
    return _restored(_blank_params(problem), "params/", problem, arrays)  # type: ignore[no-any-return]


def restore_average(problem: Problem, arrays: dict[str, np.ndarray]) -> ChainParams | None:
    """Averaged weights alone of a checkpoint; None where nothing was averaged yet."""
    if not int(arrays.get("average/steps", 0)):
        return None
    return _restored(_blank_params(problem), "average/params/", problem, arrays)  # type: ignore[no-any-return]


class _Blank(np.random.Generator):
    """Generator whose normal numbers are zeros: for parameters of which only the shapes count."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        found = np.zeros(size, dtype) if out is None else out
        found[...] = 0.0
        return found


def _blank_params(problem: Problem) -> ChainParams:
    """Return parameters as they are drawn, but zero; a network of the user's own, which may divide, draws."""
    if isinstance(problem.config.network, Architecture):
        return _draw_params(problem, _Blank())
    return initial_state(problem).params


def _restored(template: Any, prefix: str, problem: Problem, arrays: dict[str, np.ndarray]) -> Any:
    """Return a tree like `template` with the arrays whose paths begin with `prefix`."""
    names = iter([f"{prefix}{name}" for name, _ in trees.named_leaves(template)])

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
