"""Read a user's own table from a text file, as raw rows."""

import csv
import math
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from revgn.data.assemble import Rows
from revgn.data.dataset import HostArray, reading
from revgn.data.dialect import (
    MISSING,
    Dialect,
    find_dialect,
    open_text,
    separator_of,
    shown_separator,
    split_cells,
)
from revgn.data.missing import complete_rows
from revgn.data.settings import DataSettings, TaskChoice
from revgn.errors import DataError, UsageError

_TRUTH = {"true": 1.0, "false": 0.0}
_WHOLE = re.compile(r"[-+]?\d+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?")
_SHOWN = 3  # number of cells that a message quotes
_UNNAMED = re.compile(r"^Unnamed: \d+$")  # the names that pandas gives to columns without a name


class Table(NamedTuple):
    """Rows of a table, the names of its input and target columns, and what was noticed on the way."""

    rows: Rows
    columns: tuple[str, ...]
    target_names: tuple[str, ...]
    dialect: str  # in words, "" for the usual one
    notes: tuple[str, ...] = ()


def read_table(path: Path, settings: DataSettings) -> Table:
    """Read a table of numbers under a header row, whose dialect is detected or set.

    The columns `target` are the targets; all others, or only `columns`, are the inputs. Columns without a
    name are left out. A single target column may hold text, the names of classes, unless the task is a
    regression. The cells true and false are 1 and 0 in inputs.

    Raises
    ------
    DataError
        If a row has too few or too many cells, or a cell is not a number; the message names line and column.
    UsageError
        If a column of the settings does not exist.
    """
    values, cells, lines = array("d"), [], array("q")
    with reading(path, OSError, EOFError, zlib.error, UnicodeDecodeError), open_text(path) as text:
        separator = None if settings.separator is None else separator_of(settings.separator)
        form, source = find_dialect(text, str(path), separator, settings.decimal)
        rows = table_rows(source, form, str(path))
        head = table_header(next(rows, (0, []))[1], form, str(path))
        targets, inputs = _choose_columns(head, form, settings, str(path))
        names, target_names = [head[k] for k in inputs], [head[k] for k in targets]
        unnamed: dict[int, list[str]] = {k: [] for k, name in enumerate(head) if not name}
        for line, row in rows:
            row = fitted_row(row, head, form, f"{path}: line {line}")
            values.extend(numbers_in([row[k] for k in inputs], names, form, f"{path}: line {line}"))
            cells.append([row[k].strip() for k in targets])
            lines.append(line)
            for k, first in unnamed.items():
                if len(first) < _SHOWN and row[k].strip():
                    first.append(row[k].strip()[:20])
    if not lines:
        raise DataError(f"{path}: there are no rows under the header")
    notes = [
        f"column {k + 1} has no name ({', '.join(first)}, ...) and is left out"
        for k, first in unnamed.items()
        if first
    ]
    x = np.frombuffer(values).reshape(len(lines), len(inputs))
    missing = np.column_stack((np.isnan(x), [[cell in MISSING for cell in row] for row in cells]))
    shown = [f"column {name!r}" for name in (*names, *target_names)]
    complete, note = complete_rows(
        missing, shown, str(path), lambda row: f"line {lines[row]}", drop=settings.drop_missing
    )
    if note:
        x, lines = x[complete], array("q", np.frombuffer(lines, np.int64)[complete].tolist())
        cells = [row for row, is_complete in zip(cells, complete, strict=True) if is_complete]
        notes.append(note)
    y = _targets(cells, target_names, form, settings.task, [f"{path}: line {line}" for line in lines])
    for part, of in ((x, names), (y, target_names)):
        _check_finite(part, of, lines, str(path))
    return Table(Rows(x, y), tuple(names), tuple(target_names), str(form), tuple(notes))


