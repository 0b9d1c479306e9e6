"""Integrity check of a run: checksums, agreement of journal and run.h5, and recomputed losses."""

import functools
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from revgn.errors import BackendError, DamagedError, DataError, RevgnError, RunError, UsageError, reason_of
from revgn.launch.problem import ROUNDING, own_parts, problem_of, redraw_difference
from revgn.launch.provenance import provenance
from revgn.settings import build_config, config_toml, filled_settings, parse_toml, without_none
from revgn.store import names
from revgn.store.checkpoint import latest_checkpoint, load_checkpoint
from revgn.store.files import has_seal, reading
from revgn.store.journal import Columns, read_journal
from revgn.store.migrate import migrated
from revgn.store.names import CADENCES, checkpoint_paths
from revgn.store.reader import Run, can_restore, check_is_run, folder_of, open_run, read_columns, status
from revgn.store.writer import repair_run, restore_run
from revgn.training import Problem, TrainState, build_problem, evaluate, load_data, restore_weights

Outcome = Literal["ok", "damaged", "skipped"]

_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # relative tolerance of recomputed losses


class Finding(NamedTuple):
    """Result of one check: what was checked, the outcome, and details."""

    what: str
    outcome: Outcome
    detail: str = ""


def check_run(run: Run | Path | str, *, repair: bool = False) -> list[Finding]:
    """Check all files of a run folder; with `repair`, first write the journal into run.h5 (`repair_run`).

    If run.h5 is damaged or missing, `repair` makes it again from the settings, the data and the journal.

    Parameters
    ----------
    run : Run or path
        The run, or its folder. It is read again in any case.
    repair : bool
        Whether to repair the run first.

    Raises
    ------
    RunError
        If the folder is not a run folder, or the run cannot be repaired.
    """
    folder = folder_of(run)
    found = [Finding("repair", "ok", _repair(folder))] if repair else []
    check_is_run(folder)
    found.append(_found(names.RUN_FILE, _run_file, folder))
    try:
        run = open_run(folder)
    except RevgnError:
        return [*found, *_checkpoints(folder)]
    problem = functools.cache(functools.partial(_problem, run))
    found += [_found(what, check, run) for what, check in _CHECKS.items()]
    found += [_found("data", _data, problem), *_checkpoints(folder)]
    return [*found, _found("weights", _weights, run, problem)]


def _repair(folder: Path) -> str:
    """Repair a run unless it is complete, and return what was done."""
    try:
        run = open_run(folder)
        _ = run.steps, run.epochs
    except DamagedError:
        if not can_restore(folder):
            raise
        path = folder / names.CONFIG_FILE
        try:
            config = build_config(parse_toml(path.read_text(encoding="utf-8"), str(path)))
            problem = build_problem(config, load_data(config, for_training=False), shapes_only=True)
        except (RevgnError, OSError, UnicodeDecodeError) as error:
            reason = str(error) if isinstance(error, RevgnError) else f"{path}: {reason_of(error)}"
            raise RunError(f"{folder / names.RUN_FILE}: cannot be made again: {reason}") from None
        restore_run(folder, provenance(problem, f"revgn check --repair {folder}"))
        return "run.h5 was made again from the settings and the journal; its start and history are lost"
    try:
        config_file = config_toml(build_config(run.config))
    except UsageError as error:
        raise RunError(f"{folder}: cannot be repaired by this version of revgn: {error}") from None
    if _is_complete(run, config_file):
        return "the run is complete; nothing was written"
    repair_run(folder, lambda config: config_toml(build_config(config)))
    return "the journal was written into run.h5"


def _is_complete(run: Run, config_file: str) -> bool:
    """Return whether a run that has ended needs no repair: journal, format, checksum and config.toml."""
    files = (names.RUN_FILE, names.CONFIG_FILE, names.JOURNAL_FILE)
    path, config, journal = (run.folder / name for name in files)
    with reading(path) as file:
        known, version = (file.attrs.get(name) for name in (names.JOURNAL_BYTES, "format_version"))
    return (
        run.status != "running"
        and version == names.FORMAT_VERSION
        and has_seal(path)
        and journal.is_file()
        and known == journal.stat().st_size
        and config.is_file()
        and config.read_bytes() == config_file.encode()
    )


class _SkippedError(Exception):
    """Raised by a check that cannot be made, with the reason."""


def _found(what: str, check: Callable[..., str], *arguments: Any) -> Finding:
    try:
        return Finding(what, "ok", check(*arguments))
    except _SkippedError as error:
        return Finding(what, "skipped", str(error))
    except RevgnError as error:
        return Finding(what, "damaged", str(error))


def _run_file(folder: Path) -> str:
    run = open_run(folder)
    seal = "checksum matches" if has_seal(folder / names.RUN_FILE) else "no checksum, the file was edited"
    return f"{seal}; {status(run)}, {run.steps['step'].size} steps"


def _journal(run: Run) -> str:
    path = run.folder / names.JOURNAL_FILE
    if not path.exists():
        raise _SkippedError("the file is missing")
    entries, length = read_journal(path)
    torn = path.stat().st_size - length
    return f"{len(entries)} lines" + (f", and an incomplete one of {torn} bytes at the end" if torn else "")


