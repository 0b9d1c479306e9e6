"""`revgn ls`: list the runs in a folder, one per line."""

from pathlib import Path

import click
from revgn_cli.columns import aligned, fitting, terminal_width
from revgn_cli.notes import say
from revgn_cli.options import json_option, print_json

_TITLE, _STEP = 2, 3  # columns that a narrow terminal leaves out


@click.command("ls")
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs) and in its subfolders.

    \b
    revgn ls
    """
    from revgn.errors import RunError, UsageError
    from revgn.store import list_runs, open_run
    from revgn.views import outline
    from revgn.views.compare import metric_label, metric_text

    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; revgn train creates runs")
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
        say(f"no runs in {folder}")
    table = []
    for row in rows:
        by = row.get("best_by", "")
        keys = ("best", "best_average") if by.startswith("validation") else ("last", "last")
        found, averaged = (row.get(key) or {} for key in keys)
        metric = "" if "step" in row else row["message"]
        if name := next((name for name in ("test_accuracy", "test_loss") if name in found), None):
            metric = f"{metric_label(name)} {metric_text(name, found[name])}"
            if f"{name}_average" in averaged:
                metric += f", averaged {metric_text(name, averaged[f'{name}_average'])}"
            metric += f" at the best {metric_label(by)}" if keys[0] == "best" else ""
        step = f"step {row['step']}" if "step" in row else ""
        table.append([row["run"], row["status"], row.get("title", ""), step, metric])
    intact = [line for line, row in zip(table, rows, strict=True) if "step" in row]
    for line in aligned(table, fitting(intact or table, (_TITLE, _STEP), terminal_width())):
        click.echo(line)