def table_rows(source: Iterable[str], form: Dialect, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line and the cells of each row that is not blank."""
    reader = split_cells(source, form.separator)
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            line = reader.line_num + form.first_line
            raise DataError(
                f"{where}: line {line} cannot be divided into cells; is a quotation mark left open before?"
            ) from None
        if row is None:
            return
        if any(map(str.strip, row)):
            yield reader.line_num + form.first_line, row


def table_header(row: list[str], form: Dialect, where: str) -> list[str]:
    """Return the names of the columns; "" for those without a name."""
    names = [_UNNAMED.sub("", " ".join(name.split())) for name in row]
    numbers = [name for name in names if is_number(name, form.decimal)]
    if not any(names):
        raise DataError(f"{where}: line 1 must name the columns, but the file is empty")
    whole = [int(name) for name in numbers if name.isdecimal()]
    is_counted = len(whole) < len(row) or whole == list(range(len(row)))
    if len(whole) < len(numbers) or len(set(whole)) < len(whole) or not is_counted:
        raise DataError(
            f"{where}: line 1 must name the columns, but it holds numbers ({', '.join(numbers[:_SHOWN])}); "
            "add a line with names"
        )
    for k, name in enumerate(names):
        if name and name in names[:k]:
            raise DataError(f"{where}: two columns are named {name!r}")
    return [""] * form.unnamed_first + names


def _choose_columns(
    head: list[str], form: Dialect, settings: DataSettings, where: str
) -> tuple[list[int], list[int]]:
    """Return the positions of the target columns and of the input columns."""
    named = [name for name in head if name]
    shown = f"the columns, separated by {shown_separator(form.separator)}, are " + ", ".join(named[:12])
    shown += ", ..." if len(named) > 12 else ""

    def listed(text: str) -> list[str]:
        """Return the names in a list; a single name may contain commas."""
        whole = " ".join(text.split())
        names = [whole] if whole in named else [" ".join(name.split()) for name in text.split(",")]
        return list(dict.fromkeys(filter(None, names)))

    targets = listed(settings.target or "")
    chosen = listed(settings.columns or "")
    left_out = [name[1:] for name in chosen if name not in named and name.startswith("-")]
    if left_out and len(left_out) < len(chosen):
        raise UsageError(
            f"{where}: columns: name either the columns to use or, with a minus sign, to leave out"
        )
    for setting, names in (("target", targets), ("columns", left_out or chosen)):
        for name in names:
            if name not in named:
                raise UsageError(f"{where}: {setting}: no column is named {name!r}; {shown}")
            if setting == "columns" and name in targets:
                raise UsageError(f"{where}: columns: {name!r} is the target; {shown}")
    if not targets:
        raise UsageError(f"{where}: set target to the column to predict; {shown}")
    inputs = [
        n for n in named if n not in targets and n not in left_out and (left_out or not chosen or n in chosen)
    ]
    if not inputs:
        raise UsageError(f"{where}: there are no inputs, since all columns are targets or left out; {shown}")
    return [head.index(name) for name in targets], [head.index(name) for name in inputs]


def fitted_row(row: list[str], head: list[str], form: Dialect, where: str) -> list[str]:
    """Return a row with one cell per column; cells beyond the named columns may be absent or empty."""
    named = max(k + 1 for k, name in enumerate(head) if name)
    if len(row) > len(head) and not any(map(str.strip, row[len(head) :])):
        row = row[: len(head)]
    if not named <= len(row) <= len(head):
        raise DataError(
            f"{where} has {len(row)} cells, but the header has {len(head)} "
            f"(separator {shown_separator(form.separator)})"
        )
    return row + [""] * (len(head) - len(row))


def _targets(
    cells: list[list[str]], names: list[str], form: Dialect, task: TaskChoice, lines: list[str]
) -> HostArray:
    """Return the cells of the target columns as int64 or float64; those of a single column may be text."""
    column = [row[0] for row in cells] if len(names) == 1 else []
    numeric = [is_number(cell, form.decimal) for cell in column]
    if column and task != "regression":
        if not any(numeric) or (task == "classification" and not all(numeric)):
            return np.array(column)
        with suppress(OverflowError):
            if all(map(_WHOLE.fullmatch, column)):
                return np.array([int(cell) for cell in column], np.int64)
    advice = "set task to classification to take all cells of the column as labels" if column else ""
    return np.array(
        [numbers_in(row, names, form, line, advice) for row, line in zip(cells, lines, strict=True)]
    )


def numbers_in(
    cells: list[str], names: list[str], form: Dialect, where: str, advice: str = ""
) -> list[float]:
    """Return the numbers in cells, NaN for missing values; the error says where a cell is not a number."""
    together = "".join(cells)
    if "_" not in together and (form.decimal == "." or "." not in together):
        with suppress(ValueError):
            return [float(cell) for cell in (cells if form.decimal == "." else map(_with_point, cells))]
    found = [number_in(cell.strip(), form.decimal) for cell in cells]
    bad = [(name, cell) for name, cell, value in zip(names, cells, found, strict=True) if value is None]
    if bad:
        name, cell = bad[0][0], bad[0][1].strip()
        text = ",".join(f"-{name}" for name, _ in bad)
        remedy = _remedy(cell, form) or advice or f"set columns to {text} to leave text out"
        raise DataError(f"{where}, column {name!r}: {cell[:40]!r} is not a number; {remedy}")
    return found  # type: ignore[return-value]


def _with_point(cell: str) -> str:
    return cell.replace(",", ".")


def number_in(cell: str, decimal: str) -> float | None:
    """Return the number in a cell, NaN for a missing value, 1 or 0 for true or false, otherwise None."""
    if cell in MISSING:
        return math.nan
    if cell.lower() in _TRUTH:
        return _TRUTH[cell.lower()]
    if "_" in cell or (decimal == "," and "." in cell):
        return None
    try:
        return float(cell if decimal == "." else _with_point(cell))
    except ValueError:
        return None


def is_number(cell: str, decimal: str) -> bool:
    return cell not in MISSING and cell.lower() not in _TRUTH and number_in(cell, decimal) is not None


def _remedy(cell: str, form: Dialect) -> str:
    """Return what to do about a cell that looks like a number, "" if it is text."""
    if "_" in cell and number_in(cell.replace("_", ""), form.decimal) is not None:
        return "digits cannot be grouped by _"
    if re.fullmatch(r"[-+]?\d+[.,]\d+", cell) and not _THOUSANDS.fullmatch(cell):
        return f"the decimal sign is {form.decimal!r} here; set decimal to the other one"
    if _THOUSANDS.fullmatch(cell):
        return "separators of thousands are not read"
    return ""


def _check_finite(values: HostArray, names: list[str], lines: Sequence[int], where: str) -> None:
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        row, column = divmod(int(np.argmin(finite)), len(names))
        raise DataError(f"{where}: line {lines[row]}, column {names[column]!r}: the number is not finite")
