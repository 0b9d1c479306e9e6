"""`revgn report`: one page about runs, which needs nothing but itself."""

from pathlib import Path

import click


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    default="report.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page; one that is there is replaced.",
)
def command(runs: tuple[Path, ...], out: Path) -> None:
    """Write a page about RUNS, each a run or a folder with runs: curves to zoom, settings, times, commands.

    It is one file of about 5 MB that works offline.

    \b
    revgn report runs/rates -o rates.html
    """
    from revgn.store import open_runs
    from revgn.views import write_report

    write_report(open_runs(runs), out)
    click.echo(f"{out}, {out.stat().st_size / 1e6:.2f} MB")
