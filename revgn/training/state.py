"""The state of a training run: the initial state, its arrays for checkpoints, and the way back from them."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from revgn import trees
from revgn.arrays import Array, Backend, ShapesOnly
from revgn.errors import RunError
from revgn.maps import init
from revgn.networks import ChainParams, Network
from revgn.optimizers import OptimizerState, init_state
from revgn.settings import Config, Own
from revgn.training.average import AverageState
from revgn.training.divergence import Course
from revgn.training.problem import Problem, generator

_INIT_SCALE = 1e-3  # scale of the initial weights of a user-defined network
_PARAMS = 2  # tag of the random draw


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
    return _state_before(problem, _draw_params(problem, generator(problem.config, _PARAMS)))


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
    return _draw_params(of, generator(of.config, _PARAMS) if is_own else ShapesOnly())


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
