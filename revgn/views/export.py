"""Export of runs to the file formats of other tools.

csv           RUN/steps.csv and RUN/epochs.csv, and settings.csv
parquet       RUN/steps.parquet and RUN/epochs.parquet, with the settings in the metadata,
              and settings.parquet                                                         (extra `export`)
netcdf        RUN.nc with the groups steps and epochs, like run.h5, and including records
              that only the journal holds so far                                           (extra `analysis`)
tensorboard   RUN/events... with tags such as steps/loss                                   (extra `export`)

The first columns of the tables of series are the name of the run and the settings that differ between the
exported runs. The table of settings (settings.csv also for netcdf and tensorboard) has one row for each run
that was exported to the folder: its name, status, seed, versions and all settings.
"""

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO, get_args

import numpy as np

from revgn.errors import RunError, UsageError
from revgn.store.files import replacing, writing
from revgn.store.reader import CadenceName, Run, is_run
from revgn.views.settings_table import columns_of, kind_of, plain, settings_rows
from revgn.views.summary import all_settings, differing_settings
from revgn.views.tables import cadence_of, library, series_of, to_xarray

Form = Literal["csv", "parquet", "netcdf", "tensorboard"]

_ARROW = {bool: "bool_", int: "int64", float: "float64", str: "string"}  # constructors in pyarrow


class Constant(NamedTuple):
    """Value of a column that is the same in all rows, and the type of this column in all exported runs."""

    value: Any
    kind: type


Constants = Mapping[str, Constant]

_GROUPS: tuple[CadenceName, ...] = get_args(CadenceName)


def export_runs(runs: Sequence[Run], folder: Path | str, form: Form) -> list[Path]:
    """Write each run into `folder` under the name of its own folder, then the table of settings.

    The paths of the runs and of the table are returned. Each run is written completely or not at all. The
    wall time of an event in TensorBoard is the start of the run plus the time of all training steps before
    the event.

    Raises
    ------
    UsageError
        If a file exists already, `folder` is in the folder of a run, or the library for the format is not
        installed. Nothing is written then.
    RunError
        If the folder cannot be written, or a run is damaged.
    """
    if form not in _WRITERS:
        raise UsageError(f"export: {form!r} is not one of {', '.join(_WRITERS)}")
    folder = Path(folder)
    suffix, extra, needed, write = _WRITERS[form]
    for name in needed:
        library("export", name, extra)
    if inside := next((each for each in (folder, *folder.resolve().parents) if is_run(each)), None):
        raise UsageError(f"{folder}: is in the folder of a run, {inside}; choose another folder")
    names = _names(runs)
    targets = [folder / f"{name}{suffix}" for name in names]
    for target in targets:
        if target.exists():
            raise UsageError(f"{target}: exists already and is not overwritten; choose another folder")
    table = folder / f"settings.{'parquet' if form == 'parquet' else 'csv'}"
    earlier = _stored_rows(table)
    paths = differing_settings(runs)
    used = [{path: plain(all_settings(run).get(path)) for path in paths} for run in runs]
    differing = columns_of([{"run": name} | settings for name, settings in zip(names, used, strict=True)])
    for number, (run, target) in enumerate(zip(runs, targets, strict=True)):
        constants = {path: Constant(values[number], kind_of(values)) for path, values in differing.items()}
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            write(run, partial, constants)
    rows = {row["run"]: row for row in (*earlier, *settings_rows(dict(zip(names, runs, strict=True))))}
    _write_table(table, columns_of(list(rows.values())))
    return [*targets, table]


def _write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    with replacing(path) as partial:
        if path.suffix == ".parquet":
            pyarrow, parquet = (library("export", name, "export") for name in ("pyarrow", "pyarrow.parquet"))
            parquet.write_table(pyarrow.table(columns), partial)
        else:
            with partial.open("w", newline="", encoding="utf-8") as file:
                _write_rows(file, columns)


