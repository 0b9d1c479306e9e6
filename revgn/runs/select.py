"""Runs by the folders that people name: a run, or whatever holds some."""

from collections.abc import Iterable
from pathlib import Path

from revgn.errors import UsageError
from revgn.runs.reader import Run, is_run, list_runs, open_run


def runs_in(paths: Iterable[Path | str]) -> list[Run]:
    """Return the run in each folder, or else all that it holds at any depth, each run once.

    Raises
    ------
    UsageError
        If a path holds no run.
    RunError
        If a run is damaged.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        folders = [path] if is_run(path) else list_runs(path)
        if not folders:
            raise UsageError(f"{path}: holds no run" if path.exists() else f"{path}: there is no such folder")
        found |= dict.fromkeys(folders)
    return [open_run(folder) for folder in found]
