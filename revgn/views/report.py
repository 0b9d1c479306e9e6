"""Self-contained HTML report about one or several runs (extra `report`)."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from revgn.analysis import QUANTITIES
from revgn.errors import UsageError
from revgn.store.files import write_shared
from revgn.store.reader import Run
from revgn.views.canvas import COLOURS
from revgn.views.compare import (
    Comparison,
    compare_runs,
    metric_label,
    order_in_words,
    selection_warning,
    shown_metrics,
    spread_in_words,
)
from revgn.views.curves import AXIS_LABELS
from revgn.views.errors import error_section
from revgn.views.figures import AXES, figure_of
from revgn.views.groups import Group, group_runs
from revgn.views.summary import SPLIT, all_settings, summarize
from revgn.views.tables import library

_ON_LOG = ("rho", "residual", "step_norm", "damping")
_EXACTNESS = ("rho", "residual", "rank", "cg_iterations", "step_norm", "damping")
_ANALYSED = tuple(quantity.name for quantity in QUANTITIES if not quantity.by_coupling)
_MEMORY = ("loss_decrease", "loss_decrease_other", "loss_decrease_test")
_COLUMNS = 40  # largest number of groups whose settings are shown side by side


class Preface(NamedTuple):
    """Opening of a report: a title, paragraphs, and a table with its head. All of it is plain text."""

    title: str
    lines: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    runs: Sequence[Run],
    path: Path,
    *,
    preface: Preface | None = None,
    groups: Sequence[Group] | None = None,
    errors: bool = False,
) -> None:
    """Write an HTML report about runs.

    Series with more than 2,000 points keep only the extremes of each interval. Text from a run is escaped and
    is never interpreted as markup.

    Parameters
    ----------
    path : Path
        File to write; its name ends in .html. An existing file is replaced.
    preface : Preface
        Opening of the report, for instance the question and the verdicts of a study.
    groups : sequence of Group
        Groups of runs and their labels. Default: runs that differ only in their seed form one group.
    errors : bool
        Evaluate a network of each group on the test set: confusion of classes, errors of each target.

    Raises
    ------
    UsageError
        If the file name has another ending, or plotly is not installed.
    RunError
        If the file cannot be written, or a run is damaged.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        ending = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise UsageError(f"{path}: the file name {ending}; expected .html")
    plotly = library("report", "plotly.offline", "report").get_plotlyjs()
    groups = group_runs(runs) if groups is None else groups
    title = groups[0].label if len(groups) == 1 else f"{len(runs)} runs"
    title = title if preface is None else preface.title
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            *([] if preface is None else _preface(preface)),
            f'<p class="note">{_origin(runs)}</p>',
            "<h2>Results</h2>",
            _outcomes(runs, groups),
            *(error_section(groups) if errors else []),
            "<section>",  # the legend stays visible in it
            "<h2>Curves</h2>",
            *_curves(groups),
            *_section("Relative residual and rank of the steps", groups, _EXACTNESS),
            *_section("Loss decrease of each step: same batch, second batch, test set", groups, _MEMORY),
            *_section("Kernels, features, weights and steps compared to initialization", groups, _ANALYSED),
            "</section>",
            "<h2>Time and memory</h2>",
            _times(groups),
            "<h2>Settings</h2>",
            _settings(groups),
            "<h2>Machines and versions</h2>",
            _machines(runs),
            "<h2>Commands to repeat the runs</h2>",
            _commands(runs),
        ]
    )
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,"><style>{style}</style>\n<script>{plotly}</script></head>\n'
        f"<body>{body}\n<script>{script}</script></body></html>\n"
    )
    write_shared(path, page.encode("utf-8", "replace"))


def _origin(runs: Sequence[Run]) -> str:
    starts = sorted(run.attributes["start"] for run in runs)
    when = starts[0] if len(runs) == 1 else f"{starts[0]} to {starts[-1]}"
    made = datetime.now(UTC).isoformat(timespec="seconds")
    data = ", ".join(sorted({run.attributes["data_name"] for run in runs}))
    return escape(
        f"{len(runs)} run{'s' if len(runs) > 1 else ''} on {data}, started {when}; report written {made}"
    )


def _outcomes(runs: Sequence[Run], groups: Sequence[Group]) -> str:
    outcomes = [(number, compare_runs(group.runs).rows[0]) for number, group in enumerate(groups)]
    names = shown_metrics([row for _, row in outcomes])
    head = ["", "runs", "status", *map(metric_label, names)]
    rows = []
    for number, row in sorted(outcomes, key=lambda outcome: -outcome[1].score):
        statuses = ", ".join(f"{count} {word}" for word, count in row.statuses.items())
        metrics = (escape(spread_in_words(name, row.metrics.get(name))) for name in names)
        rows.append([_named(groups[number], number), str(len(row.runs)), escape(statuses), *metrics])
    compared = Comparison(tuple(row for _, row in outcomes), "")
    sentences = (
        "mean ± standard deviation over seeds",
        order_in_words(compared),
        selection_warning(compared),
    )
    note = " ".join(f"{words[0].upper()}{words[1:]}." for words in sentences if words)
    return f'{_table(head, rows)}<p class="note">{escape(note)}</p>'


