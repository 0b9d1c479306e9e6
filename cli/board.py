"""Status of the trials of a sweep on standard error: a live table in a terminal, else a line per change."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from revgn_cli.notes import say
from revgn_cli.progress import PLAIN_SECONDS, can_redraw, clock

if TYPE_CHECKING:
    from rich.table import Table

    from revgn.sweeps import Board, Status, TrialState

_ORDER: "tuple[Status, ...]" = (
    "running",
    "elsewhere",
    "failed",
    "diverged",
    "interrupted",
    "finished",
    "stopped",
    "waiting",
)
_MARGIN = 4  # lines of a terminal that are not rows of the table


@contextmanager
def show_board(quiet: bool, title: str) -> "Iterator[Callable[[Board], None]]":
    """Yield a function that displays the trials of a sweep each time it is called with their states.

    The live table keeps its last rows without the counts, which the command prints at the end.
    """
    if quiet:
        yield lambda board: None
    elif can_redraw(sys.stderr):
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        with Live(console=console, refresh_per_second=4) as live:
            latest: Board = {}

            def observe(board: "Board") -> None:
                nonlocal latest
                latest = board
                live.update(_table(board, title, console.height - _MARGIN, counts(board)))

            try:
                yield observe
            finally:
                if latest:
                    live.update(_table(latest, title, console.height - _MARGIN))
    else:
        yield _plain(title)


def counts(board: "Board") -> str:
    """Return how many trials are in each state: "2 running, 1 finished"."""
    found = Counter(state.status for state in board.values())
    return ", ".join(f"{found[status]} {status}" for status in _ORDER if status in found)


def messages(board: "Board") -> list[str]:
    """Return a line for each error, and for each note on trials that have finished.

    The line has the first such trial, the number of others, and the message.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name, state in board.items():
        if state.status in ("failed", "diverged") or (state.status == "finished" and state.message):
            found.setdefault((state.status, state.message), []).append(name)
    return [
        f"{first}{f' (and {len(others)} more)' if others else ''}: {status}: {message}"
        for (status, message), (first, *others) in found.items()
    ]


def _plain(title: str) -> "Callable[[Board], None]":
    began, last = time.monotonic(), -PLAIN_SECONDS
    before: dict[str, str] = {}

    def observe(board: "Board") -> None:
        nonlocal last
        now = time.monotonic() - began
        if last < 0:
            say(title)
        for name, state in board.items():
            if before.get(name, "waiting") != state.status:
                is_last = state.status in ("failed", "diverged", "finished")  # see `messages`
                message = "" if is_last else state.message
                shown = filter(None, (state.status, message, *_metrics(state)))
                say("  ".join([f"{now:7.1f}s", name, *shown]))
            before[name] = state.status
        if now - last >= PLAIN_SECONDS:
            say(f"{now:7.1f}s  {counts(board)}")
            last = now

    return observe


def _metrics(state: "TrialState") -> tuple[str, str, str]:
    """Return steps, last score and wall-clock time of a trial; "" where it has not reported any."""
    from revgn.views.compare import judged_label, metric_text

    beat, score = state.beat, ""
    if beat.scores and beat.judged:
        value, metric = beat.scores[-1][1], beat.judged.removesuffix("_average")
        text = metric_text(metric, value if metric.endswith("accuracy") else -value)
        score = f"{judged_label(beat.judged)} {text}"
    steps = f"step {beat.step}/{beat.steps}" if beat.steps else ""
    return steps, score, clock(beat.seconds) if beat.steps else ""


def _table(board: "Board", title: str, rows: int, caption: str | None = None) -> "Table":
    shown = sorted(board.items(), key=lambda item: _ORDER.index(item[1].status))[: max(rows, 1)]
    cells = [(name, state.status, *_metrics(state)) for name, state in shown]
    return plain_table(("trial", "status", "step", "score", "time"), cells, caption, title)


def plain_table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], caption: str | None, title: str | None = None
) -> "Table":
    """Return a table without borders whose cells are plain text; only the first column may be cut."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, caption=caption, box=None, title_justify="left", caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number > 0)
    for first, *others in rows:
        table.add_row(Text(first, no_wrap=True, overflow="ellipsis"), *map(Text, others))
    return table
