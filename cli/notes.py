"""Lines for the user on standard error."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from revgn.store import Run


def say(line: str) -> None:
    """Print a line on standard error, above a live display if there is one.

    A line that cannot be written is lost, and further output to standard error is discarded: a closed pipe or
    a full disk there does not end what is running.
    """
    try:
        print(line, file=sys.stderr, flush=True)  # a live display replaces sys.stderr
    except OSError:
        discard(2)


def say_note(note: str) -> None:
    """Print a note on standard error."""
    say(f"revgn: {note}")


def discard(stream: int) -> None:
    """Discard further output to the file descriptor `stream`."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream)
        os.close(nowhere)


def open_noted(runs: Iterable[Path]) -> "list[Run]":
    """Open runs, and print a note on runs that are left out because another run has the same seed."""
    from revgn.store import open_runs
    from revgn.views import duplicates_in_words

    opened = open_runs(runs)
    if text := duplicates_in_words(opened):
        say_note(text)
    return opened
