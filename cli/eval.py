"""`revgn eval`: evaluate a run's network, on its own data or on others."""

from pathlib import Path
from typing import Any

import click
from revgn_cli.options import DATA_OPTIONS, chosen_settings, json_option, print_json, setting_options


@click.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@setting_options(DATA_OPTIONS)
@click.option(
    "--best", is_flag=True, help="The best checkpoint by test accuracy (or test loss), not the newest."
)
@json_option
def command(run: Path, best: bool, as_json: bool, **values: Any) -> None:
    """Evaluate RUN's newest checkpoint on its own data, or on --data.

    \b
    revgn eval runs/digits-gauss-newton-20260101-120000 --best
    """
    from revgn.runs import evaluate_run

    settings = chosen_settings(DATA_OPTIONS, values).get("data", {})
    result = evaluate_run(run, settings, best=best)
    if as_json:
        print_json(result)
        return
    click.echo(f"{result['run']} at step {result['step']} on {result['data']}")
    for part in ("train", "test", "all"):
        line = f"{part:<6} {result[f'{part}_rows']:>7} rows  loss {result[f'{part}_loss']:.4g}"
        if f"{part}_accuracy" in result:
            line += f"  accuracy {result[f'{part}_accuracy']:.2%}"
        click.echo(line)
