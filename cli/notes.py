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
    """Open runs, with a note on those that are not counted because they repeat the seed of another."""
    from revgn.store import open_runs
    from revgn.views import duplicates_in_words

    opened = open_runs(runs)
    if text := duplicates_in_words(opened):
        say_note(text)
    return opened
