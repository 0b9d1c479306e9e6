"""Reading runs from disk: their settings, attributes and series."""

import functools
import glob
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from h5py import h5d, h5l, h5o, h5s
from numpy.typing import NDArray

from revgn.data.idx import DEFLATE_RATIO
from revgn.errors import DamagedError, RunError, UsageError
from revgn.store import names
from revgn.store.files import read_attributes, reading
from revgn.store.journal import Columns, is_locked, read_journal
from revgn.store.migrate import migrated
from revgn.store.names import EPOCHS, RENAMED_SERIES, STEPS, Cadence, checkpoint_paths

Series = dict[str, NDArray[np.float64]]
CadenceName = Literal["steps", "epochs"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A stored run, which may still be running.

    `config` holds the settings as nested dicts. Settings and attributes are read when the run is opened.
    Series are read at first access and are not updated afterwards. No lock is taken.
    """

    folder: Path
    attributes: dict[str, Any]
    config: dict[str, Any]
    status: str
    read_series: Callable[[Cadence], Series]

    @property
    def steps(self) -> Series:
        """The scale `step` and every measured series along it: float64, with NaN for missing values."""
        return self.read_series(STEPS)

    @property
    def epochs(self) -> Series:
        """The scale `epoch` and every measured series along it."""
        return self.read_series(EPOCHS)

    @property
    def checkpoints(self) -> list[int]:
        """Steps for which there is a checkpoint."""
        return [int(path.stem.partition("_")[2]) for path in checkpoint_paths(self.folder)]


def open_run(folder: Path | str) -> Run:
    """Open a run for reading, also while it is being written.

    Its series combine the last snapshot in run.h5 with newer records of the journal. Records of a resumed run
    that lie beyond the checkpoint from which it was resumed are left out.

    Raises
    ------
    RunError
        If `folder` does not contain a run, or the run is damaged. Damaged series raise at first access.

    Examples
    --------
    >>> import revgn
    >>> run = revgn.open_run("runs/first")
    >>> run.status, run.steps["step"][-1]
    ('finished', np.float64(3.0))
    """
    folder = Path(folder)
    path = folder / names.RUN_FILE
    check_is_run(folder)
    with _reading_run(folder) as file:
        attributes = read_attributes(file, without=names.CONFIG_PREFIX)
        attributes = migrated(attributes, path)
        if missing := names.ROOT_ATTRIBUTES.keys() - attributes.keys():
            raise DamagedError(f"{path}: is damaged: it lacks {', '.join(sorted(missing))}")
        config = json.loads(attributes["config_json"])
    read_series = functools.cache(functools.partial(_read_series, folder))
    return Run(folder, attributes, config, attributes["status"], read_series)


def as_run(run: Run | Path | str) -> Run:
    """Return a run that is open already, or open the run in a folder; raises the errors of `open_run`."""
    return run if isinstance(run, Run) else open_run(run)


def folder_of(run: Run | Path | str) -> Path:
    """Return the folder of a run, given as the run itself or as this folder."""
    return run.folder if isinstance(run, Run) else Path(run)


def open_runs(where: Path | str | Iterable[Path | str]) -> list[Run]:
    """Open all runs in a folder at any depth, all that match a glob pattern, or all of a list of these.

    Raises
    ------
    UsageError
        If there is no run.
    RunError
        If a run is damaged.

    Examples
    --------
    >>> import revgn
    >>> [run.config["training"]["steps"] for run in revgn.open_runs("runs/first*")]
    [3]
    """
    given = [where] if isinstance(where, Path | str) else list(where)
    folders: dict[Path, None] = {}
    for each in given:
        matches = glob.glob(str(each), recursive=True) if not Path(each).exists() else [str(each)]
        found = [run for match in sorted(matches) for run in list_runs(match)]
        if not found:
            is_empty = matches and not Path(each).is_file()
            raise UsageError(f"{each}: {'contains no run' if is_empty else no_folder(Path(each))}")
        folders |= dict.fromkeys(found)
    return [open_run(folder) for folder in folders]


def is_run(folder: Path | str) -> bool:
    """Return whether `folder` is a run folder, also if its run.h5 is missing and can be made again."""
    return (Path(folder) / names.RUN_FILE).is_file() or can_restore(Path(folder))


def no_folder(path: Path) -> str:
    """Return why a path is not a folder, and what to give instead."""
    return "is a file; give the folder of a run" if path.exists() else "there is no such folder"


def check_is_run(folder: Path) -> None:
    """Raise an error if `folder` is not a run folder, or has lost its run.h5."""
    if folder.is_file():
        raise UsageError(f"{folder}: {no_folder(folder)}")
    if not is_run(folder):
        raise RunError(f"{folder}: is not a run folder: it has no {names.RUN_FILE}")
    if not (folder / names.RUN_FILE).is_file():
        raise DamagedError(f"{folder / names.RUN_FILE}: is missing{_remedy(folder)}")


def can_restore(folder: Path) -> bool:
    """Return whether run.h5 can be made again from the settings and the journal."""
    journal = folder / names.JOURNAL_FILE
    return (folder / names.CONFIG_FILE).is_file() and journal.is_file() and journal.stat().st_size > 0


def _remedy(folder: Path) -> str:
    """Return what to do if run.h5 is damaged; "" if it cannot be made again."""
    command = f"revgn check --repair {shlex.quote(str(folder))}"
    return f"; {command} makes it again from the journal" if can_restore(folder) else ""


@contextmanager
def _reading_run(folder: Path) -> Iterator[h5py.File]:
    """Open the run.h5 of a run for reading; the error for a damaged file ends with the remedy."""
    try:
        with reading(folder / names.RUN_FILE) as file:
            yield file
    except DamagedError as error:
        raise DamagedError(f"{error}{_remedy(folder)}") from error


def list_runs(root: Path | str) -> list[Path]:
    """Return the folders of all runs in `root` at any depth, sorted; damaged runs are included.

    Examples
    --------
    >>> import revgn
    >>> "runs/first" in [str(folder) for folder in revgn.list_runs("runs")]
    True
    """
    found = []
    for folder, inside, _ in os.walk(root):
        if is_run(folder):
            found.append(Path(folder))
            inside.clear()
    return sorted(found)


def status(run: Run) -> str:
    """Return the status of a run; "killed" if it is stored as "running" but no process is writing it."""
    if run.status != "running" or is_locked(run.folder / names.JOURNAL_FILE):
        return run.status
    stored = open_run(run.folder).status  # the run may have ended since it was opened
    return "killed" if stored == "running" else stored


def progress_of(run: Run) -> tuple[object, ...]:
    """Return attributes and checkpoints of a run, which differ if another process has continued it."""
    changing = ("status", "history", "end", names.JOURNAL_BYTES)
    return *(run.attributes.get(name) for name in changing), *run.checkpoints


def _read_series(folder: Path, cadence: Cadence) -> Series:
    """Return the series of the snapshot, extended by newer records of the journal."""
    with _reading_run(folder) as file:
        known = int(file.attrs.get(names.JOURNAL_BYTES, 0))
        found = read_columns(file, cadence)
    entries = read_journal(folder / names.JOURNAL_FILE, known)[0]
    if not entries:
        return found
    columns = Columns(cadence)
    columns.extend(found)
    columns.replay(entries)
    return columns.arrays()


def read_columns(file: h5py.File, cadence: Cadence) -> Series:
    """Return the scale and each measured series from run.h5, under their present names."""
    group, scale = file[cadence.group], cadence.scale.name
    room = DEFLATE_RATIO * Path(file.filename).stat().st_size
    stored = {RENAMED_SERIES.get(name, name): _read_column(group, name, room) for name in group}
    known = [series.name for series in (cadence.scale, *cadence.series) if series.name in stored]
    order = (*known, *sorted(stored.keys() - {*known}))
    return {name: stored[name] for name in order if name == scale or not np.isnan(stored[name]).all()}


def _read_column(group: h5py.Group, name: str, room: int) -> NDArray[np.float64]:
    """Return one series, by h5py's low-level functions, which take half of the time.

    An object that is not a series, is in another file, or takes more than `room` bytes is an error.
    """
    key, fault = name.encode("utf-8", "surrogateescape"), ""
    is_here = group.id.links.get_info(key).type == h5l.TYPE_HARD
    data: Any = h5o.open(group.id, key) if is_here else None
    if not isinstance(data, h5d.DatasetID) or data.get_create_plist().get_layout() == h5d.VIRTUAL:
        fault = "is not a data set stored in this file"
    else:
        shape, dtype = data.shape, data.dtype
        if dtype.kind != "f" or len(shape) != 1:
            fault = f"has shape {shape} and dtype {dtype}"
        elif shape[0] * dtype.itemsize > room:
            fault = "is larger than the file can hold"
    if fault:
        raise DamagedError(f"{group.file.filename}: is damaged: {group.name}/{name} {fault}")
    values = np.empty(shape, dtype)
    data.read(h5s.ALL, h5s.ALL, values)
    return values
