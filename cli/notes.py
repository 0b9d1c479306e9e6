"""Notes to the user on standard error."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from revgn.store import Run


def say_note(note: str) -> None:
    """Print a note on standard error."""
    click.echo(f"revgn: {note}", err=True)


def open_noted(runs: Iterable[Path]) -> "list[Run]":
    """Open runs, and print a note on runs that are left out because another run has the same seed."""
    from revgn.store import open_runs
    from revgn.views import duplicates_in_words

    opened = open_runs(runs)
    if text := duplicates_in_words(opened):
        say_note(text)
    return opened
