"""`revgn analyse`: measure kernels, representations, weights and steps of recorded runs."""

from pathlib import Path

import click
from revgn_cli.options import json_option, print_json


@click.command("analyse")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rows", type=int, default=100, show_default=True, metavar="N", help="Number of test samples used."
)
@click.option(
    "--probes",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Random vectors that estimate the tangent kernels; 0 computes the kernels exactly.",
)
@click.option(
    "--data",
    metavar="FILE",
    help="Data file of the runs, if it is not where it was during training.",
)
@json_option
def command(runs: tuple[Path, ...], rows: int, probes: int, data: str | None, as_json: bool) -> None:
    """Measure RUNS, each a run or a folder of runs, at their checkpoints, relative to initialization.

    Prints quantities of the tangent kernel, the representations, the weights and the next two steps: those
    that a run with --analyse-rows records. `revgn reference` defines them. For several runs, the
    similarity of their outputs is printed as well (unbiased CKA).

    \b
    revgn analyse runs/first
    revgn analyse runs/block runs/adam --rows 60
    revgn analyse runs/first --rows 5000 --probes 30
    """
    from revgn.launch import analyse_run, output_similarity
    from revgn.store import open_runs

    opened = open_runs(list(runs))
    found = {str(run.folder): analyse_run(run, rows, probes, data) for run in opened}
    alike = output_similarity(opened, rows, data) if len(opened) > 1 else {}
    if as_json:
        pairs = [{"runs": pair, "output_cka": value} for pair, value in alike.items()]
        print_json({"runs": found, "between": pairs})
        return
    for folder, of_steps in found.items():
        click.echo(f"{folder:<34}" + "".join(f"{f'step {step}':>12}" for step in of_steps))
        for name in dict.fromkeys(name for record in of_steps.values() for name in record):
            cells = (f"{record[name]:.4g}" if name in record else "" for record in of_steps.values())
            click.echo(f"  {name:<32}" + "".join(f"{cell:>12}" for cell in cells))
    for (first, second), value in alike.items():
        click.echo(f"{first}, {second}: output CKA {value:.4f}")
