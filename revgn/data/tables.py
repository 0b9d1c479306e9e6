"""Read a user's own table from a .csv file, as raw rows."""

import csv
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from revgn.data.assemble import Rows, check_finite
from revgn.data.dataset import HostArray, reading
from revgn.data.settings import TaskChoice
from revgn.errors import DataError, UsageError


def read_csv(
    path: Path, target: str | None, task: TaskChoice
) -> tuple[Rows, tuple[str, ...], tuple[str, ...]]:
    """Read a table of numbers under a header row; return rows, and names of the input and target columns.

    Parameters
    ----------
    target : str
        Name of the column to predict, or several names separated by commas. All other columns are inputs.
    task : str
        A single target column may hold words, the names of classes, unless the task is a regression.

    Raises
    ------
    DataError
        If a row has too few or too many cells, or a cell is not a number; the message names line and column.
    UsageError
        If `target` is not a column of the table.
    """
    inputs, targets, lines = array("d"), [], []
    with (
        reading(path, OSError, csv.Error, UnicodeDecodeError),
        path.open(newline="", encoding="utf-8-sig") as file,
    ):
        reader = csv.reader(file, strict=True)
        header = _check_header([" ".join(name.split()) for name in next(reader, [])], path)
        chosen = _target_columns(header, target, path)
        kept = [k for k, name in enumerate(header) if name not in chosen]
        names, wanted = [header[k] for k in kept], [header.index(name) for name in chosen]
        for row in filter(None, reader):
            where = f"{path}: line {reader.line_num}"
            if len(row) != len(header):
                raise DataError(f"{where} has {len(row)} cells, but the header has {len(header)}")
            inputs.extend(_numbers([row[k] for k in kept], where, names))
            targets.append([row[k].strip() for k in wanted])
            lines.append(where)
            if "" in targets[-1]:
                raise DataError(f"{where}: the target is empty")
    if not lines:
        raise DataError(f"{path}: there are no rows under the header")
    x = np.frombuffer(inputs).reshape(-1, len(kept))
    check_finite(x, f"{path}: inputs", names)
    if len(chosen) == 1 and task != "regression":
        labels = _class_labels([row[0] for row in targets], force=task == "classification")
        if labels is not None:
            return Rows(x, labels), tuple(names), chosen
    y = [_numbers(row, where, chosen) for row, where in zip(targets, lines, strict=True)]
    return Rows(x, np.array(y)), tuple(names), chosen


def _check_header(header: list[str], path: Path) -> list[str]:
    if not header or all(map(_is_number, header)):
        raise DataError(f"{path}: line 1 must name the columns")
    if len(set(header)) < len(header):
        twice = next(name for k, name in enumerate(header) if name in header[:k])
        raise DataError(f"{path}: two columns are named {twice!r}")
    return header


def _target_columns(header: list[str], target: str | None, path: Path) -> tuple[str, ...]:
    chosen = tuple(
        dict.fromkeys(" ".join(name.split()) for name in (target or "").split(",") if name.strip())
    )
    unknown = [name for name in chosen if name not in header]
    if unknown or not chosen:
        shown = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
        problem = f"no column is named {unknown[0]!r}" if unknown else "set target to the column to predict"
        raise UsageError(f"{path}: {problem}; the columns are {shown}")
    if set(header) <= set(chosen):
        raise UsageError(f"{path}: all columns are targets, so there are no inputs")
    return chosen


def _class_labels(cells: list[str], *, force: bool) -> HostArray | None:
    """Return the cells as class labels, or None if they are numbers.

    Labels are integers if all cells are; they are strings if no cell is a number, or if `force` is true.
    """
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(cells) if force or not any(map(_is_number, cells)) else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(cells: Sequence[str], where: str, columns: Sequence[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        column, cell = next(
            (name, cell) for name, cell in zip(columns, cells, strict=True) if not _is_number(cell)
        )
        raise DataError(f"{where}, column {column!r}: {cell[:40]!r} is not a number") from None
