"""Continue a run from its newest checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from revgn.errors import UsageError
from revgn.launch.problem import same_data
from revgn.launch.provenance import provenance
from revgn.launch.record import Observer, Outcome, record_training
from revgn.store import latest_checkpoint, open_run, reopen_run
from revgn.training import build_config, build_problem, config_dict, flat, initial_state, restore_state

# What a resumed run may change: nothing that its batches, arrays or targets follow from.
RESUMABLE = (
    "data.name",  # a file may have moved; its checksum may not change
    "data.folder",
    "network.activations",
    "optimizer.lr",
    "optimizer.second_lr",
    "optimizer.schedule",
    "optimizer.warmup",
    "optimizer.floor",
    "optimizer.every",
    "optimizer.gamma",
    "optimizer.weight_decay",
    "optimizer.damping",
    "optimizer.memory",
    "training.epochs",
    "training.steps",
    "training.backend",
    "training.eval_every",
    "training.eval_train_rows",
    "training.measure_every",
    "training.analyse_rows",
    "training.analyse_probes",
    "training.checkpoint_every",
)


def resume_run(
    folder: Path | str,
    changes: dict[str, Any],
    *,
    command: str = "",
    observe: Observer | None = None,
    should_stop: Callable[[], bool | str] = lambda: False,
) -> Outcome:
    """Go on with a run from its newest checkpoint; `changes` are nested settings, such as more epochs.

    Notes
    -----
    Law: a run killed anywhere and resumed has the bits of one that was not, on the same machine.

    Raises
    ------
    UsageError
        If a setting cannot change on resume, or nothing is left to do.
    RunError
        If there is no usable checkpoint, or the data are not those that the run was started with.
    """
    folder = Path(folder)
    run = open_run(folder)
    config = build_config(changes, run.config)
    before = flat(config_dict(build_config(run.config)))  # with settings that are newer than the run
    for path, value in flat(config_dict(config)).items():
        if path not in RESUMABLE and before.get(path) != value:
            raise UsageError(f"{path}: cannot change on resume (it is {before.get(path)!r}); start a new run")
    problem = build_problem(config, same_data(config, run.attributes["data_sha256"]))
    state = initial_state(problem)
    notes: list[str] = []
    if run.checkpoints:  # else it was killed before the first
        checkpoint, notes = latest_checkpoint(folder)
        state = restore_state(problem, checkpoint.arrays)
    if state.step >= problem.total_steps + (run.status != "finished"):  # killed before its last words
        raise UsageError(
            f"{folder}: has done its {state.step} steps; "
            f"to go on, raise training.{'steps' if config.training.steps else 'epochs'}"
        )
    writer = reopen_run(folder, provenance(problem, command), step=state.step)
    return record_training(writer, problem, state, observe, should_stop, tuple(notes))
