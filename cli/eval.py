"""`revgn eval`: evaluate the network of a run on its own data set or on another one."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from revgn_cli.checkpoints import checkpoint_options
from revgn_cli.notes import say_note
from revgn_cli.options import (
    DATA_OPTIONS,
    chosen_settings,
    json_option,
    print_json,
    run_argument,
    setting_options,
)

if TYPE_CHECKING:
    from revgn.arrays import BackendName
    from revgn.launch import Step
    from revgn.store import Weights


@click.command("eval")
@run_argument
@setting_options(DATA_OPTIONS, with_defaults=False)
@checkpoint_options(default="raw")
@click.option(
    "--backend",
    type=click.Choice(["numpy", "cupy"]),
    help="Array library.  [default: the library of the run]",
)
@json_option
def command(
    run: Path,
    checkpoint: "Step",
    weights: "Weights",
    backend: "BackendName | None",
    as_json: bool,
    **values: Any,
) -> None:
    """Evaluate the newest checkpoint of RUN on its own data set, or on the one given by --data.

    For classes, print the loss and accuracy on each set, and the accuracy of each class and the confusion
    matrix on the test set (on all rows of other data). For a regression, print R^2 and the root mean squared
    error (RMSE) in the unit of the targets. The score of a checkpoint is its accuracy (for a regression: its
    loss) on the validation set, or on the test set if the run has no validation set. In the latter case, the
    test score of the best checkpoint is optimistic, since the checkpoint is selected on the test set.

    \b
    revgn eval runs/first --checkpoint best
    revgn eval runs/first --data other.csv --target kind
    """
    from revgn.launch import evaluate_run
    from revgn.views.errors import confusion_lines

    settings = chosen_settings(values).get("data", {})
    result = evaluate_run(run, settings, checkpoint=checkpoint, weights=weights, backend=backend)
    if result.get("selected_by", "").startswith("test") and "name" not in settings:
        from revgn.views.compare import SELECTED_BY_TEST

        say_note(f"the run has no validation rows, and the test set selects its checkpoint{SELECTED_BY_TEST}")
    if as_json:
        print_json(result)
        return
    averaged = ", averaged weights" if weights == "average" else ""
    by = f", selected by {result['selected_by'].replace('_', ' ')}," if "selected_by" in result else ""
    click.echo(f"{result['run']} at step {result['step']}{by} on {result['data']}{averaged}")
    for part in ("train", "validation", "test", "all"):
        if f"{part}_rows" not in result:
            continue
        line = f"{part:<10} {result[f'{part}_rows']:>7} rows  loss {result[f'{part}_loss']:.4g}"
        if f"{part}_accuracy" in result:
            line += f"  accuracy {result[f'{part}_accuracy']:.2%}"
        targets = _errors(result.get(f"{part}_targets", {}))
        click.echo("\n    ".join([line, *targets]) if len(targets) > 1 else "  ".join([line, *targets]))
    shown = "all" if "name" in settings or "test_rows" not in result else "test"
    if f"{shown}_confusion" in result:
        width = shutil.get_terminal_size().columns
        for line in confusion_lines(result["classes"], result[f"{shown}_confusion"], width):
            click.echo(line)


def _errors(targets: dict[str, dict[str, float]]) -> list[str]:
    """Return RMSE and R^2 of each target as text."""
    words = []
    for name, errors in targets.items():
        r2 = f", R^2 {errors['r2']:.4g}" if "r2" in errors else ""
        words.append(f"{name} RMSE {errors['rmse']:.4g}{r2}")
    return words
