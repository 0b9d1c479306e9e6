"""`revgn plot`: training and test curves of runs."""

from pathlib import Path

import click


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
def command(runs: tuple[Path, ...], out: Path, axis: str) -> None:
    """Draw loss and accuracy of RUNS into a .png, .pdf or .svg, labelled by what differs.

    \b
    revgn plot runs/* -o curves.svg --axis seconds
    """
    from revgn.runs import draw_curves, open_run

    draw_curves([open_run(run) for run in runs], out, axis=axis)  # type: ignore[arg-type]
    click.echo(str(out))
