"""Starting a sweep: its folder, its plan and its workers."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from revgn.arrays import select_backend
from revgn.data import Dataset, load_dataset
from revgn.errors import UsageError
from revgn.settings import build_config, canonical, config_dict
from revgn.store import is_run, list_runs
from revgn.store.files import create_shared, write_shared, writing
from revgn.sweeps.axes import Axis, parse_axis
from revgn.sweeps.claim import Silence, is_held, newest_claims
from revgn.sweeps.dask import dask_executor
from revgn.sweeps.drive import Board, Hopeless, Observer, Source, drive
from revgn.sweeps.extend import differences
from revgn.sweeps.median import MedianRule
from revgn.sweeps.plan import Plan, Rule, Trial, parse_plan, plan_toml, plan_trials, with_files_found
from revgn.sweeps.pool import LocalPool, visible_gpus
from revgn.sweeps.search import Searched
from revgn.sweeps.tune import LR, LR_FACTORS, Tuned, is_same_setting, split_tune

PLAN_FILE = "sweep.toml"
_SHOWN = 3  # differences between two plans that an error names


class Listed:
    """Source of a fixed list of trials."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self.trials = tuple(trials)

    def more(self, board: Board, free: int) -> list[Trial]:
        """Return all trials at the first call, and none afterwards."""
        return [trial for trial in self.trials if trial.name not in board]


