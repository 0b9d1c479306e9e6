"""`revgn plot`: plot the series of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli import completion
from revgn_cli.notes import open_noted, say_note
from revgn_cli.options import refuse_given
from revgn_cli.paths import OutputPath

if TYPE_CHECKING:
    from revgn.views.canvas import Scale
    from revgn.views.curves import Axis


@click.command("plot")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    default="curves.png",
    show_default=True,
    type=OutputPath(path_type=Path, dir_okay=False),
    help="Output file: .png, .pdf or .svg; an existing file is replaced.",
)
@click.option(
    "--axis",
    type=click.Choice(["epoch", "step", "seconds", "samples"]),
    default="epoch",
    show_default=True,
    help="Horizontal axis.",
)
@click.option(
    "--what",
    multiple=True,
    metavar="SERIES",
    shell_complete=completion.series_names,
    help="Series to plot, one panel each, such as rho; or spectrum.  [default: loss and accuracy]",
)
@click.option(
    "--log",
    type=click.Choice(["auto", "none", "x", "y", "xy"]),
    default="auto",
    show_default=True,
    help="Logarithmic axes; auto: the y axis of losses and norms, or with --against the x axis of a setting "
    "whose values span a factor of 8 or more.",
)
@click.option(
    "--against",
    metavar="SETTING",
    shell_complete=completion.setting_keys,
    help="Plot the results of the runs against a setting, such as lr, instead of curves. --what is then a "
    "metric of `revgn compare`.  [default: test accuracy, or test loss]",
)
@click.option("--each", is_flag=True, help="One curve per run, not one per group of seeds.")
def command(
    runs: tuple[Path, ...],
    out: Path,
    axis: "Axis",
    what: tuple[str, ...],
    log: "Scale",
    against: str | None,
    each: bool,
) -> None:
    """Plot RUNS, each a run or a folder of runs; labels show the settings in which they differ.

    Runs that differ only in their seed are drawn as one curve, their mean, with a band from the lowest to the
    highest value.

    \b
    revgn plot runs/* -o curves.svg --axis seconds
    revgn plot runs/sweep --what loss --what rho --log xy
    revgn plot runs/sweep --against lr --what test_loss
    """
    from revgn.launch import run_spectrum
    from revgn.settings import canonical
    from revgn.store import open_runs
    from revgn.views import draw_curves, draw_response

    if against is not None:
        refuse_given(("axis", "each"), "with --against")
    opened = open_runs(runs) if each else open_noted(runs)
    if against is None:
        spectra = {run.folder: run_spectrum(run) for run in opened} if "spectrum" in what else None
        draw_curves(opened, out, axis=axis, what=what, log=log, each=each, spectra=spectra)
    else:
        if count := draw_response(opened, out, canonical(against), what=what, log=log):
            are = "runs are" if count > 1 else "run is"
            say_note(f"{count} {are} left out: {against} is not a number there, or nothing was measured")
    click.echo(str(out))