def _series(run: Run) -> str:
    """Compare run.h5 with the part of the journal that existed when run.h5 was written."""
    path = run.folder / names.JOURNAL_FILE
    if not path.exists():
        raise _SkippedError("there is no journal")
    with reading(run.folder / names.RUN_FILE) as file:
        known = int(file.attrs.get(names.JOURNAL_BYTES, -1))
        stored = {cadence: read_columns(file, cadence) for cadence in CADENCES}
    if known < 0:
        raise _SkippedError("run.h5 has an older format and does not state how much of the journal it holds")
    size = path.stat().st_size
    if known > size:
        raise RunError(f"{path}: is shorter than when run.h5 was written: {size} of {known} bytes")
    entries = read_journal(path, 0, known)[0]
    for cadence, series in stored.items():
        columns = Columns(cadence)
        columns.replay(entries)
        journalled = columns.arrays()
        for name in sorted(series.keys() | journalled.keys()):
            a, b = series.get(name), journalled.get(name)
            if a is None or b is None or not np.array_equal(a, b, equal_nan=True):
                where = f"{run.folder / names.RUN_FILE}: {cadence.group}/{name}"
                raise RunError(f"{where} differs from the journal")
    newer = f", which has {size - known} bytes of newer records" if size > known else ""
    return f"agree with the journal{newer}"


def _config(run: Run) -> str:
    path = run.folder / names.CONFIG_FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _SkippedError("the file is missing") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read: {reason_of(error)}") from None
    with reading(run.folder / names.RUN_FILE) as file:
        version = int(file.attrs["format_version"])
    of_file = migrated({"format_version": version, "config_json": json.dumps(content, default=str)}, path)
    of_file, of_run = filled_settings(json.loads(of_file["config_json"])), filled_settings(run.config)
    if without_none(of_file) != without_none(of_run):
        raise RunError(f"{path}: its settings differ from the settings in run.h5")
    return "same settings as in run.h5"


def _network(run: Run) -> str:
    """Compare the frozen arrays with the arrays that this version draws from the seed."""
    _skip_own_parts(run)
    difference = redraw_difference(run)
    if difference is None:
        raise _SkippedError("the file is missing, as in runs before 0.2; the network is drawn from the seed")
    if difference > ROUNDING:
        return "differs from the arrays drawn from the seed in this version; the stored arrays are used"
    same = "" if difference == 0 else f", up to a relative difference of {difference:.1e}"
    return f"equal to the arrays drawn from the seed{same}"


def _skip_own_parts(run: Run) -> None:
    """Skip a check for which the network is built, if network or loss are user-defined."""
    for name in own_parts(run):
        raise _SkippedError(f"the {name} is user-defined")


def _problem(run: Run) -> Problem:
    _skip_own_parts(run)
    try:
        try:
            return problem_of(run, optimizer=False)
        except BackendError:  # a run from a GPU, on a machine without one
            return problem_of(run, optimizer=False, backend="numpy")
    except DataError as error:
        raise _SkippedError(f"the data are not available: {error}") from None


def _data(load: Callable[[], Problem]) -> str:
    dataset = load().dataset
    return f"{dataset.name}, SHA-256 {dataset.checksum[:12]}..."


def _checkpoints(folder: Path) -> Iterator[Finding]:
    for path in checkpoint_paths(folder):
        what = f"{names.CHECKPOINT_FOLDER}/{path.name}"
        yield _found(what, _checkpoint, path)


def _checkpoint(path: Path) -> str:
    try:
        return f"{len(load_checkpoint(path).arrays)} arrays"
    except RunError:
        if path.exists():
            raise
        raise _SkippedError("the run has replaced it by a newer one meanwhile") from None


def _weights(run: Run, load: Callable[[], Problem]) -> str:
    """Evaluate the newest checkpoint again, and compare the losses with the record of its step."""
    checkpoint = latest_checkpoint(run.folder)[0]
    row = np.flatnonzero(run.epochs.get("step", np.zeros(0)) == checkpoint.step)
    if not row.size:
        raise _SkippedError(f"step {checkpoint.step} was not evaluated")
    problem = load()
    params = restore_weights(problem, checkpoint.arrays)
    again = evaluate(problem, TrainState(params, (), checkpoint.step, 0.0))
    worst = 0.0
    for name in ("train_loss", "validation_loss", "test_loss"):
        if name in again and name in run.epochs:
            now, was = again[name], float(run.epochs[name][row[-1]])
            missed = abs(now - was) / max(abs(was), 1e-300)
            worst = max(worst, missed)
            if not missed <= _TOLERANCE[problem.config.training.dtype]:
                step = checkpoint.step
                raise RunError(f"step {step}: {name} is {now:.9g}, but {was:.9g} was recorded")
    same = "exactly" if worst == 0 else f"up to a relative difference of {worst:.1e}"
    backend = problem.backend.name
    where = "" if run.config["training"]["backend"] in (backend, "auto") else f", with {backend}"
    return f"step {checkpoint.step}: recomputed losses agree with the record {same}{where}"


_CHECKS = {
    names.JOURNAL_FILE: _journal,
    "series": _series,
    names.CONFIG_FILE: _config,
    names.NETWORK_FILE: _network,
}
