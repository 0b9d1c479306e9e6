"""`revgn watch`: live view of a run, or of all runs in a folder."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli.board import plain_table
from revgn_cli.braille import Line, plot_lines
from revgn_cli.progress import can_redraw, clock, evaluation_metrics
from revgn_cli.show import sparkline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from revgn.store import Run

_SECONDS = 1.0
_HEIGHT = 10
_WIDE = 1000  # width in characters where lines need not fit a terminal
_SIDE_BY_SIDE = 100  # smallest width in characters for two panels side by side


@click.command("watch")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Print one frame and exit; the default outside a terminal.")
def command(run: Path, once: bool) -> None:
    """Watch RUN, or all runs in a folder, until they end or until Ctrl-C.

    Watching does not affect the runs: it only reads their files.

    \b
    revgn watch runs/first
    revgn watch runs/sweep
    """
    from rich.console import Console
    from rich.live import Live

    from revgn.store import open_runs

    console = Console()
    if once or not can_redraw(sys.stdout):
        printer = console if console.is_terminal else Console(width=_WIDE)
        printer.print(_frame(open_runs(run), run, console, 10**6))
        return
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                runs = open_runs(run)
                live.update(_frame(runs, run, console, console.height - 2), refresh=True)
                if all(_has_ended(each) for each in runs) and not (run / "sweep.toml").exists():
                    return  # a sweep may start more runs, so it is watched until Ctrl-C
                time.sleep(_SECONDS)
    except KeyboardInterrupt:
        return


def _frame(runs: "list[Run]", path: Path, console: "Console", height: int) -> "RenderableType":
    plain = not console.encoding.startswith("utf")
    if len(runs) == 1 and runs[0].folder == path:
        return _one(runs[0], console.width, plain)
    return _many(runs, height, plain)


def _one(run: "Run", width: int, plain: bool) -> "RenderableType":
    """Return title, metrics, and curves of loss and accuracy (test bright, training dim)."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from revgn.views import outline

    found = outline(run)
    head = Text(f"{run.folder}: {found['title']}, {found['status']}, step {found['step']}", "bold")
    lines = [head]
    if found["message"]:
        lines.append(Text(found["message"]))
    if metrics := evaluation_metrics(found["last"]):
        lines.append(Text(", ".join(metrics)))
    is_wide = width >= _SIDE_BY_SIDE
    panel = width // 2 - 1 if is_wide else width
    panels = []
    for what, log in (("loss", True), ("accuracy", False)):
        curves = [
            Line(run.epochs["epoch"].tolist(), run.epochs[f"{part}_{what}"].tolist(), style)
            for part, style in (("train", "dim cyan"), ("test", "bold cyan"))
            if f"{part}_{what}" in run.epochs
        ]
        if curves:
            text = Text(f"{what} (test bright, training dim) over epochs\n", "dim")
            for row in plot_lines(curves, panel, _HEIGHT, log=log, plain=plain):
                text.append_text(Text.assemble(*row)).append("\n")
            panels.append(text)
    return Group(*lines, Columns(panels) if is_wide and len(panels) > 1 else Group(*panels))


def _many(runs: "list[Run]", height: int, plain: bool) -> "RenderableType":
    """Return a table with one row per run, running ones first, as far as they fit into `height`."""
    from revgn.views import outline
    from revgn.views.compare import metric_text

    rows = []
    for run in sorted(runs, key=_has_ended)[: max(height - 3, 1)]:
        found = outline(run)
        last, losses = found["last"], run.epochs.get("test_loss")
        shown = [name for name in ("test_accuracy", "test_loss") if name in last][:1]
        test = "".join(metric_text(name, last[name]) for name in shown)
        curve = "" if losses is None else sparkline(losses.tolist(), log=True, plain=plain).partition(" ")[0]
        seconds = clock(last.get("seconds", 0.0))
        rows.append([run.folder.name, found["status"], str(found["step"]), seconds, test, curve])
    columns = ("run", "status", "step", "time", "test", "test loss")
    return plain_table(columns, rows, f"{len(runs)} run{'s' * (len(runs) > 1)}")


def _has_ended(run: "Run") -> bool:
    from revgn.store import status

    return status(run) != "running"