def run_sweep(
    plan: Plan,
    folder: Path | str,
    *,
    source: Source | None = None,
    executor: Executor | None = None,
    workers: int = 1,
    command: str = "",
    hopeless: Hopeless | None = None,
    observe: Observer = lambda board: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Board:
    """Run all trials of a plan that have not ended yet, each in its own run folder within `folder`.

    Parameters
    ----------
    source : Source
        Source of the trials. Default: `source_of(plan, folder)`.
    executor : concurrent.futures.Executor
        Runs the trials. Default: processes on this machine, which share its threads and GPUs. The calling
        script then needs `if __name__ == "__main__":`.
    workers : int
        Number of trials that run at the same time.
    hopeless, observe, should_stop : callable
        See `drive`. Default of `hopeless`: the median rule, if the plan has `median_after`.

    Returns
    -------
    board : Board
        The final state of each trial, by its name.

    Raises
    ------
    UsageError
        If the settings of a trial are invalid, or the folder has another plan; in this case no trial is run.
    RunError
        If the folder cannot be written.
    """
    if workers < 1:
        raise UsageError(f"workers: {workers} is not at least 1")
    folder = Path(folder)
    plan = with_files_found(plan, Path.cwd())
    check_folder(plan, folder)
    source = source or source_of(plan, folder)
    if hopeless is None and plan.median_after is not None:
        hopeless = MedianRule(plan.median_after)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    content = plan_toml(plan).encode()
    if not create_shared(folder / PLAN_FILE, content):
        check_folder(plan, folder)  # another process may have started a sweep here meanwhile
        write_shared(folder / PLAN_FILE, content)
    own: AbstractContextManager[Executor]
    own = LocalPool(workers, _gpus(plan)) if executor is None else nullcontext(executor)
    with own as chosen:
        return drive(
            folder.resolve(),
            source,
            chosen,
            workers,
            command=command,
            hopeless=hopeless,
            observe=observe,
            should_stop=should_stop,
        )


def check_folder(plan: Plan, folder: Path) -> None:
    """Raise `UsageError` if a folder is a run, or has a sweep with trials that the plan leaves out.

    A sweep whose trials have all ended without a run may be replaced.
    """
    if is_run(folder):
        raise UsageError(f"{folder}: is the folder of a run; choose another folder for the sweep (--out)")
    if not (folder / PLAN_FILE).exists():
        return
    claims = newest_claims(folder)
    if claims and not (list_runs(folder) or any(is_held(claim, Silence()) for claim in claims)):
        return
    found = differences(load_plan(folder), with_files_found(plan, Path.cwd()))
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UsageError(
            f"{folder}: is the folder of another sweep, whose trials this one would leave out: "
            f"{'; '.join(found[:_SHOWN])}{more}; choose another folder (--out)"
        )


def check_contradictions(plan: Plan) -> None:
    """Raise `UsageError` if parts of a new plan contradict each other or have no effect."""
    if plan.tune is None and plan.rule != Plan().rule:
        raise UsageError(f"rule: {plan.rule} has no effect without tune")
    name, values = split_tune(plan.tune or "")
    for axis in plan.axes:
        if values and is_same_setting(plan, axis.path, name):
            raise UsageError(f"tune {name} and grid {axis.path}: both have values; use only one of them")
        for value, count in Counter(map(json.dumps, axis.values)).items():
            if count > 1:
                raise UsageError(f"grid {axis.path}: the value {value} is given twice")


def first_data(source: Source, plan: Plan, folder: Path, *, download: bool = True) -> Dataset | None:
    """Return the data set of the first trial that has no run yet, or None if there is no such trial.

    Raises
    ------
    UsageError, DataError
        If the data set is unknown, broken or not on this machine.
    BackendError
        If the trial needs a GPU that this machine does not have.
    """
    trials = plan_trials(replace(plan, random=1))[:1] if isinstance(source, Searched) else source.more({}, 0)
    trial = next((trial for trial in trials if not is_run(folder / trial.name)), None)
    if trial is None:
        return None
    config = build_config(dict(trial.settings))
    if config.training.backend == "cupy":
        select_backend("cupy")
    return load_dataset(download=download, **config_dict(config.data))


def source_of(plan: Plan, folder: Path) -> Listed | Tuned | Searched:
    """Return the source of the trials of a plan: tuning, a search, or a list of all of them.

    Raises
    ------
    UsageError
        If the settings of a trial are invalid; see also `tuned` and `Searched`.
    """
    if plan.tune is not None:
        return tuned(plan, folder, plan.tune, plan.rule)
    if plan.search is not None:
        return Searched(plan, plan.search, folder)
    return Listed(plan_trials(with_files_found(plan, Path.cwd())))


@contextmanager
def executor_at(address: str | None, workers: int | None) -> Iterator[tuple[Executor | None, int]]:
    """Yield an executor for `run_sweep`, and the number of trials that it runs at the same time.

    The executor is a dask cluster, or None for processes on this machine.
    """
    if address is None:
        yield None, 1 if workers is None else workers
        return
    with dask_executor(address, workers) as found:
        yield found


def tuned(plan: Plan, folder: Path, text: str, rule: Rule) -> Tuned:
    """Return the source of trials that tune a setting.

    `text` names the setting, as in "lr" (with the values on the grid of the plan), or also gives its values,
    as in "lr=0.1,1". In "lr=x0.3,1,3" the values are factors of the value at each point of the sweep. Default
    for "lr": the value at each point, times 1/9, 1/3, 1, 3 and 9.

    Raises
    ------
    UsageError
        If the setting is unknown, or has fewer than two distinct positive values.
    """
    plan = with_files_found(plan, Path.cwd())
    name, values = split_tune(text)
    path = canonical(name)
    if values:
        axis = parse_axis(path, values.removeprefix("x"))
    elif on_grid := [axis for axis in plan.axes if is_same_setting(plan, axis.path, path)]:
        axis = on_grid[0]
    elif path == LR:
        return Tuned(plan, Axis(path, LR_FACTORS), rule, folder, relative=True)
    else:
        raise UsageError(f"tune {path}: has no initial values; give some, as in {path}=log:0.01..1:3")
    return Tuned(plan, axis, rule, folder, relative=values.startswith("x"))


def load_plan(path: Path | str) -> Plan:
    """Read a plan from a TOML file or from the folder of a sweep; a missing plan raises `UsageError`."""
    path = Path(path)
    file = path / PLAN_FILE if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise UsageError(f"{path}: is not the folder of a sweep: it has no {PLAN_FILE}")
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_plan(text, str(file))


def _gpus(plan: Plan) -> list[str]:
    """Return the GPUs to divide among the workers; none if the trials run on NumPy."""
    training = plan.settings.get("training")
    chosen = training.get("backend") if isinstance(training, dict) else None
    return [] if chosen == "numpy" else visible_gpus()
