"""Starting a new run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from revgn import training
from revgn.cost import Cost
from revgn.data import notes_on_data
from revgn.launch.problem import stored_network, with_data_found
from revgn.launch.provenance import provenance
from revgn.launch.record import Observer, Outcome
from revgn.launch.resume import record_with_room
from revgn.settings import Config
from revgn.store import create_run
from revgn.training import Problem, initial_state

_LONG = 1e13  # operations of a run whose time is estimated in advance: minutes on two cores


def start_run(
    what: Config | Problem | dict[str, Any],
    folder: Path | str,
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
    note: Callable[[str], None] = lambda text: None,
    announce: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Train from initialization and store the run in a new folder.

    Parameters
    ----------
    what : dict or Config or Problem
        Nested settings, in which defaults are chosen from the data where nothing is set
        (`revgn.choose_defaults`); or complete settings; or a problem with the user's own network, loss or
        optimizer.
    command : str
        The command line, which is stored in the history of the run.
    observe : callable
        Called with the problem and each event, after the event is stored in the journal.
    should_stop : callable
        Called after each step. If it returns True, training ends with a checkpoint and the status
        "interrupted". If it returns a reason, the status is "stopped", and the run should not be resumed.
    note : callable
        Called with messages for the user: how the data are interpreted and what they lack, which solver was
        chosen, whether the memory is sufficient, whether the tangent kernel is singular by construction,
        whether it fits into memory as a whole, and which settings have no effect.
    announce : callable
        Called with a line that names the defaults that were chosen, if there are any, and with an estimate of
        time and memory if the run has more than 1e13 operations.

    Raises
    ------
    RunError
        If the folder is not empty or cannot be written, or if training diverges. After divergence, the
        journal and the last checkpoint with a finite loss remain.

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"data": {"subset": 100}, "training": {"batch_size": 50, "steps": 3}})
    >>> outcome = revgn.start_run(config, "runs/started")
    >>> outcome.status, outcome.step
    ('finished', 3)
    """
    choices = ""
    if not isinstance(what, Problem):
        if isinstance(what, Config):
            config = with_data_found(what)
            dataset = training.load_data(config)
        else:
            config, dataset, _ = chosen = training.choose_defaults(what)
            config, choices = with_data_found(config), str(chosen)
            for text in training.idle_length(what):
                note(text)
        for text in notes_on_data(dataset):
            note(text)
        config, estimates = training.choose_solver(config, dataset)
        if estimates:
            note(f"solver {training.solver_choice(estimates)}")
        cost = _noted_cost(training.build_problem(config, dataset, shapes_only=True), note)
        problem = training.build_problem(config, dataset)
    else:
        problem = replace(what, config=with_data_found(what.config))
        for text in notes_on_data(problem.dataset):
            note(text)
        cost = _noted_cost(problem, note)
    with create_run(Path(folder), provenance(problem, command), stored_network(problem)) as writer:
        if choices:
            announce(choices)
        if sum(cost.work.values()) * problem.total_steps > _LONG:
            announce(_estimate(problem))
        state = initial_state(problem)
        return record_with_room(writer, problem, state, command, observe, should_stop, note)


def _noted_cost(problem: Problem, note: Callable[[str], None]) -> Cost:
    """Return the cost of a step, after the notes on it and on settings without effect."""
    cost = training.step_cost(problem)
    for text in (*cost.notes, *training.idle_settings(problem)):
        note(text)
    return cost


def _estimate(problem: Problem) -> str:
    """Return the estimated time and memory of a run in one line."""
    found = training.estimate_step(problem)
    minutes = problem.total_steps * found.seconds_per_step / 60
    length = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return (
        f"at least {length} for {problem.total_steps:,} steps of {found.seconds_per_step:.2g} s, and "
        f"{found.memory_bytes / 1e9:.2g} GB of memory; --dry-run shows the parts"
    )
