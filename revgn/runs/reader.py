"""Runs as they are found on disk: what was run, and what was measured so far."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revgn.errors import RunError
from revgn.runs.files import read_attributes, reading
from revgn.runs.journal import Columns, read_journal
from revgn.runs.names import CADENCES, EPOCHS, FORMAT_VERSION, JOURNAL_FILE, ROOT_ATTRIBUTES, RUN_FILE, STEPS


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run, running or ended.

    `steps` and `epochs` hold the scale and every series that was ever measured, as float64 arrays of
    one length; NaN is "not measured".
    """

    folder: Path
    attributes: dict[str, Any]
    config: dict[str, Any]
    status: str
    steps: dict[str, NDArray[np.float64]]
    epochs: dict[str, NDArray[np.float64]]


def open_run(folder: Path | str) -> Run:
    """Read a run, also while it is being written.

    Raises
    ------
    RunError
        If `folder` holds no run, or what it holds is damaged.

    Notes
    -----
    The journal's records come on top of the last snapshot's: it is ahead of that while a run goes on.
    Where a resumed run has gone back to a checkpoint, what it had recorded beyond counts no more.
    """
    folder = Path(folder)
    path = folder / RUN_FILE
    if not path.exists():
        raise RunError(f"{folder}: is not a run: it has no {RUN_FILE}")
    columns = {cadence: Columns(cadence) for cadence in CADENCES}
    with reading(path) as file:
        attributes = read_attributes(file)
        if attributes["format_version"] != FORMAT_VERSION:
            raise RunError(
                f"{path}: has format {attributes['format_version']}; "
                f"this version of revgn reads {FORMAT_VERSION}"
            )
        if missing := ROOT_ATTRIBUTES.keys() - attributes.keys():
            raise RunError(f"{path}: is damaged: it lacks {', '.join(sorted(missing))}")
        config = json.loads(attributes["config_json"])
        for cadence in CADENCES:
            columns[cadence].extend({name: data[...] for name, data in file[cadence.group].items()})
    for kind, record in read_journal(folder / JOURNAL_FILE)[0]:
        if kind is not None:
            columns[kind].put(record)
            continue
        for each in columns.values():
            each.drop_after(record["step"])
    return Run(
        folder, attributes, config, attributes["status"], columns[STEPS].arrays(), columns[EPOCHS].arrays()
    )


def is_run(folder: Path | str) -> bool:
    """Tell whether `folder` holds a run."""
    return (Path(folder) / RUN_FILE).is_file()


def list_runs(root: Path | str) -> list[Path]:
    """Return the folders of all runs in `root`, at any depth, sorted."""
    return sorted(path.parent for path in Path(root).rglob(RUN_FILE))
