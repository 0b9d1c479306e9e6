"""The dialect of a table in a text file: encoding, separator of the cells, and decimal sign."""

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

from revgn.errors import DataError, UsageError

MISSING = frozenset(("", "?", "#N/A", "N/A", "n/a", "NA", "<NA>", "NaN", "nan", "NULL", "null", "None"))
"""Cells that stand for a missing value, as in pandas, and the question mark of the UCI repository."""

GZIP = b"\x1f\x8b"
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks

_SEPARATORS = ("\t", ";", ",", "|", " ")  # in order of preference; a comma may be a decimal comma
_NAMED = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}
_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
_POINT = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")
_NUMBER = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
_SAMPLE_BYTES, _SAMPLE_LINES = 1 << 20, 200


class Dialect(NamedTuple):
    """Separator and decimal sign of a table, the number of lines before its header, and unnamed columns.

    With `unnamed_first` the header has one cell less than the rows, whose first cells are names of rows.
    """

    separator: str
    decimal: str
    first_line: int = 0
    unnamed_first: bool = False

    def __str__(self) -> str:
        """Describe a dialect that is not the usual one, such as "separator ';', decimal ','"."""
        parts = [] if self.separator == "," else [f"separator {shown_separator(self.separator)}"]
        parts += ["decimal ','"] if self.decimal == "," else []
        return ", ".join(parts)


def shown_separator(separator: str) -> str:
    """Return a separator as messages show it."""
    return {"\t": "tab", " ": "space"}.get(separator, repr(separator))


def separator_of(text: str) -> str:
    """Return the separator that a setting names: one character, or tab, space, comma, semicolon."""
    found = _NAMED.get(text, text)
    if len(found) != 1 or found in "\r\n\"'" or found.isalnum():
        raise UsageError(f"separator: {text!r} cannot be used; expected one character, tab or space")
    return found


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, which may be compressed with gzip; UTF-16 is recognized by its byte order mark."""
    with path.open("rb") as plain:
        is_zipped = plain.read(2) == GZIP
        plain.seek(0)
        stream = io.BufferedReader(gzip.GzipFile(fileobj=plain)) if is_zipped else plain
        is_utf16 = stream.peek(2)[:2] in UTF16
        with io.TextIOWrapper(stream, encoding="utf-16" if is_utf16 else "utf-8-sig", newline="") as text:
            yield text


def find_dialect(
    text: TextIO, where: str, separator: str | None, decimal: str | None
) -> tuple[Dialect, Iterator[str]]:
    """Detect what the settings leave open; return the dialect and the lines from the header on.

    The separator is the one that divides most of the first lines into the same number of cells, at least
    two; if several do, it is the one for which most cells are numbers. The decimal sign is a comma if there
    are cells such as 1,5 and none such as 1.5.
    """
    sample = text.readlines(_SAMPLE_BYTES)
    if "\0" in "".join(sample[:_SAMPLE_LINES]):
        raise DataError(f"{where}: is neither text nor an .npz or .h5 file")
    first = 0
    if sample and (hint := re.fullmatch(r"(?i:sep)=(.)\s*", sample[0])):  # a hint for Excel
        separator, first = separator or hint[1], 1
    if len(sample) > first and sample[first].startswith("#"):
        sample[first] = sample[first].lstrip("# ")
    lines = sample[first : first + _SAMPLE_LINES]
    score = {each: _score(lines, each) for each in _SEPARATORS}
    found = separator or (max(_SEPARATORS, key=score.__getitem__) if any(map(any, score.values())) else ",")
    rows = _sample_rows(lines, found)
    width = _width(rows[1:])
    unnamed_first = bool(rows) and 0 < len(rows[0]) == width - 1 and any(row[-1] for row in rows[1:])
    decimal = decimal or ("." if found == "," else _decimal_of(rows[1:], where))
    return Dialect(found, decimal, first, unnamed_first), chain(sample[first:], text)


def split_cells(lines: Iterable[str], separator: str, *, strict: bool = True) -> "csv._reader":  # type: ignore[name-defined]
    """Return a reader of rows of cells; if the separator is a space, any white space separates cells."""
    if separator == " ":
        lines = (" ".join(line.split()) + "\n" for line in lines)
    return csv.reader(lines, delimiter=separator, strict=strict, skipinitialspace=True)


def _sample_rows(lines: list[str], separator: str) -> list[list[str]]:
    try:
        rows = list(split_cells(lines, separator, strict=False))
    except csv.Error:
        return []
    return [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]


def _width(rows: list[list[str]]) -> int:
    """Return the most frequent number of cells, 0 if there are no rows."""
    return Counter(map(len, rows)).most_common(1)[0][0] if rows else 0


def _score(lines: list[str], separator: str) -> tuple[float, float]:
    """Return the fraction of the rows that a separator divides alike, and the fraction of numbers in them.

    Both are 0 if it divides no row.
    """
    rows = _sample_rows(lines, separator)
    width = _width(rows[1:] or rows)
    if width < 2 or len(rows[0]) < 2:
        return 0.0, 0.0
    cells = [cell for row in rows[1:] for cell in row]
    numbers = sum(_NUMBER.fullmatch(cell) is not None for cell in cells)
    alike = sum(len(row) in (width, width - 1) for row in rows)
    return alike / len(rows), numbers / max(len(cells), 1)


def _decimal_of(rows: list[list[str]], where: str) -> str:
    cells = [cell for row in rows for cell in row]
    commas = list(filter(_COMMA.fullmatch, cells))
    if not commas or any(map(_POINT.fullmatch, cells)):
        return "."
    if all(map(_THOUSANDS.fullmatch, commas)):
        raise DataError(
            f"{where}: the comma of {commas[0]!r} may be a decimal comma or separate thousands; "
            "set decimal to a comma, or remove the thousands separators"
        )
    return ","
