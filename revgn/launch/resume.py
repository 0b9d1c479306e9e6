"""Resuming a run from its newest checkpoint."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from revgn.errors import MemoryShortageError, UsageError
from revgn.launch.problem import problem_of, stored_network, with_data_found
from revgn.launch.provenance import provenance
from revgn.launch.record import Observer, Outcome, record_training
from revgn.optimizers import schedule_factor
from revgn.settings import Config, Tail, build_config, config_dict, fields_at, flat, kind_of, mapped, parts_of
from revgn.solvers import MinimumNorm
from revgn.store import Provenance, Run, RunWriter, has_network, latest_checkpoint, open_run, reopen_run
from revgn.store.attributes import machine_changes
from revgn.store.reader import folder_of, progress_of
from revgn.training import Problem, TrainState, idle_settings, initial_state, restore_state
from revgn.training.average import tail_begin


def resume_run(
    run: Run | Path | str,
    changes: dict[str, Any] | Problem,
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
    note: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Resume a run from its newest checkpoint.

    Parameters
    ----------
    run : Run or path
        The run, or its folder. It is read again in any case.
    changes : dict or Problem
        Nested settings to change, such as a larger number of epochs. For a run that was started with a
        `Problem`, the same problem.
    note : callable
        Called with messages for the user: damaged checkpoints, changes of machine or versions, a learning
        rate or an average that does not continue smoothly since the number of steps has changed, settings
        without effect, and a tangent kernel that does not fit into memory as a whole.

    Notes
    -----
    Law: a run that is killed at any instant and resumed is equal, bit by bit, to an uninterrupted run on the
    same machine.

    Raises
    ------
    UsageError
        If a setting cannot change on resume, or the run has completed all its steps.
    RunError
        If there is no usable checkpoint, if the data differ from the data at the start of the run, or if
        another process is writing the run or has continued it meanwhile.
    DataError
        If the data are not found.

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"data": {"subset": 100}, "training": {"batch_size": 50, "steps": 1}})
    >>> outcome = revgn.start_run(config, "runs/resumed")
    >>> revgn.resume_run("runs/resumed", {"training": {"steps": 3}}).step
    3
    """
    folder = folder_of(run)
    run = open_run(folder)
    since = progress_of(run)
    own = changes if isinstance(changes, Problem) else with_data_found(build_config(changes, run.config))
    after = own.config if isinstance(own, Problem) else own
    _check_changes(build_config(run.config), after)
    problem = problem_of(run, own)
    if problem.config.data.name != after.data.name:
        note(f"{after.data.name}: there is no such file; {problem.config.data.name} holds the same data")
    if isinstance(own, Problem) and problem.network is not own.network:
        note("the given network has other frozen arrays than the run, which continues with its own")
    state = _latest_state(run, problem, note)
    is_unfinished = run.status != "finished"  # also if it was killed after its last step
    if state.step >= problem.total_steps + is_unfinished:
        name = "steps" if problem.config.training.steps else "epochs"
        raise UsageError(
            f"{folder}: has completed all {state.step} steps; "
            f"to continue, increase training.{name} (--{name})"
        )
    origin = provenance(problem, command)
    for text in (*_changes(run, problem, state, origin), *idle_settings(problem)):
        note(text)
    network = None if has_network(folder) else stored_network(problem)  # a run of an older version
    writer = reopen_run(folder, origin, network, step=state.step, since=since)
    return record_with_room(writer, problem, state, command, observe, should_stop, note)


def record_with_room(
    writer: RunWriter,
    problem: Problem,
    state: TrainState,
    command: str,
    observe: Observer | None,
    should_stop: Callable[[], bool | str],
    note: Callable[[str], None],
) -> Outcome:
    """Run `record_training`; if the tangent kernel exceeds the memory, continue with a tiled factorization.

    In that case the run is resumed from its newest checkpoint with a bound on the memory of the kernel, which
    is stored in its settings. The result is equal, bit by bit, to a run that was resumed with this bound by
    hand, even if it is killed and resumed again.
    """
    while True:
        try:
            return record_training(writer, problem, state, observe, should_stop, note)
        except MemoryShortageError as error:
            bounded = None if error.kernel_memory is None else _with_bound(problem, error.kernel_memory)
            if bounded is None or bounded.config == problem.config:
                raise
            message = f"{error}; the run continues in this way from its newest checkpoint"
        note(message)  # here the error and the arrays in its traceback have been released
        problem = bounded
        run = open_run(writer.folder)
        since, state = progress_of(run), _latest_state(run, problem, note)
        origin = provenance(problem, f"{command} ({message})")
        writer = reopen_run(writer.folder, origin, step=state.step, since=since)


