"""Tables of text for a terminal: columns padded to their longest cell, some dropped if they do not fit."""

import shutil
import sys
from collections.abc import Sequence


def terminal_width() -> int | None:
    """Return the width of the terminal in characters; None if standard output is not one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitting(rows: Sequence[Sequence[str]], optional: Sequence[int], width: int | None) -> list[int]:
    """Return the columns to print; `optional` ones are dropped, in order, until lines fit into `width`."""
    kept = list(range(len(rows[0]))) if rows else []
    for column in optional:
        if width is None or max(map(len, aligned(rows, kept)), default=0) <= width:
            break
        kept.remove(column)
    return kept


def aligned(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[str]:
    """Return a line for each row, with these columns padded to their longest cell."""
    widths = [max(len(row[k]) for row in rows) for k in columns] if rows else []
    return [
        "  ".join(f"{row[k]:<{width}}" for k, width in zip(columns, widths, strict=True)).rstrip()
        for row in rows
    ]
