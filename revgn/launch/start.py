"""Train from the beginning into a new run folder."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from revgn.launch.provenance import provenance
from revgn.launch.record import Observer, Outcome, record_training
from revgn.store import create_run
from revgn.training import Config, build_problem, choose_solver, initial_state, load_data, solver_choice


def start_run(
    config: Config,
    folder: Path | str,
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
) -> Outcome:
    """Train from the beginning into a new run folder.

    Parameters
    ----------
    command : str
        The command line, for the run's history.
    observe : callable
        Called with the problem and each event, after it was journalled.
    should_stop : callable
        Asked after each step; True ends training with a checkpoint and status "interrupted", a reason with
        "stopped": the run is not to go on.

    Raises
    ------
    RunError
        If the folder exists and is not empty, cannot be written, or training diverged; what was journalled
        and the last good checkpoint stay.
    """
    if Path(config.data.name).suffix:  # a file: resume must find it from any folder
        data = msgspec.structs.replace(config.data, name=str(Path(config.data.name).resolve()))
        config = msgspec.structs.replace(config, data=data)
    dataset = load_data(config)
    config, estimates = choose_solver(config, dataset)
    problem = build_problem(config, dataset)
    writer = create_run(Path(folder), provenance(problem, command))
    notes = [f"solver {solver_choice(config, estimates)}"] if estimates else []
    return record_training(writer, problem, initial_state(problem), observe, should_stop, tuple(notes))
