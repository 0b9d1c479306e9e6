"""`revgn eval`: evaluate the network of a run on its own data set or on another one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from revgn_cli.notes import say_note
from revgn_cli.options import DATA_OPTIONS, chosen_settings, json_option, print_json, setting_options

if TYPE_CHECKING:
    from revgn.store import Weights


@click.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@setting_options(DATA_OPTIONS, with_defaults=False)
@click.option("--best", is_flag=True, help="Evaluate the checkpoint with the best score, not the newest.")
@click.option(
    "--weights",
    type=click.Choice(["raw", "average"]),
    default="raw",
    show_default=True,
    help="Weights of the last step, or their average (for runs trained with --average).",
)
@json_option
def command(run: Path, best: bool, weights: "Weights", as_json: bool, **values: Any) -> None:
    """Evaluate the newest checkpoint of RUN on its own data set, or on the one given by --data.

    The score of a checkpoint is its accuracy (for regression: its loss) on the validation set, or on the test
    set if the run has no validation set. The test set then selects the checkpoint that it evaluates.

    \b
    revgn eval runs/digits-gauss-newton-20260101-120000 --best
    revgn eval runs/digits-gauss-newton-20260101-120000 --best --weights average
    """
    from revgn.launch import evaluate_run

    settings = chosen_settings(values).get("data", {})
    result = evaluate_run(run, settings, best=best, weights=weights)
    if result.get("selected_by", "").startswith("test"):
        from revgn.views.compare import SELECTED_BY_TEST

        say_note(f"the run has no validation rows, and the test set selects its checkpoint{SELECTED_BY_TEST}")
    if as_json:
        print_json(result)
        return
    averaged = ", averaged weights" if weights == "average" else ""
    by = f", selected by {result['selected_by'].replace('_', ' ')}," if best else ""
    click.echo(f"{result['run']} at step {result['step']}{by} on {result['data']}{averaged}")
    for part in ("train", "validation", "test", "all"):
        if f"{part}_rows" not in result:
            continue
        line = f"{part:<10} {result[f'{part}_rows']:>7} rows  loss {result[f'{part}_loss']:.4g}"
        if f"{part}_accuracy" in result:
            line += f"  accuracy {result[f'{part}_accuracy']:.2%}"
        click.echo(line)
