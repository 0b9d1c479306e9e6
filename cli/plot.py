"""`revgn plot`: curves of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from revgn.views.canvas import Scale
    from revgn.views.curves import Axis


@click.command("plot")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", default="curves.png", show_default=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option(
    "--axis",
    type=click.Choice(["epoch", "step", "seconds", "samples"]),
    default="epoch",
    show_default=True,
    help="What the curves go over.",
)
@click.option(
    "--what",
    multiple=True,
    metavar="SERIES",
    help="A panel: loss, accuracy (these two if not given), any series, such as rho, or spectrum.",
)
@click.option(
    "--log",
    type=click.Choice(["auto", "none", "x", "y", "xy"]),
    default="auto",
    show_default=True,
    help="Logarithmic axes; auto takes y of losses and norms.",
)
@click.option(
    "--against",
    metavar="SETTING",
    help="Draw what came of the runs over a setting, such as lr, in place of curves; --what is then a figure "
    "of compare, test accuracy or loss if not given.",
)
@click.option("--each", is_flag=True, help="A curve for each run, not for each kind over its seeds.")
def command(
    runs: tuple[Path, ...],
    out: Path,
    axis: "Axis",
    what: tuple[str, ...],
    log: "Scale",
    against: str | None,
    each: bool,
) -> None:
    """Draw RUNS, each a run or a folder with runs, into a .png, .pdf or .svg, labelled by what differs.

    Runs that differ in their seed alone are one curve: their mean, in a band from lowest to highest.

    \b
    revgn plot runs/* -o curves.svg --axis seconds
    revgn plot runs/rates --what loss --what rho --log xy
    revgn plot runs/rates --against lr --what test_loss
    """
    from revgn.launch import run_spectrum
    from revgn.settings import canonical
    from revgn.store import open_runs
    from revgn.views import draw_curves, draw_response

    opened = open_runs(runs)
    if against is None:
        spectra = {run.folder: run_spectrum(run) for run in opened} if "spectrum" in what else None
        draw_curves(opened, out, axis=axis, what=what, log=log, each=each, spectra=spectra)
    else:
        draw_response(opened, out, canonical(against), what=what, log=log)
    click.echo(str(out))