def _stored_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table of settings, without empty cells; no rows if there is no table."""
    if not path.exists():
        return []
    try:
        if path.suffix == ".parquet":
            rows = library("export", "pyarrow.parquet", "export").read_table(path).to_pylist()
        else:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        rows = [{name: value for name, value in row.items() if value not in (None, "")} for row in rows]
    except (OSError, ValueError, csv.Error) as error:  # errors of pyarrow are ValueErrors
        raise RunError(f"{path}: cannot be read as a table of settings: {error}") from None
    if not all("run" in row for row in rows):
        raise RunError(f"{path}: exists already and is not a table of settings; choose another folder")
    return rows


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the names of the run folders: whole paths where names are the same, numbered where these are."""
    names = [run.folder.resolve().name for run in runs]
    paths = [str(run.folder).strip("/.").replace("/", "_") for run in runs]
    found: list[str] = []
    for name, path in zip(names, paths, strict=True):
        chosen = name if names.count(name) == 1 else path or name
        numbered = (f"{chosen}-{number}" for number in count(2))
        found.append(next(each for each in chain([chosen], numbered) if each not in found))
    return found


def _write_csv(run: Run, folder: Path, constants: Constants) -> None:
    folder.mkdir()
    for cadence in _GROUPS:
        with (folder / f"{cadence}.csv").open("w", newline="", encoding="utf-8") as file:
            _write_rows(file, _columns(run, cadence, constants))


def _columns(run: Run, cadence: CadenceName, constants: Constants) -> dict[str, list[Any]]:
    """Return the constants, then the scale and the series of a cadence, as columns; None for NaN."""
    series = series_of(run, cadence)
    length = series[cadence_of(cadence).scale.name].size
    columns: dict[str, list[Any]] = {name: [each.value] * length for name, each in constants.items()}
    for name, values in series.items():
        columns[name] = [None if math.isnan(value) else value for value in values.tolist()]
    return columns


def _write_rows(file: TextIO, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns as CSV; None is an empty cell."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def _write_parquet(run: Run, folder: Path, constants: Constants) -> None:
    pyarrow = library("export", "pyarrow", "export")
    parquet = library("export", "pyarrow.parquet", "export")
    folder.mkdir()
    about = {"revgn": json.dumps({"attributes": run.attributes, "config": run.config}, default=str)}
    for cadence in _GROUPS:
        columns = {
            name: pyarrow.array(values, getattr(pyarrow, _ARROW[constants[name].kind])())
            if name in constants
            else pyarrow.array(values, pyarrow.float64())
            for name, values in _columns(run, cadence, constants).items()
        }
        table = pyarrow.table(columns).replace_schema_metadata(about)
        parquet.write_table(table, folder / f"{cadence}.parquet")


def _write_netcdf(run: Run, path: Path, constants: Constants) -> None:
    for cadence in _GROUPS:
        to_xarray(run, cadence).to_netcdf(path, mode="a", group=cadence, engine="h5netcdf")


def _write_tensorboard(run: Run, folder: Path, constants: Constants) -> None:
    tensorboard = library("export", "tensorboardX", "export")
    start = datetime.fromisoformat(run.attributes["start"]).timestamp()
    with tensorboard.SummaryWriter(str(folder)) as writer:
        settings = json.dumps(run.config, indent=2).replace("\n", "\n    ")
        writer.add_text("settings", f"    {settings}", 0, walltime=start)
        for cadence in _GROUPS:
            series = series_of(run, cadence)
            steps = series.get("step", np.zeros(0))  # absent before the first evaluation
            seconds = series.get("seconds", np.zeros_like(steps))
            passed = np.nancumsum(seconds) if cadence == "steps" else seconds
            for name in series.keys() - {cadence_of(cadence).scale.name, "step"}:
                for step, value, after in zip(steps, series[name], passed, strict=True):
                    if not math.isnan(value):
                        at = start + (0.0 if math.isnan(after) else after)
                        writer.add_scalar(f"{cadence}/{name}", value, int(step), walltime=at)


class _Writer(NamedTuple):
    suffix: str
    extra: str  # the extra of revgn that installs the libraries
    libraries: tuple[str, ...]
    write: Callable[[Run, Path, Constants], None]


_WRITERS = {
    "csv": _Writer("", "", (), _write_csv),
    "parquet": _Writer("", "export", ("pyarrow",), _write_parquet),
    "netcdf": _Writer(".nc", "analysis", ("xarray", "h5netcdf"), _write_netcdf),
    "tensorboard": _Writer("", "export", ("tensorboardX",), _write_tensorboard),
}
