"""The one who writes a run: records go to the journal at once, to run.h5 every few seconds."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from revgn.errors import RunError
from revgn.store import names
from revgn.store.attributes import (
    Provenance,
    config_attributes,
    first_attributes,
    machine_attributes,
    now,
    text,
)
from revgn.store.checkpoint import prune_checkpoints, save_checkpoint
from revgn.store.files import uninterrupted, write_attributes, write_hdf5, write_whole, writing
from revgn.store.journal import Columns, Journal, check_record, encode, encode_resume, is_locked
from revgn.store.migrate import keep_original
from revgn.store.names import EPOCHS, STEPS, Weights, attributes_of, checkpoint_path, of_weights
from revgn.store.reader import Run, open_run

SNAPSHOT_SECONDS = 2.0
SNAPSHOT_SHARE = 0.01


class RunWriter:
    """Stores the records of one run; leaving its `with` block closes it with the fitting status."""

    def __init__(self, folder: Path, attributes: dict[str, Any]) -> None:
        self.folder = folder
        self._attributes = attributes
        self._steps, self._epochs = Columns(STEPS), Columns(EPOCHS)
        self._opened = self._latest = time.monotonic()
        self._cost = 0.0
        self._journal: Journal | None = Journal(folder / names.JOURNAL_FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._journal is None:
            return
        if error is None:
            self.close("finished")
            return
        with suppress(RunError):  # a full disk must not hide what went wrong first
            self.close("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", str(error))

    def record_step(self, values: Mapping[str, float | None]) -> None:
        """Journal what was measured in a step; None, NaN and absence are "not measured"."""
        self._record(self._steps, values)

    def record_epoch(self, values: Mapping[str, float | None]) -> None:
        """Journal what an evaluation measured; an epoch may be a fraction."""
        self._record(self._epochs, values)

    def rewind(self, step: int) -> None:
        """Journal that the run goes on from `step`, and forget the records of later steps."""
        self._open_journal().append(encode_resume(step))
        for columns in (self._steps, self._epochs):
            columns.drop_after(step)

    def snapshot(self) -> None:
        """Bring run.h5 up to date."""
        begun = time.monotonic()
        write_hdf5(self.folder / names.RUN_FILE, self._fill)
        self._latest = time.monotonic()
        self._cost += self._latest - begun

    def snapshot_if_due(self) -> None:
        """Bring run.h5 up to date if that was long ago and costs little."""
        now = time.monotonic()
        if now - self._latest >= SNAPSHOT_SECONDS and self._cost < SNAPSHOT_SHARE * (now - self._opened):
            self.snapshot()

    def save_checkpoint(
        self, *, step: int, arrays: Mapping[str, NDArray[Any]], scores: Mapping[Weights, float]
    ) -> Path:
        """Write a checkpoint and return its path; the last two and those of highest score are kept.

        There is a score for each kind of weights that was evaluated. The journal is on the disk before the
        checkpoint is: it never lags behind.
        """
        path = checkpoint_path(self.folder, step)
        self._open_journal().sync()
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        attributes = {of_weights("score", weights): score for weights, score in scores.items()}
        save_checkpoint(path, step, arrays, attributes)
        prune_checkpoints(path)
        self.snapshot()
        return path

    def close(
        self, status: Literal["finished", "stopped", "interrupted", "failed"], message: str = ""
    ) -> None:
        """Say how the run ended, in the last snapshot, and let go of the journal.

        A signal that comes meanwhile waits: the run would say "running" for good.
        """
        journal = self._open_journal()
        self._attributes |= {"status": status, "message": text(message), "end": now()}
        with uninterrupted():
            try:
                journal.sync()
                self.snapshot()
            finally:
                self._release()

    def _release(self) -> None:
        """Let go of the journal and leave everything as it is."""
        self._open_journal().close()
        self._journal = None

    def _record(self, columns: Columns, values: Mapping[str, float | None]) -> None:
        record = check_record(columns.cadence, values)
        self._open_journal().append(encode(columns.cadence, record))
        columns.put(record)

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RunError(f"{self.folder}: the run is closed")
        return self._journal

    def _fill(self, file: h5py.File) -> None:
        write_attributes(file, self._attributes | {names.JOURNAL_BYTES: self._open_journal().size()})
        for columns in (self._steps, self._epochs):
            _fill_group(file.create_group(columns.cadence.group), columns)


def create_run(folder: Path, provenance: Provenance) -> RunWriter:
    """Make the folder of a new run; `RunError` if it already holds something, or cannot be written."""
    attributes = first_attributes(provenance)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_unborn(folder):
            raise RunError(f"{folder}: is not empty, and a run is never overwritten; choose another folder")
    return _begin(RunWriter(folder, attributes), provenance.config_toml)


def reopen_run(folder: Path, provenance: Provenance, *, step: int | None = None) -> RunWriter:
    """Go on with a run that is not being written, from `step`, on the machine and with the settings given.

    What was recorded of later steps counts no more; without a step all counts. Title, first command, seed
    and data stay as they were. No run, a damaged one, and one that another process writes raise `RunError`.
    """
    run = open_run(folder)
    changing = (names.CONFIG_PREFIX, "version.")
    kept = {name: value for name, value in run.attributes.items() if not name.startswith(changing)}
    attributes = kept | {
        "status": "running",
        "message": "",
        "end": "",
        "history": text(f"{kept['history']}\n{now()} {provenance.command}"),
        **machine_attributes(provenance),
    }
    keep_original(folder)
    return _begin(RunWriter(folder, attributes), provenance.config_toml, run, step)


def repair_run(folder: Path, config_toml: str) -> None:
    """Fold the journal of a run that nobody writes into run.h5, and have its status tell how it ended.

    A torn last line of the journal goes; an older format becomes ours, with the original kept, and with the
    settings `config_toml`. No run, damage beyond the journal, and a process that writes it raise `RunError`.
    """
    run = open_run(folder)
    attributes = run.attributes | config_attributes(run.config)
    if run.status == "running":
        attributes |= {"status": "interrupted", "message": "repaired: its process had died", "end": now()}
    keep_original(folder)
    _begin(RunWriter(folder, attributes), config_toml, run)._release()


def _is_unborn(folder: Path) -> bool:
    """Whether nothing was written yet but what a start killed in its first instant leaves: no record."""
    tolerated = {names.CONFIG_FILE, names.PARTIAL_FILE, names.WRITER_FILE}
    left = {path.name for path in folder.iterdir()} - tolerated
    journal = folder / names.JOURNAL_FILE
    if left == {journal.name}:
        return journal.stat().st_size == 0 and not is_locked(journal)
    return not left


def _begin(writer: RunWriter, config_toml: str, run: Run | None = None, step: int | None = None) -> RunWriter:
    """Write the settings and a snapshot; of a run that goes on, of all that was recorded up to `step`."""
    try:
        if run is not None:
            writer._steps.extend(run.steps)  # read now that nobody else can write
            writer._epochs.extend(run.epochs)
        if step is not None:
            writer.rewind(step)
        write_whole(writer.folder / names.CONFIG_FILE, config_toml.encode())
        writer.snapshot()
    except BaseException:
        writer._release()
        raise
    return writer


def _fill_group(group: h5py.Group, columns: Columns) -> None:
    cadence = columns.cadence
    arrays = columns.arrays()
    scale = group.create_dataset(cadence.scale.name, data=arrays.pop(cadence.scale.name))
    scale.make_scale(cadence.scale.name)
    write_attributes(scale, attributes_of(cadence.scale))
    known = [series.name for series in cadence.series]
    signal = next(iter(arrays), known[0])
    write_attributes(group, {"NX_class": "NXdata", "axes": cadence.scale.name, "signal": signal})
    for name in dict.fromkeys((*known, *arrays)):
        if name in arrays:
            data = group.create_dataset(name, data=arrays[name])
        else:  # never measured: NaN, which take no room in the file
            data = group.create_dataset(name, scale.shape, "f8", fillvalue=np.nan)
        data.dims[0].attach_scale(scale)
        if series := cadence.find(name):
            write_attributes(data, attributes_of(series))
