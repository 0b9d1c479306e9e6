"""Settings without effect in a run: a switch that does not happen, or a setting of a feature that is off."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from revgn.data import dataset_names
from revgn.optimizers import GaussNewton, StepDecay, Switch
from revgn.settings import flat, parts_of
from revgn.settings.config import TrainingSettings
from revgn.solvers import ConjugateGradients, MinimumNorm
from revgn.training.problem import Problem
from revgn.training.state import TrainState


def idle_settings(problem: Problem) -> list[str]:
    """Return a message for each setting without effect in `problem` that is known before the first step.

    Examples
    --------
    >>> import revgn
    >>> schedule = {"kind": "cosine", "warmup": 100}
    >>> tiny = {"data": {"subset": 100}, "training": {"steps": 5, "schedule": schedule}}
    >>> config = revgn.build_config(tiny)
    >>> idle_settings(revgn.build_problem(config, revgn.load_data(config)))
    ['the warm-up of 100 steps is not over after the 5 steps of this run: lr reaches 5 % of its value']
    """
    steps, schedule = problem.total_steps, problem.schedule
    of_run = f"{steps} step{'' if steps == 1 else 's'} of this run"
    found = [
        f"the switch never happens: {name} is {value}, and there are only the {of_run}"
        for switch in _switches(problem.optimizer)
        for name, value in (("switch_at", switch.switch_at), ("patience", switch.patience))
        if value is not None and value >= steps
    ]
    if schedule.warmup > steps:
        share = f"lr reaches {100 * steps / schedule.warmup:.3g} % of its value"
        found.append(f"the warm-up of {schedule.warmup} steps is not over after the {of_run}: {share}")
    elif isinstance(schedule, StepDecay) and schedule.warmup + schedule.every >= steps:
        found.append(f"the schedule never lowers lr: every is {schedule.every}, with the {of_run}")
    return found + list(_of_what_is_off(problem))


def idle_length(settings: Mapping[str, Any]) -> list[str]:
    """Return a message if nested settings give epochs that have no effect, since they also give steps.

    The default number of epochs is not counted, since the settings of a run contain it.

    Examples
    --------
    >>> idle_length({"training": {"epochs": 3, "steps": 2}})
    ['training.epochs has no effect with training.steps, which sets the length of the training']
    """
    given = flat(dict(settings))
    default = TrainingSettings().epochs
    if given.get("training.epochs", default) == default or given.get("training.steps") in (None, "none"):
        return []
    return ["training.epochs has no effect with training.steps, which sets the length of the training"]


def idle_at_end(problem: Problem, state: TrainState) -> list[str]:
    """Return a message for each switch that has not happened by the last step.

    Switches that are already in `idle_settings` are left out.
    """
    return list(_waiting(problem.optimizer, state.optimizer, problem.total_steps))


def _of_what_is_off(problem: Problem) -> Iterator[str]:
    """Yield a message for each setting of a feature that other settings switch off."""
    data, training = problem.config.data, problem.config.training
    if data.subset_seed is not None and data.subset is None:
        yield "subset_seed has no effect without subset"
    if data.folder is not None and data.name not in dataset_names():
        yield f"folder has no effect, since {problem.dataset.name} is not a known data set"
    elif data.folder is not None and not (Path(data.folder) / data.name).is_dir():
        yield f"folder has no effect, since {data.folder} has no folder {data.name}"
    if training.analyse_probes and training.analyse_rows is None:
        yield "analyse_probes has no effect without analyse_rows"
    asked, rows = training.analyse_rows or 0, problem.dataset.test.inputs.shape[0]
    if asked > rows:
        yield f"analyse_rows is {asked}; the test set has only {rows} rows, which are all used"
    for part in parts_of(problem.optimizer):
        if isinstance(part, GaussNewton) and not part.momentum and _is_set(part, "momentum_limit"):
            yield "momentum_limit has no effect with momentum 0"
        if isinstance(part, MinimumNorm | ConjugateGradients) and part.rows == 1 and _is_set(part, "outputs"):
            yield f"outputs {part.outputs} has no effect with rows 1, since the output step is centered"
        if (
            isinstance(part, MinimumNorm)
            and part.damping != "leave-one-out"
            and _is_set(part, "damping_every")
        ):
            yield "damping_every has no effect without damping leave-one-out"


def _is_set(part: Any, name: str) -> bool:
    return bool(getattr(part, name) != getattr(type(part)(), name))


def _switches(optimizer: Any) -> Iterator[Switch]:
    """Yield a switch, and the switches nested in its first optimizer."""
    if isinstance(optimizer, Switch):
        yield optimizer
        yield from _switches(optimizer.first)


def _waiting(optimizer: Any, state: Any, steps: int) -> Iterator[str]:
    if isinstance(optimizer, Switch):
        yield from _waiting(optimizer.first, state.first, steps)
        if not state.is_second and optimizer.patience is not None and optimizer.patience < steps:
            yield (
                f"the switch never happened: patience is {optimizer.patience}, and at the end of training "
                f"{state.since_lowest} steps had passed since the lowest mean loss"
            )
