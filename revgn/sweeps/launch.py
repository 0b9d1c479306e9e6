"""Run a sweep: its folder, its plan, and whoever gives it workers."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path

from revgn.errors import UsageError
from revgn.runs.files import writing
from revgn.sweeps.claim import put
from revgn.sweeps.drive import Board, Hopeless, Observer, Source, drive
from revgn.sweeps.plan import Job, Plan, parse_plan, plan_jobs, plan_toml, with_files_found
from revgn.sweeps.pool import LocalPool, visible_gpus

PLAN_FILE = "sweep.toml"


class Listed:
    """Jobs that are all known from the start."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs = tuple(jobs)

    def more(self, board: Board, free: int) -> list[Job]:
        """All jobs, the first time."""
        return [job for job in self.jobs if job.name not in board]


def run_sweep(
    plan: Plan,
    folder: Path | str,
    *,
    source: Source | None = None,
    executor: Executor | None = None,
    workers: int = 1,
    command: str = "",
    hopeless: Hopeless = lambda board: {},
    observe: Observer = lambda board: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Board:
    """Run the jobs of a plan, each in a run folder of its own in `folder`, that are not done there yet.

    Parameters
    ----------
    source : Source
        Who thinks of jobs; all of the plan's if not given.
    executor : concurrent.futures.Executor
        Who runs them; processes of this machine if not given, among which its threads and GPUs are divided.
        The script that calls this then needs `if __name__ == "__main__":`, as with any such processes.
    workers : int
        Jobs at a time.
    hopeless, observe, should_stop : callable
        As of `drive`.

    Raises
    ------
    UsageError
        If the settings of a job cannot be; nothing has been run then.
    RunError
        If the folder cannot be written.
    """
    if workers < 1:
        raise UsageError(f"workers: {workers} is not at least 1")
    folder = Path(folder)
    plan = with_files_found(plan, Path.cwd())
    source = source or Listed(plan_jobs(plan))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    put(folder / PLAN_FILE, plan_toml(plan).encode())
    own = LocalPool(workers, _gpus(plan)) if executor is None else None
    with own or nullcontext():
        return drive(
            folder.resolve(),
            source,
            executor or own,  # type: ignore[arg-type]
            workers,
            command=command,
            hopeless=hopeless,
            observe=observe,
            should_stop=should_stop,
        )


def load_plan(path: Path | str) -> Plan:
    """Read a plan from a TOML file, or that of the sweep in a folder.

    Raises
    ------
    UsageError
        If there is none, or it is not one.
    """
    path = Path(path)
    file = path / PLAN_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_plan(text, str(file))


def _gpus(plan: Plan) -> list[str]:
    """GPUs to divide, where the jobs may want some."""
    training = plan.settings.get("training")
    chosen = training.get("backend") if isinstance(training, dict) else None
    return [] if chosen == "numpy" else visible_gpus()
