"""Continue a run from its newest checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from revgn.errors import UsageError
from revgn.launch.problem import problem_of
from revgn.launch.provenance import provenance
from revgn.launch.record import Observer, Outcome, record_training
from revgn.settings import Config, build_config, config_dict, fields_at, flat
from revgn.store import latest_checkpoint, open_run, reopen_run
from revgn.training import Problem, initial_state, restore_state


def resume_run(
    folder: Path | str,
    changes: dict[str, Any] | Problem,
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
    note: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Continue a run from its newest checkpoint.

    Parameters
    ----------
    changes : dict or Problem
        Nested settings to change, such as more epochs; of a run that was started with a `Problem`, that
        problem again.
    note : callable
        Called before training with a sentence on every damaged checkpoint.

    Notes
    -----
    Law: a run killed anywhere and resumed has the bits of one that was not, on the same machine.

    Raises
    ------
    UsageError
        If a setting cannot change on resume, or nothing is left to do.
    RunError
        If there is no usable checkpoint, or the data are not those that the run was started with.

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"data": {"subset": 100}, "training": {"batch_size": 50, "steps": 1}})
    >>> outcome = revgn.start_run(config, "runs/resumed")
    >>> revgn.resume_run("runs/resumed", {"training": {"steps": 3}}).step
    3
    """
    folder = Path(folder)
    run = open_run(folder)
    own = changes if isinstance(changes, Problem) else build_config(changes, run.config)
    _check_changes(build_config(run.config), own.config if isinstance(own, Problem) else own)
    problem = problem_of(run, own)
    state = initial_state(problem)
    if run.checkpoints:  # else it was killed before the first
        checkpoint, notes = latest_checkpoint(folder)
        state = restore_state(problem, checkpoint.arrays)
        for text in notes:
            note(text)
    if state.step >= problem.total_steps + (run.status != "finished"):  # killed before its last words
        raise UsageError(
            f"{folder}: has done its {state.step} steps; "
            f"to go on, raise training.{'steps' if problem.config.training.steps else 'epochs'}"
        )
    writer = reopen_run(folder, provenance(problem, command), step=state.step)
    return record_training(writer, problem, state, observe, should_stop)


def _check_changes(before: Config, after: Config) -> None:
    """Raise `UsageError` for a changed setting from which batches, arrays or targets follow."""
    was, now = flat(config_dict(before)), flat(config_dict(after))
    allowed = [path for path, found in fields_at(config_dict(after)).items() if found.of.resumable]
    for path in dict.fromkeys((*now, *was)):
        may_change = any(path == part or path.startswith(f"{part}.") for part in allowed)
        if not may_change and was.get(path) != now.get(path):
            raise UsageError(f"{path}: cannot change on resume (it is {was.get(path)!r}); start a new run")
