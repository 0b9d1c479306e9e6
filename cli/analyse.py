"""`revgn analyse`: measure kernels, representations, weights and steps of recorded runs."""

import math
from pathlib import Path

import click
from revgn_cli.notes import say_note
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

    Prints the quantities of the tangent kernel, the representations, the weights and the next two steps
    that `revgn train --analyse-rows` records; `revgn reference` defines them. For several runs, the
    similarity of their outputs is printed as well (unbiased CKA).

    \b
    revgn analyse runs/first
    revgn analyse runs/block runs/adam --rows 60
    revgn analyse runs/first --rows 5000 --probes 30
    """
    from revgn.errors import RevgnError
    from revgn.launch import analyse_run, output_similarity
    from revgn.store import open_runs

    opened, found, failed = open_runs(list(runs)), {}, []
    for run in opened:
        try:
            found[str(run.folder)] = analyse_run(run, rows, probes, data, say_note)
        except RevgnError as error:
            failed.append(error)
    if not found:
        raise failed[0]
    measured = [run for run in opened if str(run.folder) in found]
    alike = output_similarity(measured, rows, data) if len(measured) > 1 else {}
    for reason in failed:
        say_note(str(reason))
    if len(alike) < math.comb(len(measured), 2):
        say_note("the runs have different data; outputs are compared between runs on the same data only")
    _print(found, alike, as_json)
    if failed:
        raise click.exceptions.Exit(1)


def _print(
    found: dict[str, dict[int, dict[str, float]]], alike: dict[tuple[str, str], float], as_json: bool
) -> None:
    """Print the quantities of each run by step, and the similarity of the outputs of pairs of runs."""
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
