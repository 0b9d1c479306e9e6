"""`revgn compare`: table of the settings in which runs differ, and of their results."""

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from revgn_cli.columns import aligned, fitting, terminal_width
from revgn_cli.notes import open_noted, say_note
from revgn_cli.options import print_json

if TYPE_CHECKING:
    from revgn.views import Comparison


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", is_flag=True, help="Print CSV.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option(
    "--all",
    "all_metrics",
    is_flag=True,
    help="Print all metrics, not only the main ones, as far as the terminal has room. --csv and --json "
    "always print all.",
)
def command(runs: tuple[Path, ...], all_metrics: bool, **forms: bool) -> None:
    """Compare RUNS, each a run or a folder of runs: mean and standard deviation of the results over seeds.

    Each run is represented by its best evaluation on the validation set. A run without validation rows is
    represented by its last evaluation.

    \b
    revgn compare runs/sweep
    revgn compare runs/a runs/b --markdown
    """
    from revgn.errors import UsageError
    from revgn.views.compare import compare_runs, order_in_words, selection_warning

    form, *others = [name for name, is_given in forms.items() if is_given] or [""]
    if others:
        raise UsageError(f"--{form} and --{others[0]}: both choose the format; use only one of them")
    compared = compare_runs(open_noted(runs))
    if warning := selection_warning(compared):
        say_note(warning)
    if form == "json":
        print_json(asdict(compared))
    elif form == "csv":
        _print_csv(compared)
    else:
        table = _table(compared, all_metrics)
        if form == "markdown":
            click.echo(_markdown(table))
        else:
            for line in _fitted(table):
                click.echo(line)
            click.echo(order_in_words(compared))


_SHOWN = (
    "validation_accuracy",
    "validation_loss",
    "validation_rmse",
    "validation_r2",
    "test_accuracy",
    "test_loss",
    "test_rmse",
    "test_r2",
    "train_loss",
    "epochs",
    "seconds",
)


class _Table(NamedTuple):
    """Cells of a table, and the columns that a narrow terminal leaves out, the least important first."""

    header: list[str]
    rows: list[list[str]]
    optional: list[int]


def _metrics(compared: "Comparison", all_metrics: bool) -> list[str]:
    """Return the names of the metrics to print.

    Unless `all_metrics` is true, these are the main metrics, without the validation or test loss if there is
    an accuracy.
    """
    names = list(dict.fromkeys(name for row in compared.rows for name in row.metrics))
    if all_metrics:
        return names
    twice = {name for name in names if name.replace("loss", "accuracy") in names and name.endswith("loss")}
    return [name for name in _SHOWN if name in names and (name not in twice or name == "train_loss")]


def _table(compared: "Comparison", all_metrics: bool) -> _Table:
    from revgn.views.compare import metric_label, spread_in_words
    from revgn.views.summary import short_names

    paths = list(dict.fromkeys(path for row in compared.rows for path in row.settings))
    names = _metrics(compared, all_metrics)
    others = [*([] if paths else ["run"]), "runs", *map(metric_label, names)]
    header = [*short_names(paths, others), *others]
    rows = []
    for row in compared.rows:
        of_status = ", ".join(f"{count} {word}" for word, count in row.statuses.items() if word != "finished")
        count = f"{len(row.runs)}" + (f" ({of_status})" if of_status else "")
        settings = ["" if path not in row.settings else _word(row.settings[path]) for path in paths]
        own = [] if paths else [row.label]
        metrics = (spread_in_words(name, row.metrics.get(name)) for name in names)
        rows.append([*settings, *own, count, *metrics])
    return _Table(header, rows, _optional(compared, rows, len(paths), names))


def _optional(compared: "Comparison", rows: list[list[str]], settings: int, names: list[str]) -> list[int]:
    """Return the columns that may be left out, in this order.

    These are metrics other than scores, then settings that have few different values, then scores. One
    setting and the metrics that order the rows stay.
    """
    judged = {row.judged.removesuffix("_average") for row in compared.rows}
    main = _metrics(compared, all_metrics=False)
    ranked = dict.fromkeys(name for name in (*main, *names) if name not in judged)
    column = {name: len(rows[0]) - len(names) + at for at, name in enumerate(names)}
    scores = [name for name in ranked if name in main and name.startswith(("validation", "test"))]
    by_values = sorted(range(settings), key=lambda at: (len({row[at] for row in rows}), -at))
    others = [name for name in ranked if name not in scores]
    return [
        *(column[name] for name in reversed(others)),
        *by_values[:-1],
        *(column[name] for name in reversed(scores)),
    ]


def _word(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _fitted(table: _Table) -> list[str]:
    """Return the lines of a table; if columns are dropped to fit the terminal, the last line names them."""
    cells = [table.header, *table.rows]
    kept = fitting(cells, table.optional, terminal_width())
    left_out = [name for k, name in enumerate(table.header) if k not in kept]
    note = [f"too wide for this terminal: {', '.join(left_out)}; --csv has all columns"] if left_out else []
    return [*aligned(cells, kept), *note]


def _markdown(table: _Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _flat_rows(compared: "Comparison") -> list[dict[str, Any]]:
    """Return a flat record per row: settings by path, folders and number of runs, statuses, metrics."""
    found = []
    for row in compared.rows:
        record = dict(row.settings) | {"folders": ";".join(row.runs), "runs": len(row.runs)}
        record |= dict(row.statuses)
        for name, spread in row.metrics.items():
            record |= {name: spread.mean, f"{name}_std": spread.std}
        found.append(record)
    return found


def _print_csv(compared: "Comparison") -> None:
    rows = _flat_rows(compared)
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