def _with_bound(problem: Problem, memory: int) -> Problem:
    """Return the problem with this memory bound for the kernel of each minimum-norm solver."""

    def bounded(part: Any) -> Any:
        return replace(part, memory=memory) if isinstance(part, MinimumNorm) else part

    config = replace(problem.config, optimizer=mapped(bounded, problem.config.optimizer))
    return replace(problem, config=config, optimizer=mapped(bounded, problem.optimizer))


def _latest_state(run: Run, problem: Problem, note: Callable[[str], None]) -> TrainState:
    """Return the state of the newest checkpoint, or the initial state if there is no checkpoint yet."""
    if not run.checkpoints:
        if run.steps["step"].size:
            note(f"{run.folder}: has no checkpoint; training starts again at step 1")
        return initial_state(problem)
    checkpoint, notes = latest_checkpoint(run.folder)
    for text in notes:
        note(text)
    return restore_state(problem, checkpoint.arrays)


def _changes(run: Run, problem: Problem, state: TrainState, origin: Provenance) -> Iterator[str]:
    """Yield a sentence for each way in which the resumed run will differ from the run so far."""
    if changes := machine_changes(run.attributes, origin):
        yield f"{', '.join(changes)}: results may differ from an uninterrupted run in the last bits"
    if not state.step:
        return
    before, after = build_config(run.config), problem.config
    total = before.training.steps or before.training.epochs * problem.steps_per_epoch
    last, planned, now = (
        schedule_factor(settings.schedule, step, steps)
        for settings, step, steps in (
            (before.training, state.step - 1, total),
            (before.training, state.step, total),
            (after.training, state.step, problem.total_steps),
        )
    )
    if not math.isclose(planned, now, rel_tol=1e-3):
        yield _schedule_change(before, after, last, now, (total, problem.total_steps))
    if isinstance(problem.average, Tail) and state.average and state.average.steps:
        begin = tail_begin(problem.average, problem.total_steps)
        if state.average.steps > max(state.step - begin, 0):  # some of its steps are before `begin`
            first = max(state.step, begin) + 1
            yield f"the average of the weights starts again at step {first}, since it begins later now"


def _schedule_change(before: Config, after: Config, last: float, now: float, totals: tuple[int, int]) -> str:
    """Describe a jump of the learning rate, and how to avoid it."""
    rates = [
        [part.lr for part in parts_of(config.optimizer) if hasattr(part, "lr")] for config in (before, after)
    ]
    kind = kind_of(after.training.schedule)
    longer = f"the {kind} schedule now ends at step {totals[1]} instead of {totals[0]}"
    reason = longer if totals[0] != totals[1] else "the schedule has changed"
    if any(len({*of}) != 1 for of in rates):
        return f"the factor of the learning rates goes from {last:.3g} to {now:.3g}: {reason}"
    old, new = rates[0][0] * last, rates[1][0] * now
    return f"lr goes from {old:.3g} to {new:.3g}: {reason}; --schedule constant --lr {old:.3g} keeps it"


def _check_changes(before: Config, after: Config) -> None:
    """Raise `UsageError` for a changed setting on which batches, arrays or targets depend."""
    was, now = flat(config_dict(before)), flat(config_dict(after))
    allowed = [path for path, found in fields_at(config_dict(after)).items() if found.of.resumable]
    for path in dict.fromkeys((*now, *was)):
        may_change = any(path == part or path.startswith(f"{part}.") for part in allowed)
        if not may_change and was.get(path) != now.get(path):
            raise UsageError(f"{path}: cannot change on resume (it is {was.get(path)!r}); start a new run")
