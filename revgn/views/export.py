"""Export of runs to the file formats of other tools.

csv           RUN/steps.csv and RUN/epochs.csv
parquet       RUN/steps.parquet and RUN/epochs.parquet, with the settings in the metadata  (extra `export`)
netcdf        RUN.nc with the groups steps and epochs, like run.h5, and including records
              that only the journal holds so far                                           (extra `analysis`)
tensorboard   RUN/events... with tags such as steps/loss                                   (extra `export`)
"""

import csv
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from revgn.errors import UsageError
from revgn.store.files import writing
from revgn.store.reader import CadenceName, Run
from revgn.views.tables import cadence_of, library, series_of, to_xarray

Form = Literal["csv", "parquet", "netcdf", "tensorboard"]

_GROUPS: tuple[CadenceName, ...] = get_args(CadenceName)


def export_runs(runs: Sequence[Run], folder: Path | str, form: Form) -> list[Path]:
    """Write each run into `folder` under the name of its own folder, and return the paths.

    Each run is written completely or not at all. The wall time of an event in TensorBoard is the start of the
    run plus the time of all training steps before the event.

    Raises
    ------
    UsageError
        If a file exists already, or the library for the format is not installed. Nothing is written then.
    RunError
        If the folder cannot be written, or a run is damaged.
    """
    if form not in _WRITERS:
        raise UsageError(f"export: {form!r} is not one of {', '.join(_WRITERS)}")
    folder = Path(folder)
    suffix, write = _WRITERS[form]
    targets = [folder / f"{name}{suffix}" for name in _names(runs)]
    for target in targets:
        if target.exists():
            raise UsageError(f"{target}: exists already and is not overwritten; choose another folder")
    for run, target in zip(runs, targets, strict=True):
        partial = target.with_name(f".{target.name}-{os.getpid()}")
        with writing(target):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                write(run, partial)
                partial.rename(target)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink(True)
                raise
    return targets


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the names of the run folders; the whole path where two names are the same."""
    names = [run.folder.resolve().name for run in runs]
    paths = [str(run.folder).strip("/.").replace("/", "_") for run in runs]
    return [name if names.count(name) == 1 else path for name, path in zip(names, paths, strict=True)]


def _write_csv(run: Run, folder: Path) -> None:
    folder.mkdir()
    for cadence in _GROUPS:
        series = series_of(run, cadence)
        with (folder / f"{cadence}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(series)
            for row in zip(*(values.tolist() for values in series.values()), strict=True):
                writer.writerow(["" if math.isnan(value) else value for value in row])


def _write_parquet(run: Run, folder: Path) -> None:
    pyarrow = library("export", "pyarrow", "export")
    parquet = library("export", "pyarrow.parquet", "export")
    folder.mkdir()
    about = {"revgn": json.dumps({"attributes": run.attributes, "config": run.config}, default=str)}
    for cadence in _GROUPS:
        columns = {k: pyarrow.array(v, from_pandas=True) for k, v in series_of(run, cadence).items()}
        table = pyarrow.table(columns).replace_schema_metadata(about)  # from_pandas stores NaN as null
        parquet.write_table(table, folder / f"{cadence}.parquet")


def _write_netcdf(run: Run, path: Path) -> None:
    library("export", "h5netcdf", "analysis")
    for cadence in _GROUPS:
        to_xarray(run, cadence).to_netcdf(path, mode="a", group=cadence, engine="h5netcdf")


def _write_tensorboard(run: Run, folder: Path) -> None:
    tensorboard = library("export", "tensorboardX", "export")
    start = datetime.fromisoformat(run.attributes["start"]).timestamp()
    with tensorboard.SummaryWriter(str(folder)) as writer:
        settings = json.dumps(run.config, indent=2).replace("\n", "\n    ")
        writer.add_text("settings", f"    {settings}", 0, walltime=start)
        for cadence in _GROUPS:
            series = series_of(run, cadence)
            steps = series["step"]
            seconds = series.get("seconds", np.zeros_like(steps))
            passed = np.nancumsum(seconds) if cadence == "steps" else seconds
            for name in series.keys() - {cadence_of(cadence).scale.name, "step"}:
                for step, value, after in zip(steps, series[name], passed, strict=True):
                    if not math.isnan(value):
                        at = start + (0.0 if math.isnan(after) else after)
                        writer.add_scalar(f"{cadence}/{name}", value, int(step), walltime=at)


_WRITERS: dict[str, tuple[str, Callable[[Run, Path], None]]] = {
    "csv": ("", _write_csv),
    "parquet": ("", _write_parquet),
    "netcdf": (".nc", _write_netcdf),
    "tensorboard": ("", _write_tensorboard),
}
