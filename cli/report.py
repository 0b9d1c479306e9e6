"""`revgn report`: write one HTML page about runs."""

from pathlib import Path

import click
from revgn_cli.notes import open_noted, say_note
from revgn_cli.paths import OutputPath


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    default="report.html",
    show_default=True,
    type=OutputPath(path_type=Path, dir_okay=False),
    help="Output file; an existing file is replaced.",
)
@click.option(
    "--errors/--no-errors",
    default=True,
    show_default=True,
    help="Evaluate a network of each group of runs on the test set, which needs the data.",
)
def command(runs: tuple[Path, ...], out: Path, errors: bool) -> None:
    """Write an HTML page about RUNS, each a run or a folder of runs.

    The page shows zoomable curves, the confusion of classes or the errors of each target, settings, timings
    and commands. It is one file of about 5 MB that works offline.

    \b
    revgn report runs/sweep -o sweep.html
    """
    from revgn.views import compare_runs, write_report
    from revgn.views.compare import selection_warning

    opened = open_noted(runs)
    if warning := selection_warning(compare_runs(opened)):
        say_note(warning)
    write_report(opened, out, errors=errors)
    click.echo(f"{out}, {out.stat().st_size / 1e6:.2f} MB")
