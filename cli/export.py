"""`revgn export`: write runs in the file formats of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli.paths import OutputPath

if TYPE_CHECKING:
    from revgn.views.export import Form


@click.command("export")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "form",
    type=click.Choice(["csv", "parquet", "netcdf", "tensorboard"]),
    default="csv",
    show_default=True,
    help="File format.",
)
@click.option(
    "-o",
    "--out",
    default="exported",
    show_default=True,
    type=OutputPath(path_type=Path),
    help="Output folder.",
)
def command(runs: tuple[Path, ...], form: "Form", out: Path) -> None:
    """Write the series of RUNS, each a run or a folder of runs, for other tools; print the paths.

    A table beside them has one row per run: name, status, seed, versions, all settings.

    \b
    revgn export runs/first
    revgn export runs --to tensorboard -o logs && tensorboard --logdir logs
    """
    from revgn.store import open_runs
    from revgn.views import export_runs

    for path in export_runs(open_runs(runs), out, form):
        click.echo(str(path))
