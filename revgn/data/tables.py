"""Read a user's own table from a text file, as raw rows."""

import re
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from revgn.data.assemble import Rows
from revgn.data.cells import SHOWN, column_positions, is_missing, is_number, numbers, open_table, same_name
from revgn.data.dataset import HostArray
from revgn.data.dialect import Dialect, shown_separator
from revgn.data.labels import infer_task
from revgn.data.missing import complete_rows
from revgn.data.settings import DataSettings, TaskChoice
from revgn.errors import DataError, UsageError

_WHOLE = re.compile(r"[-+]?\d+")
_PADDED = re.compile(r"[-+]?0\d+")  # whole numbers with leading zeros, such as 007


class Table(NamedTuple):
    """Rows of a table, the names of its input and target columns, and notes for the user."""

    rows: Rows
    columns: tuple[str, ...]
    target_names: tuple[str, ...]
    dialect: str  # in words, "" for the usual one
    notes: tuple[str, ...] = ()


def read_table(path: Path, settings: DataSettings, input_columns: Sequence[str] = ()) -> Table:
    """Read a table of numbers under a header row, whose dialect is detected or set.

    The columns `target` are the targets; all others, or only `columns`, are the inputs. If `input_columns` is
    given, these columns are the inputs, and other columns are ignored. Columns without a name are left out.
    A single target column may hold text, the names of classes, unless the task is a regression. The cells
    true and false are 1 and 0 in inputs.

    Raises
    ------
    DataError
        If a row has too few or too many cells, or a cell is not a number; the message names line and column.
    UsageError
        If a column of the settings does not exist.
    """
    values, cells, lines = array("d"), [], array("q")
    with open_table(path, settings.separator, settings.decimal) as table:
        head, form = table.names, table.dialect
        chosen = replace(settings, columns=None) if input_columns else settings
        targets, inputs = _choose_columns(head, form, chosen, str(path))
        inputs = column_positions(input_columns, head, str(path)) if input_columns else inputs
        names, target_names = [head[k] for k in inputs], [head[k] for k in targets]
        unnamed: dict[int, list[str]] = {k: [] for k, name in enumerate(head) if not name}
        for line, row in table.rows:
            values.extend(numbers([row[k] for k in inputs], names, form, f"{path}: line {line}"))
            cells.append([row[k].strip() for k in targets])
            lines.append(line)
            for k, first in unnamed.items():
                if len(first) < SHOWN and row[k].strip():
                    first.append(row[k].strip()[:20])
    if not lines:
        raise DataError(f"{path}: there are no rows under the header")
    notes = [
        f"column {k + 1} has no name ({', '.join(first)}, ...) and is left out"
        for k, first in unnamed.items()
        if first
    ]
    x = np.frombuffer(values).reshape(len(lines), len(inputs))
    missing = np.column_stack(
        (np.isnan(x), [[is_missing(cell, form.decimal) for cell in row] for row in cells])
    )
    shown = [f"column {name!r}" for name in (*names, *target_names)]
    complete, note = complete_rows(
        missing,
        shown,
        str(path),
        lambda row: f"line {lines[row]}",
        drop=settings.drop_missing,
        advice=", or exclude columns with the setting columns",
    )
    if note:
        x, lines = x[complete], array("q", np.frombuffer(lines, np.int64)[complete].tolist())
        cells = [row for row, is_complete in zip(cells, complete, strict=True) if is_complete]
        notes.append(note)
    y = _targets(cells, target_names, form, settings.task, [f"{path}: line {line}" for line in lines])
    for part, of in ((x, names), (y, target_names)):
        _check_finite(part, of, lines, str(path))
    return Table(Rows(x, y), tuple(names), tuple(target_names), str(form), tuple(notes))


def _choose_columns(
    head: list[str], form: Dialect, settings: DataSettings, where: str
) -> tuple[list[int], list[int]]:
    """Return the positions of the target columns and of the input columns."""
    named = [name for name in head if name]
    shown = f"the columns, separated by {shown_separator(form.separator)}, are " + ", ".join(named[:12])
    shown += ", ..." if len(named) > 12 else ""

    def listed(text: str) -> list[str]:
        """Return the names in a list; a single name may contain commas."""
        text = same_name(text)
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


def _targets(
    cells: list[list[str]], names: list[str], form: Dialect, task: TaskChoice, lines: list[str]
) -> HostArray:
    """Return the cells of the target columns as int64 or float64; cells of a single column may be text.

    Labels stay text if, as numbers, they would lose digits (007) or two of them would be equal.
    """
    column = [row[0] for row in cells] if len(names) == 1 else []
    numeric = [is_number(cell, form.decimal) for cell in column]
    if column and task != "regression":
        if not any(numeric) or (task == "classification" and not all(numeric)):
            return _text_labels(column)
        if all(map(_WHOLE.fullmatch, column)):
            with suppress(OverflowError, ValueError):
                whole = np.array([*map(int, column)], np.int64)
                is_padded = any(map(_PADDED.fullmatch, column))
                chosen = infer_task(whole)[0] if task == "auto" else task
                return np.array(column) if is_padded and chosen == "classification" else whole
            if task == "classification":
                return np.array(column)
    advice = "set task to classification to take all cells of the column as labels" if column else ""
    rows = zip(cells, lines, strict=True)
    found = np.array([numbers(row, names, form, line, advice) for row, line in rows])
    if column and task == "classification" and np.unique(found).size < len({*column}):
        return np.array(column)
    return found


def _text_labels(column: list[str]) -> HostArray:
    """Return labels that are text; true and false are one label each, regardless of case."""
    lower = [cell.lower() for cell in column]
    return np.array(lower if len({*column}) > 2 and {*lower} <= {"false", "true"} else column)


def _check_finite(values: HostArray, names: list[str], lines: Sequence[int], where: str) -> None:
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        row, column = divmod(int(np.argmin(finite)), len(names))
        raise DataError(f"{where}: line {lines[row]}, column {names[column]!r}: the number is not finite")