def _curves(groups: Sequence[Group]) -> Iterator[str]:
    choices = "".join(
        f'<label><input type="radio" name="axis" value="{axis}" data-title="{AXIS_LABELS[axis]}"'
        f"{' checked' if axis == 'epoch' else ''}> {AXIS_LABELS[axis]}</label>"
        for axis in AXES
    )
    yield f"<p>Horizontal axis: {choices}</p>"
    if len(groups) > 1:
        named = (
            f'<button type="button" value="{number}" aria-pressed="true">{_named(group, number)}</button>'
            for number, group in enumerate(groups)
        )
        yield f'<div class="legend" title="Click to hide or show a curve">{"".join(named)}</div>'
    yield '<div class="figures">'
    for what in ("loss", "accuracy"):
        lines = {f"test_{what}": "solid", f"train_{what}": "dash", f"test_{what}_average": "dot"}
        yield figure_of(groups, lines, what, is_log=what == "loss")
    meaning = (
        "Solid: test set; dashed: training set; dotted: test set with averaged weights. One line per run."
    )
    yield f'</div><p class="note">{meaning}</p>'


def _preface(preface: Preface) -> Iterator[str]:
    for line in preface.lines:
        yield f"<p>{escape(line)}</p>"
    yield _table([*map(escape, preface.head)], [[*map(escape, row)] for row in preface.rows])


def _section(title: str, groups: Sequence[Group], names: Sequence[str]) -> Iterator[str]:
    found = [figure_of(groups, {name: "solid"}, name, is_log=name in _ON_LOG) for name in names]
    if any(found):
        yield "\n".join([f'<h2>{title}</h2><div class="figures">', *filter(None, found), "</div>"])


def _times(groups: Sequence[Group]) -> str:
    rows = []
    for number, group in enumerate(groups):
        found = [summarize(run) for run in group.runs]
        seconds = np.mean([each["seconds"] for each in found])
        steps = np.mean([each["step"] for each in found])
        split = {part: np.mean([each["split"].get(part, 0.0) for each in found]) for part in SPLIT}
        shares = [f"{split[part]:.0%}" if any(split.values()) else "" for part in SPLIT]
        memory = max((each["memory_bytes"] or 0.0 for each in found), default=0.0)
        per_step = f"{1e3 * seconds / steps:.3g} ms" if steps else ""
        peak = f"{memory / 1e9:.3g} GB" if memory else ""
        rows.append([_named(group, number), f"{seconds:.4g} s", per_step, *shares, peak])
    return _table(["", "training time", "time per step", *SPLIT, "peak memory"], rows)


def _settings(groups: Sequence[Group]) -> str:
    shown = groups[:_COLUMNS]
    used = [all_settings(group.runs[0]) for group in shown]
    for settings, group in zip(used, shown, strict=True):
        seeds = sorted({all_settings(run)["training.seed"] for run in group.runs})
        settings["training.seed"] = ", ".join(map(str, seeds))
    paths = list(dict.fromkeys(path for settings in used for path in settings))
    head = "".join(f"<th>{_named(group, number)}</th>" for number, group in enumerate(shown))
    rows = []
    for path in sorted(paths, key=lambda path: len({repr(each.get(path)) for each in used}) == 1):
        words = ["" if settings.get(path) is None else str(settings[path]) for settings in used]
        if not any(words):
            continue
        cells = "".join(f"<td>{escape(word)}</td>" for word in words)
        rows.append(
            f'<tr class="{"differs" if len({*words}) > 1 else ""}"><td>{escape(path)}</td>{cells}</tr>'
        )
    more = f"The first {_COLUMNS} of {len(groups)} groups of runs. " if len(groups) > _COLUMNS else ""
    meaning = "Settings that differ are shaded. Settings that a run does not use are left out."
    note = f'<p class="note">{more}{meaning}</p>'
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>{note}'


def _machines(runs: Sequence[Run]) -> str:
    names = ["backend", "device", "dtype", "source"]
    versions = sorted({name for run in runs for name in run.attributes if name.startswith("version.")})
    found = Counter(tuple(str(run.attributes.get(name, "")) for name in (*names, *versions)) for run in runs)
    head = [*names, *(name.partition(".")[2] for name in versions), "runs"]
    return _table(head, [[*map(escape, key), str(count)] for key, count in found.items()])


def _commands(runs: Sequence[Run]) -> str:
    lines = list(dict.fromkeys(run.attributes["command"] for run in runs if run.attributes["command"]))
    again = [f"revgn train {shlex.quote(str(run.folder / 'config.toml'))}" for run in runs]
    text = "\n".join([*lines, "", "# or repeat a single run from the settings stored in its folder:", *again])
    return f"<pre>{escape(text.strip())}</pre>"


def _named(group: Group, number: int) -> str:
    colour = COLOURS[number % len(COLOURS)]
    return f'<span class="swatch" style="background:{colour}"></span>{escape(group.label)}'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table; the cells in `rows` are markup already, the cells in `head` are escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'
