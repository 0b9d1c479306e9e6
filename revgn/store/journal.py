"""The journal of a run, with one JSON record per line, and the columns that hold its records.

    {"kind": "step", "step": 12, "loss": 0.5, "rho": 1e-15}

    {"kind": "resume", "step": 10}

A line of the second kind states that the run was resumed from step 10; earlier records of later steps are
then void. Each line is appended by one write, so that a killed run loses at most the line being written.
JSON has no NaN: a quantity that was not measured has no key. Infinities are the strings "inf" and "-inf".
"""

import fcntl
import io
import json
import math
import os
import time
from array import array
from collections.abc import Iterable, Mapping
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revgn.errors import RunError, RunHeldError, UsageError
from revgn.store.files import write_all, writing
from revgn.store.names import CADENCES, RENAMED_SERIES, WRITER_FILE, Cadence
from revgn.store.owner import SILENT_SECONDS, is_alive, read_owner, this_process, write_owner

Record = dict[str, float]
Entry = tuple[Cadence | None, Record]  # the cadence is None where the run was resumed from a step

RESUME = "resume"

_LOCK_TRIES = 20


def check_record(cadence: Cadence, values: Mapping[str, float | None]) -> Record:
    """Return the measured values; a name that does not belong to `cadence` raises `UsageError`."""
    scale = cadence.scale.name
    known = {series.name for series in (cadence.scale, *cadence.series)}
    if unknown := sorted(name for name in values.keys() - known if cadence.find(name) is None):
        known |= {series.name for series in cadence.by_coupling}
        raise UsageError(
            f"a record of {cadence.group} cannot contain {', '.join(unknown)}; "
            f"expected names are {', '.join(sorted(known))}"
        )
    numbers = {name: float(value) for name, value in values.items() if value is not None}
    record = {name: number for name, number in numbers.items() if not math.isnan(number)}
    if scale not in record:
        raise UsageError(f"a record of {cadence.group} requires a number for {scale}")
    return record


def encode(cadence: Cadence, record: Record) -> bytes:
    """Return a checked record as one line of the journal."""
    line: dict[str, Any] = {"kind": cadence.scale.name}
    for name, value in record.items():
        if math.isinf(value):
            line[name] = str(value)
        else:
            line[name] = int(value) if name == "step" and value.is_integer() else value
    return json.dumps(line).encode() + b"\n"


def encode_resume(step: int) -> bytes:
    """Return the line that records the step from which a run was resumed."""
    return json.dumps({"kind": RESUME, "step": step}).encode() + b"\n"


def decode(line: bytes) -> Entry:
    """Decode a line written by `encode` or `encode_resume`, also in older formats; other lines raise."""
    values = json.loads(line)
    kind = values.pop("kind")
    if kind == RESUME:
        return None, {"step": float(values["step"])}
    (cadence,) = (cadence for cadence in CADENCES if cadence.scale.name == kind)
    present = {RENAMED_SERIES.get(name, name): value for name, value in values.items()}
    return cadence, check_record(cadence, present)


def read_journal(path: Path, start: int = 0, end: int | None = None) -> tuple[list[Entry], int]:
    """Read the entries of a journal between the byte offsets `start` and `end` of two lines.

    Returns the entries, and the length in bytes up to which the journal is undamaged. A damaged last line was
    being written when the run was killed and is ignored. Any other damaged line raises `RunError`.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            content = file.read() if end is None else file.read(end - start)
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    lines = io.BytesIO(content).readlines()
    records = []
    length = start
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError
            records.append(decode(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if number < len(lines):
                number += path.read_bytes()[:start].count(b"\n")
                raise RunError(f"{path}: line {number} is damaged") from error
            break
        length += len(line)
    return records, length


class Journal:
    """The journal, opened by the process that writes the run; the system releases its lock at process end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                _lock(self._descriptor, path)
                write_owner(path.with_name(WRITER_FILE), this_process())
                os.ftruncate(self._descriptor, read_journal(path)[1])
            except (OSError, RunError):
                os.close(self._descriptor)
                raise

    def append(self, line: bytes) -> None:
        """Append `line`; if writing fails, raise `RunError` and leave the journal unchanged."""
        with writing(self._path):
            length = os.fstat(self._descriptor).st_size
            try:
                write_all(self._descriptor, line)
            except OSError:
                os.ftruncate(self._descriptor, length)
                raise

    def size(self) -> int:
        """Return the size of the journal in bytes."""
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        """Wait until all lines are stored on disk."""
        with writing(self._path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; nothing can be appended afterwards."""
        os.close(self._descriptor)


class Columns:
    """The series of one cadence, with one row per record.

    If several records have the same step or epoch, the last one is valid.
    """

    def __init__(self, cadence: Cadence) -> None:
        self.cadence = cadence
        self._columns = {series.name: array("d") for series in (cadence.scale, *cadence.series)}

    def put(self, record: Record) -> None:
        """Add a checked record."""
        self._add_columns(record)
        for name, column in self._columns.items():
            column.append(record.get(name, math.nan))

    def extend(self, arrays: Mapping[str, NDArray[np.float64]]) -> None:
        """Add rows in the form that `arrays()` returns; series of other cadences are ignored."""
        self._add_columns(name for name in arrays if self.cadence.find(name))
        missing = [math.nan] * len(arrays[self.cadence.scale.name])
        for name, column in self._columns.items():
            column.extend(arrays[name].tolist() if name in arrays else missing)

    def replay(self, entries: Iterable[Entry]) -> None:
        """Add the records of this cadence from a journal, and drop those that a resumption made void."""
        for kind, record in entries:
            if kind is None:
                self.drop_after(record["step"])
            elif kind is self.cadence:
                self.put(record)

    def drop_after(self, step: float) -> None:
        """Drop the rows of later steps; rows without a step remain."""
        kept = [not of_row > step for of_row in self._columns["step"]]
        self._columns = {name: array("d", compress(column, kept)) for name, column in self._columns.items()}

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the scale and each series with at least one value, sorted by the scale."""
        scale = self.cadence.scale.name
        latest = {value: row for row, value in enumerate(self._columns[scale])}
        rows = [latest[value] for value in sorted(latest)]
        found = {name: np.array(column)[rows] for name, column in self._columns.items()}
        return {name: values for name, values in found.items() if name == scale or not np.isnan(values).all()}

    def _add_columns(self, names: Iterable[str]) -> None:
        for name in sorted(set(names) - self._columns.keys()):
            self._columns[name] = array("d", [math.nan]) * len(self._columns[self.cadence.scale.name])


def _lock(descriptor: int, path: Path) -> None:
    """Lock the journal; if another process holds the lock, raise an error that names it."""
    owner = read_owner(path.with_name(WRITER_FILE))
    held = RunHeldError(
        f"{path.parent}: another process is writing this run{'' if owner is None else f': {owner}'}"
    )
    for _ in range(_LOCK_TRIES):  # a call of `is_locked` holds the lock for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            if owner != this_process() and _is_owned(path):
                raise held from None
            return
    raise held


def is_locked(path: Path) -> bool:
    """Return whether a process is writing the journal."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return _is_owned(path)
    return False


def _is_owned(path: Path) -> bool:
    """Return whether a process is writing the journal, on a file system without locks.

    It is the process that wrote last, while it is alive. On another machine it counts as dead when the
    journal has not changed for `SILENT_SECONDS`.
    """
    owner = read_owner(path.with_name(WRITER_FILE))
    alive = False if owner is None else is_alive(owner)
    return time.time() - path.stat().st_mtime < SILENT_SECONDS if alive is None else alive
