"""`revgn ls`: the runs in a folder, a line each."""

from pathlib import Path

import click
from revgn_cli.options import json_option, print_json


@click.command("ls")
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs), at any depth.

    \b
    revgn ls
    """
    from revgn.errors import RunError, UsageError
    from revgn.store import list_runs, open_run
    from revgn.views import outline

    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; revgn train makes runs")
    rows = []
    for path in list_runs(folder):
        try:
            rows.append(outline(open_run(path)))
        except RunError as error:
            rows.append({"run": str(path), "status": "damaged", "message": str(error)})
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(f"no runs in {folder}", err=True)
    width = max((len(row["run"]) for row in rows), default=0)
    for row in rows:
        best = row.get("best") or {}
        averaged = row.get("best_average") or {}
        figure = ""
        if "test_accuracy" in best:
            figure = f"best test accuracy {best['test_accuracy']:.2%}"
            figure += f", averaged {averaged['test_accuracy_average']:.2%}" if averaged else ""
        elif "test_loss" in best:
            figure = f"best test loss {best['test_loss']:.4g}"
            figure += f", averaged {averaged['test_loss_average']:.4g}" if averaged else ""
        step = f"step {row['step']}" if "step" in row else row["message"]
        title = row.get("title", "")
        click.echo(f"{row['run']:<{width}}  {row['status']:<11}  {title:<26}  {step:<10}  {figure}".rstrip())
