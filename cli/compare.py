"""`revgn compare`: what differs between runs, and what came out."""

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from revgn_cli.options import print_json

if TYPE_CHECKING:
    from revgn.views import Comparison


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--markdown", "form", flag_value="markdown", help="Print a Markdown table.")
@click.option("--all", "all_figures", is_flag=True, help="Print all figures, not only the first.")
def command(runs: tuple[Path, ...], form: str | None, all_figures: bool) -> None:
    """Compare RUNS, each a run or a folder with runs, such as a sweep: mean and deviation over seeds.

    The best evaluation of each run counts: by its validation part, else by its test part.

    \b
    revgn compare runs/rates
    revgn compare runs/a runs/b --markdown
    """
    from revgn.store import open_runs
    from revgn.views import compare_runs

    compared = compare_runs(open_runs(runs))
    if form == "json":
        print_json(asdict(compared))
    elif form == "csv":
        _print_csv(compared)
    else:
        header, rows = _table(compared, all_figures)
        if form == "markdown":
            click.echo(_markdown(header, rows))
        else:
            _print_table(header, rows)
            click.echo(f"best first, by {compared.judged.replace('_', ' ') or 'nothing that was measured'}")


_SHOWN = (
    "validation_accuracy",
    "validation_loss",
    "test_accuracy",
    "test_loss",
    "train_loss",
    "epochs",
    "seconds",
)


def _figures(compared: "Comparison", all_figures: bool) -> list[str]:
    """Names of the figures to print: losses only where there is no accuracy, unless all are wanted."""
    names = list(dict.fromkeys(name for row in compared.rows for name in row.figures))
    if all_figures:
        return names
    twice = {name for name in names if name.replace("loss", "accuracy") in names and name.endswith("loss")}
    return [name for name in _SHOWN if name in names and (name not in twice or name == "train_loss")]


def _table(compared: "Comparison", all_figures: bool) -> tuple[list[str], list[list[str]]]:
    from revgn.views.compare import spread_in_words

    paths = list(dict.fromkeys(path for row in compared.rows for path in row.settings))
    names = _figures(compared, all_figures)
    last = [path.removesuffix(".kind").rpartition(".")[2] for path in paths]
    header = [word if last.count(word) == 1 else path for word, path in zip(last, paths, strict=True)]
    header += [*([] if paths else ["run"]), "runs", *(name.replace("_", " ") for name in names)]
    rows = []
    for row in compared.rows:
        of_status = ", ".join(f"{count} {word}" for word, count in row.statuses.items() if word != "finished")
        count = f"{len(row.runs)}" + (f" ({of_status})" if of_status else "")
        settings = ["" if path not in row.settings else _word(row.settings[path]) for path in paths]
        own = [] if paths else [row.runs[0].rpartition("/")[2]]
        figures = (spread_in_words(name, row.figures.get(name)) for name in names)
        rows.append([*settings, *own, count, *figures])
    return header, rows


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for line in (header, *rows):
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _flat_rows(compared: "Comparison") -> list[dict[str, Any]]:
    """One flat record a row: settings by path, runs, statuses, mean and deviation of each figure."""
    found = []
    for row in compared.rows:
        record = dict(row.settings) | {"runs": len(row.runs)} | dict(row.statuses)
        for name, spread in row.figures.items():
            record |= {name: spread.mean, f"{name}_deviation": spread.deviation}
        found.append(record)
    return found


def _print_csv(compared: "Comparison") -> None:
    rows = _flat_rows(compared)
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
