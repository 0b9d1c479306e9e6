"""Rows of cells of a table in a text file, and the numbers in them."""

import csv
import math
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from revgn.data.dataset import reading
from revgn.data.dialect import (
    MISSING,
    Dialect,
    find_dialect,
    open_text,
    separator_of,
    shown_separator,
    split_cells,
)
from revgn.errors import DataError, UsageError

SHOWN = 3  # number of cells that a message quotes
_LISTED = 12  # number of names that a message lists

_TRUTH = {"true": 1.0, "false": 0.0}
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?")
_UNNAMED = re.compile(r"^Unnamed: \d+$")  # the names that pandas gives to columns without a name


class OpenTable(NamedTuple):
    """A table that is being read: names of the columns ("" for an unnamed one), and the rows that follow.

    Each row consists of its line number and one cell per column.
    """

    names: list[str]
    dialect: Dialect
    rows: Iterator[tuple[int, list[str]]]


@contextmanager
def open_table(
    path: Path, separator: str | None = None, decimal: str | None = None, *, needs_names: bool = True
) -> Iterator[OpenTable]:
    """Open a table, detect its separator and decimal sign unless they are given, and read the column names.

    Parameters
    ----------
    separator, decimal : str or None
        As in `DataSettings`.
    needs_names : bool
        Whether line 1 must name the columns. Otherwise, if it holds numbers, it is a row, and no column has a
        name.

    Raises
    ------
    DataError
        If the file is not a text file, has no names, or has a row with too few or too many cells.
    UsageError
        If the separator cannot be used.
    """
    chosen = None if separator is None else separator_of(separator)
    with reading(path, OSError, EOFError, zlib.error, UnicodeDecodeError), open_text(path) as text:
        form, source = find_dialect(text, str(path), chosen, decimal)
        rows = _rows(source, form, str(path))
        line, first = next(rows, (1, []))
        if not first:
            raise DataError(f"{path}: the file is empty")
        if not needs_names and all(is_number(cell.strip(), form.decimal) for cell in first):
            names, rows = [""] * len(first), chain([(line, first)], rows)
        else:
            names = _header(first, form, str(path))
        named = max((k + 1 for k, name in enumerate(names) if name), default=len(names))
        fitted = (
            (
                line,
                row
                if len(row) == len(names)
                else _fitted(row, named, len(names), form, f"{path}: line {line}"),
            )
            for line, row in rows
        )
        yield OpenTable(names, form, fitted)


def same_name(name: str) -> str:
    """Return a name in the Unicode form NFC, in which equal letters are equal characters."""
    return unicodedata.normalize("NFC", name)


def column_positions(wanted: Sequence[str], present: Sequence[str], where: str) -> list[int]:
    """Return the position of each wanted column; `UsageError` lists those that are missing."""
    at = {same_name(name): position for position, name in enumerate(present)}
    if missing := [name for name in wanted if same_name(name) not in at]:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise UsageError(
            f"{where}: lacks input columns of the run: {', '.join(missing[:_LISTED])}{more}; "
            f"it has {listed(present)}"
        )
    return [at[same_name(name)] for name in wanted]


def listed(names: Collection[str]) -> str:
    """Return the first names, separated by commas; "nothing" if there are none."""
    shown = " ".join(", ".join(islice(names, _LISTED)).split())[:200] or "nothing"
    return shown + (", ..." if len(names) > _LISTED else "")


def _rows(source: Iterable[str], form: Dialect, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line and the cells of each row that is not blank."""
    reader = split_cells(source, form.separator)
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            line = reader.line_num + form.first_line
            raise DataError(
                f"{where}: line {line} cannot be divided into cells; is there an unclosed quotation mark?"
            ) from None
        if row is None:
            return
        if any(map(str.strip, row)):
            yield reader.line_num + form.first_line, row


def _header(row: list[str], form: Dialect, where: str) -> list[str]:
    """Return the names of the columns; "" for an unnamed one."""
    names = [_UNNAMED.sub("", " ".join(same_name(name).split())) for name in row]
    found = [name for name in names if is_number(name, form.decimal)]
    whole = [int(name) for name in found if name.isdecimal()]
    is_counted = len(whole) < len(row) or whole == list(range(len(row)))
    if len(whole) < len(found) or len(set(whole)) < len(whole) or not is_counted:
        raise DataError(
            f"{where}: line 1 must name the columns, but it holds numbers ({', '.join(found[:SHOWN])}); "
            "add a line with names"
        )
    for k, name in enumerate(names):
        if name and name in names[:k]:
            raise DataError(f"{where}: two columns are named {name!r}")
    return [""] * form.unnamed_first + names


def _fitted(row: list[str], named: int, width: int, form: Dialect, where: str) -> list[str]:
    """Return a row of `width` cells.

    Cells after the `named` columns may be absent. Cells beyond `width` must be empty.
    """
    if len(row) > width and not any(map(str.strip, row[width:])):
        row = row[:width]
    if not named <= len(row) <= width:
        separator = shown_separator(form.separator)
        raise DataError(f"{where} has {len(row)} cells, but the header has {width} (separator {separator})")
    return row + [""] * (width - len(row))


def numbers(
    cells: Sequence[str], names: Sequence[str], form: Dialect, where: str, advice: str = ""
) -> list[float]:
    """Return the numbers in cells, NaN for missing values; the error says where a cell is not a number."""
    together = "".join(cells)
    if "_" not in together and (form.decimal == "." or "." not in together):
        with suppress(ValueError):
            return [float(cell) for cell in (cells if form.decimal == "." else map(_with_point, cells))]
    found = [number(cell.strip(), form.decimal) for cell in cells]
    bad = [(name, cell) for name, cell, value in zip(names, cells, found, strict=True) if value is None]
    if bad:
        name, cell = bad[0][0], bad[0][1].strip()
        text = ",".join(f"-{name}" for name, _ in bad)
        remedy = _remedy(cell, form) or advice or f"set columns to {text} to leave text out"
        raise DataError(f"{where}, column {name!r}: {cell[:40]!r} is not a number; {remedy}")
    return found  # type: ignore[return-value]


def _with_point(cell: str) -> str:
    return cell.replace(",", ".")


def number(cell: str, decimal: str) -> float | None:
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


def is_missing(cell: str, decimal: str) -> bool:
    """Return whether a cell stands for a missing value, or is NaN in any spelling."""
    value = number(cell, decimal)
    return value is not None and math.isnan(value)


def is_number(cell: str, decimal: str) -> bool:
    return cell not in MISSING and cell.lower() not in _TRUTH and number(cell, decimal) is not None


def _remedy(cell: str, form: Dialect) -> str:
    """Return advice for a cell that looks like a number; "" if it is text."""
    if "_" in cell and number(cell.replace("_", ""), form.decimal) is not None:
        return "digits cannot be grouped by _"
    if re.fullmatch(r"[-+]?\d+[.,]\d+", cell) and not _THOUSANDS.fullmatch(cell):
        return f"the decimal sign is {form.decimal!r} here; set decimal to the sign that the file uses"
    if _THOUSANDS.fullmatch(cell):
        return "thousands separators are not supported"
    return ""
