"""Writing a run: records go to the journal immediately, and to run.h5 every few seconds."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
from h5py import h5ds
from numpy.typing import NDArray

from revgn.errors import RunError, RunHeldError
from revgn.store import names
from revgn.store.attributes import (
    Provenance,
    config_attributes,
    first_attributes,
    machine_attributes,
    machine_changes,
    now,
    text,
)
from revgn.store.checkpoint import prune_checkpoints, save_checkpoint
from revgn.store.files import uninterrupted, write_attributes, write_hdf5, write_series, write_whole, writing
from revgn.store.journal import (
    Columns,
    Journal,
    check_record,
    encode,
    encode_resume,
    is_locked,
    read_journal,
)
from revgn.store.migrate import keep_original
from revgn.store.names import EPOCHS, STEPS, Weights, attributes_of, checkpoint_path, of_weights
from revgn.store.network import StoredNetwork, save_network
from revgn.store.owner import read_owner, this_process
from revgn.store.reader import Run, is_run, open_run, progress_of

SNAPSHOT_SECONDS = 2.0
SNAPSHOT_SHARE = 0.01


class RunWriter:
    """Writer of one run; its `with` block closes the run with a status that depends on how the block ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._attributes: dict[str, Any] = {}
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
        with suppress(RunError):  # a full disk must not hide the original error
            self.close("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", str(error))

    def record_step(self, values: Mapping[str, float | None]) -> None:
        """Add a record of a training step to the journal; None, NaN and absence mean "not measured"."""
        self._record(self._steps, values)

    def record_epoch(self, values: Mapping[str, float | None]) -> None:
        """Add a record of an evaluation to the journal; the epoch may be fractional."""
        self._record(self._epochs, values)

    def rewind(self, step: int) -> None:
        """Record that the run is resumed from `step`, and drop the records of later steps."""
        self._open_journal().append(encode_resume(step))
        for columns in (self._steps, self._epochs):
            columns.drop_after(step)

    def snapshot(self) -> None:
        """Update run.h5."""
        begun = time.monotonic()
        write_hdf5(self.folder / names.RUN_FILE, self._fill)
        self._latest = time.monotonic()
        self._cost += self._latest - begun

    def snapshot_if_due(self) -> None:
        """Update run.h5 if the last update was 2 s ago and updates took less than 1 % of the time so far."""
        now = time.monotonic()
        if now - self._latest >= SNAPSHOT_SECONDS and self._cost < SNAPSHOT_SHARE * (now - self._opened):
            self.snapshot()

    def save_checkpoint(
        self, *, step: int, arrays: Mapping[str, NDArray[Any]], scores: Mapping[Weights, float]
    ) -> Path:
        """Write a checkpoint and return its path; keep the last two and those with the highest scores.

        `scores` has one score for each kind of weights that was evaluated. The journal is stored on disk
        before the checkpoint, so that it is never behind a checkpoint.
        """
        path = checkpoint_path(self.folder, step)
        self._open_journal().sync()
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        attributes = {of_weights("score", weights): score for weights, score in scores.items()}
        save_checkpoint(path, step, arrays, attributes)
        prune_checkpoints(path)
        return path

    def close(
        self,
        status: Literal["finished", "stopped", "interrupted", "diverged", "failed"],
        message: str = "",
    ) -> None:
        """Store the final status in a last snapshot, and close the journal.

        Signals are delayed meanwhile, so that the stored status cannot remain "running".
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
        """Close the journal without changing the run."""
        if self._journal is not None:
            self._journal.close()
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


def check_vacant(folder: Path) -> None:
    """Raise `RunError` if a folder exists, and is not empty or cannot be read."""
    with writing(folder):
        if folder.exists() and not _is_unborn(folder):
            raise RunError(f"{folder}: is not empty, and runs are never overwritten; choose another folder")


def create_run(folder: Path, provenance: Provenance, network: StoredNetwork | None = None) -> RunWriter:
    """Create the folder of a new run; a folder that is not empty or cannot be written raises `RunError`.

    `network` makes the run independent of its data. If the run cannot be created, for instance on a full
    disk, nothing remains of it. `RunHeldError` is raised if another process creates a run in the folder.
    """
    attributes = first_attributes(provenance)
    with writing(folder):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    check_vacant(folder)
    try:
        with _locked(folder) as writer:
            if is_run(folder):
                raise RunHeldError(f"{folder}: another process has created a run here meanwhile")
            _begin(writer, attributes, provenance.config_toml, network)
            return writer
    except RunHeldError:  # the files belong to another process
        raise
    except BaseException:
        with suppress(OSError):
            _remove_unborn(folder, is_new)
        raise


def reopen_run(
    folder: Path,
    provenance: Provenance,
    network: StoredNetwork | None = None,
    *,
    step: int | None = None,
    since: tuple[object, ...] | None = None,
) -> RunWriter:
    """Return a writer that continues a run from `step`, with the machine and settings in `provenance`.

    Records of later steps become void; without `step`, all records remain valid. Title, first command, seed
    and data do not change. The new line of the history lists the changes of machine and versions. `network`
    is for a run of a version that did not store it. `since` is the result of `progress_of` at the time
    when `step` was chosen. `RunError` is raised if there is no run, if it is damaged, if another process is
    writing it, or if another process has continued it since then.
    """
    with _locked_run(folder) as (writer, run):
        if since is not None and progress_of(run) != since:
            raise RunHeldError(f"{folder}: another process has continued this run meanwhile; try again")
        changes = machine_changes(run.attributes, provenance)
        changed = f" ({', '.join(changes)})" if changes else ""
        changing = (names.CONFIG_PREFIX, "version.")
        kept = {name: value for name, value in run.attributes.items() if not name.startswith(changing)}
        attributes = kept | {
            "status": "running",
            "message": "",
            "end": "",
            "history": text(f"{kept['history']}\n{now()} {provenance.command}{changed}"),
            **machine_attributes(provenance),
        }
        keep_original(folder)
        _begin(writer, attributes, provenance.config_toml, network, run, step)
        return writer


def repair_run(folder: Path, toml_of: Callable[[dict[str, Any]], str]) -> None:
    """Write the journal of a killed run into run.h5 and correct its status.

    An incomplete last line of the journal is removed. A run in an older format is converted, and the original
    run.h5 is kept; `toml_of` returns the content of config.toml for the settings of the run. `RunError` is
    raised if there is no run, if other files than the journal are damaged, or if another process is writing
    the run.
    """
    with _locked_run(folder) as (writer, run):
        attributes = run.attributes | config_attributes(run.config)
        if run.status == "running":
            died = {"status": "interrupted", "message": "repaired after its process died", "end": now()}
            attributes |= died
        keep_original(folder)
        _begin(writer, attributes, toml_of(run.config), None, run)
        writer._release()


def restore_run(folder: Path, provenance: Provenance) -> None:
    """Make run.h5 again from the journal, for a run whose run.h5 is damaged or missing.

    The run counts as interrupted. Its start, history and machine are lost and replaced by those of
    `provenance`. A damaged file is kept as run.damaged.h5. `RunError` is raised if the journal is damaged,
    or if another process is writing the run.
    """
    path = folder / names.RUN_FILE
    with _locked(folder) as writer:
        message = f"{path.name} was made again from the journal"
        died = {"status": "interrupted", "message": message, "end": now()}
        entries = read_journal(folder / names.JOURNAL_FILE)[0]
        for columns in (writer._steps, writer._epochs):
            columns.replay(entries)
        with writing(path), suppress(FileNotFoundError):
            path.replace(path.with_suffix(".damaged.h5"))
        _begin(writer, first_attributes(provenance) | died, provenance.config_toml)
        writer._release()


_BEFORE_RUN = (names.CONFIG_FILE, names.NETWORK_FILE, names.PARTIAL_FILE, names.WRITER_FILE)


def _remove_unborn(folder: Path, is_new: bool) -> None:
    """Remove what is left of a run without run.h5, and the folder if it is new, unless others use it."""
    if _is_unborn(folder):
        for name in (*_BEFORE_RUN, names.JOURNAL_FILE):
            (folder / name).unlink(missing_ok=True)
        if is_new:
            folder.rmdir()


def _is_unborn(folder: Path) -> bool:
    """Return whether a folder is empty, or has only the files of a run killed before its first record."""
    left = {path.name for path in folder.iterdir()} - {*_BEFORE_RUN}
    journal = folder / names.JOURNAL_FILE
    if left == {journal.name}:
        is_own = read_owner(folder / names.WRITER_FILE) == this_process()
        return journal.stat().st_size == 0 and (is_own or not is_locked(journal))
    return not left


@contextmanager
def _locked(folder: Path) -> Iterator[RunWriter]:
    """Yield a writer, which locks the run; if the block fails, the lock is released."""
    writer = RunWriter(folder)
    try:
        yield writer
    except BaseException:
        writer._release()
        raise


@contextmanager
def _locked_run(folder: Path) -> Iterator[tuple[RunWriter, Run]]:
    """Yield the writer of an existing run, and the run as read after locking, so that it cannot change."""
    open_run(folder)  # raises an error if there is no run, before a journal is made
    with _locked(folder) as writer:
        yield writer, open_run(folder)


def _begin(
    writer: RunWriter,
    attributes: dict[str, Any],
    config_toml: str,
    network: StoredNetwork | None = None,
    run: Run | None = None,
    step: int | None = None,
) -> None:
    """Write the settings and a first snapshot; for a continued run, with all records up to `step`.

    The network is written before the snapshot, so that no run.h5 exists without it.
    """
    writer._attributes = attributes
    if run is not None:
        writer._steps.extend(run.steps)
        writer._epochs.extend(run.epochs)
    if step is not None:
        writer.rewind(step)
    write_whole(writer.folder / names.CONFIG_FILE, config_toml.encode())
    if network is not None:
        save_network(writer.folder, network)
    writer.snapshot()


def _fill_group(group: h5py.Group, columns: Columns) -> None:
    cadence = columns.cadence
    arrays = columns.arrays()
    scale = write_series(group, cadence.scale.name, arrays.pop(cadence.scale.name))
    scale.make_scale(cadence.scale.name)
    write_attributes(scale, attributes_of(cadence.scale))
    known = [series.name for series in cadence.series]
    signal = next(iter(arrays), known[0])
    write_attributes(group, {"NX_class": "NXdata", "axes": cadence.scale.name, "signal": signal})
    for name in dict.fromkeys((*known, *arrays)):
        data = write_series(group, name, arrays.get(name, len(scale)))  # NaN if it was never measured
        h5ds.attach_scale(data.id, scale.id, 0)
        if series := cadence.find(name):
            write_attributes(data, attributes_of(series))
