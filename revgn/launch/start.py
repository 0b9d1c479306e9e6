"""Train from the beginning into a new run folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from revgn import training
from revgn.launch.provenance import provenance
from revgn.launch.record import Observer, Outcome
from revgn.launch.resume import record_with_room
from revgn.settings import Config
from revgn.store import create_run
from revgn.training import Problem, initial_state


def start_run(
    what: Config | Problem,
    folder: Path | str,
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
    note: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Train from the beginning into a new run folder.

    Parameters
    ----------
    what : Config or Problem
        The settings, or a problem with a network, loss or optimizer of the user's own.
    command : str
        The command line, for the run's history.
    observe : callable
        Called with the problem and each event, after it was journalled.
    should_stop : callable
        Asked after each step; True ends training with a checkpoint and status "interrupted", a reason with
        "stopped": the run is not to go on.
    note : callable
        Called with sentences for the user: the solver that was chosen, a kernel that is known to be
        singular, or one that has no room as a whole.

    Raises
    ------
    RunError
        If the folder exists and is not empty, cannot be written, or training diverged; what was journalled
        and the last good checkpoint stay.

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"data": {"subset": 100}, "training": {"batch_size": 50, "steps": 3}})
    >>> outcome = revgn.start_run(config, "runs/started")
    >>> outcome.status, outcome.step
    ('finished', 3)
    """
    if isinstance(what, Config):
        config = _with_data_found(what)
        dataset = training.load_data(config)
        config, estimates = training.choose_solver(config, dataset)
        if estimates:
            note(f"solver {training.solver_choice(estimates)}")
        problem = training.build_problem(config, dataset)
    else:
        problem = replace(what, config=_with_data_found(what.config))
    for text in training.step_cost(problem).notes:
        note(text)
    writer = create_run(Path(folder), provenance(problem, command))
    state = initial_state(problem)
    return record_with_room(writer, problem, state, command, observe, should_stop, note)


def _with_data_found(config: Config) -> Config:
    """Return the configuration with a data file by its whole path: resume must find it from any folder."""
    name = Path(config.data.name)
    return replace(config, data=replace(config.data, name=str(name.resolve()))) if name.suffix else config
