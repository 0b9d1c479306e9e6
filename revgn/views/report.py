"""One page of HTML about runs, which needs nothing but itself (extra `report`).

Curves to zoom, settings side by side, where the time went, how exact and of what rank the steps were,
machines and versions, and the commands that repeat it all.
"""

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from revgn.errors import UsageError
from revgn.store.files import write_whole
from revgn.store.reader import Run
from revgn.views.compare import FIGURES, Spread, compare_runs, figure_form
from revgn.views.curves import Axis, series_of
from revgn.views.groups import Group, group_runs
from revgn.views.summary import SPLIT, all_settings, summarize

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
_POINTS = 2000  # of a curve; where there are more, the highest and the lowest of each stretch stay
_AXES: tuple[Axis, ...] = ("epoch", "step", "samples", "seconds")
_ON_LOG = ("rho", "residual", "step_norm", "damping")
_EXACTNESS = ("rho", "residual", "rank", "cg_iterations", "step_norm", "damping")
_ANALYSED = (
    "kernel_similarity",
    "kernel_alignment",
    "kernel_rate",
    "kernel_effective_rank",
    "features_cka",
    "branches_cka",
    "halves_cka",
    "output_cka",
    "weights_moved",
    "step_excess",
    "step_overlap",
    "solvers_cosine",
    "gradient_noise",
)
_MEMORY = ("loss_decrease", "loss_decrease_other", "loss_decrease_test")
_COLUMNS = 40  # kinds of runs whose settings stand side by side
_STYLE = """
:root { color-scheme: light; font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
body { max-width: 1200px; margin: 0 auto; padding: 0 14px 40px; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 1.2em 0 .2em; } h2 { font-size: 1.15rem; margin: 2em 0 .5em; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .7em; text-align: left; border-bottom: 1px solid #e2e2e2; white-space: nowrap; }
th { font-weight: 600; } tr.differs { background: #fff4d6; } td.mark, span.mark { font-weight: 700; }
pre { background: #f5f5f3; padding: .7em; overflow-x: auto; font-size: .85rem; }
.note { color: #555; font-size: .88rem; } .figure { width: 100%; height: 350px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 14px; }
.figures > * { min-width: 0; }
span.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .45em; border-radius: 2px; }
label { margin-right: 1em; white-space: nowrap; }
"""
_SCRIPT = """
for (const input of document.querySelectorAll('input[name=axis]')) {
  input.addEventListener('change', () => {
    for (const figure of document.querySelectorAll('.over-axes')) {
      const along = JSON.parse(figure.dataset.along);
      Plotly.update(figure, {x: along[input.value]}, {'xaxis.title.text': input.dataset.title});
    }
  });
}
"""


class Preface(NamedTuple):
    """What a page says before anything else: a title, some lines, and a table of findings. All is text."""

    title: str
    lines: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    runs: Sequence[Run], path: Path, *, preface: Preface | None = None, groups: Sequence[Group] | None = None
) -> None:
    """Write the page.

    Parameters
    ----------
    preface : Preface
        Of a study, its question and its verdicts.
    groups : sequence of Group
        The kinds of runs and their labels, in place of those that follow from what differs.
    path : Path
        Ends in .html; what is there is replaced, as a whole.

    Raises
    ------
    UsageError
        If the ending is another one, or plotly is not installed.
    RunError
        If it cannot be written, or a run is damaged.

    Notes
    -----
    Of series with more than 2,000 points the extremes of each stretch stay. Whatever a run says of itself is
    text to the page, never markup.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: ends in {path.suffix or 'nothing'!r}; expected .html")
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise UsageError("report: plotly is not installed; pip install 'revgn[report]'") from None
    groups = group_runs(runs) if groups is None else groups
    title = groups[0].label if len(groups) == 1 else f"{len(runs)} runs"
    title = title if preface is None else preface.title
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            *([] if preface is None else _preface(preface)),
            f'<p class="note">{_origin(runs)}</p>',
            "<h2>What came out</h2>",
            _outcomes(runs, groups),
            "<h2>Curves</h2>",
            *_curves(groups),
            *_section("Exactness and rank over the run", groups, _EXACTNESS),
            *_section("Loss decrease of a step on its own batch, and elsewhere", groups, _MEMORY),
            *_section("Kernels, features, weights and steps, against the start", groups, _ANALYSED),
            "<h2>Where the time went</h2>",
            _times(groups),
            "<h2>Settings</h2>",
            _settings(groups),
            "<h2>Machines and versions</h2>",
            _machines(runs),
            "<h2>To repeat it</h2>",
            _commands(runs),
        ]
    )
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style>\n<script>{get_plotlyjs()}</script></head>\n'
        f"<body>{body}\n<script>{_SCRIPT}</script></body></html>\n"
    )
    write_whole(path, page.encode("utf-8", "replace"))


def thinned(x: NDArray[Any], y: NDArray[Any], most: int = _POINTS) -> NDArray[np.intp]:
    """Return the places of at most `most` points, the highest and the lowest of each stretch among them."""
    if y.size <= most:
        return np.arange(y.size)
    edges = np.linspace(0, y.size, most // 2 + 1).astype(int)
    kept: set[int] = set()
    for start, stop in pairwise(edges):
        part = y[start:stop]
        kept |= {start + int(np.argmin(part)), start + int(np.argmax(part))}
    return np.array(sorted(kept))


def _origin(runs: Sequence[Run]) -> str:
    starts = sorted(run.attributes["start"] for run in runs)
    when = starts[0] if len(runs) == 1 else f"{starts[0]} to {starts[-1]}"
    made = datetime.now(UTC).isoformat(timespec="seconds")
    data = ", ".join(sorted({run.attributes["data_name"] for run in runs}))
    return escape(f"{len(runs)} run{'s' if len(runs) > 1 else ''} on {data}, started {when}; page of {made}")


def _outcomes(runs: Sequence[Run], groups: Sequence[Group]) -> str:
    outcomes = [(number, compare_runs(group.runs).rows[0]) for number, group in enumerate(groups)]
    names = [name for name in FIGURES if any(name in row.figures for _, row in outcomes)]
    head = ["", "runs", "status", *(name.replace("_", " ") for name in names)]
    rows = []
    for number, row in sorted(outcomes, key=lambda outcome: -outcome[1].score):
        statuses = ", ".join(f"{count} {word}" for word, count in row.statuses.items())
        figures = (escape(_figure(name, row.figures.get(name))) for name in names)
        rows.append([_named(groups[number], number), str(len(row.runs)), escape(statuses), *figures])
    judged = compare_runs(runs).judged.replace("_", " ") or "nothing that was measured"
    note = f"Best first, by {judged}; mean ± standard deviation over seeds."
    return f'{_table(head, rows)}<p class="note">{escape(note)}</p>'


def _curves(groups: Sequence[Group]) -> Iterator[str]:
    choices = "".join(
        f'<label><input type="radio" name="axis" value="{axis}" data-title="{axis}"'
        f"{' checked' if axis == 'epoch' else ''}> {axis}</label>"
        for axis in _AXES
    )
    yield f'<p>Over {choices}</p><div class="figures">'
    for what in ("loss", "accuracy"):
        lines = {f"test_{what}": "solid", f"train_{what}": "dash", f"test_{what}_average": "dot"}
        yield from _figure_of(groups, lines, what, is_log=what == "loss")
    meaning = "Test solid, training dashed, test of averaged weights dotted; a line a run."
    yield f'</div><p class="note">{meaning}</p>'


def _preface(preface: Preface) -> Iterator[str]:
    for line in preface.lines:
        yield f"<p>{escape(line)}</p>"
    yield _table([*map(escape, preface.head)], [[*map(escape, row)] for row in preface.rows])


def _section(title: str, groups: Sequence[Group], names: Sequence[str]) -> Iterator[str]:
    found = [
        part for name in names for part in _figure_of(groups, {name: "solid"}, name, is_log=name in _ON_LOG)
    ]
    if found:
        yield f'<h2>{title}</h2><div class="figures">'
        yield from found
        yield "</div>"


def _figure_of(groups: Sequence[Group], lines: dict[str, str], what: str, *, is_log: bool) -> Iterator[str]:
    """Figure of one quantity, a line a run; nothing where no run has it."""
    import json

    import plotly.graph_objects as go
    from plotly.io import to_html

    traces: list[Any] = []
    along: dict[str, list[list[float]]] = {axis: [] for axis in _AXES}
    for number, group in enumerate(groups):
        named = False
        for run in group.runs:
            for name, dash in lines.items():
                found = {axis: series_of(run, name, axis) for axis in _AXES}
                pair = found["epoch"] or found["step"]
                if pair is None or not pair[1].any():  # never measured, or nothing but zeros
                    continue
                x, y = pair
                kept = thinned(x, y)
                for axis in _AXES:
                    other = found[axis]
                    along[axis].append(np.round((other or pair)[0][kept], 9).tolist())
                style = {"color": _COLOURS[number % len(_COLOURS)], "dash": dash, "width": 1.6}
                traces.append(
                    go.Scatter(
                        x=along["epoch"][-1],
                        y=[float(f"{value:.7g}") for value in y[kept]],
                        mode="lines+markers" if kept.size < 3 else "lines",
                        line=style,
                        name=escape(group.label),
                        legendgroup=str(number),
                        showlegend=not named and len(groups) > 1,
                        hovertemplate=f"{escape(run.folder.name)}<br>{name} %{{y}}<extra></extra>",
                    )
                )
                named = True
    if not traces:
        return
    figure = go.Figure(traces)
    title = what.replace("_", " ")
    axis_style: dict[str, Any] = {"gridcolor": "#e6e6e6", "zeroline": False, "automargin": True}
    positive = is_log and all(value > 0 for trace in traces for value in trace.y)
    figure.update_layout(
        template="none",
        margin={"l": 10, "r": 10, "t": 34, "b": 10},
        height=350,
        xaxis={**axis_style, "title": {"text": "epoch"}},
        yaxis=axis_style | {"title": {"text": title}, "type": "log" if positive else "linear"},
        legend={"orientation": "h", "y": -0.34, "font": {"size": 11}},
        hoverlabel={"namelength": -1},
    )
    options = {"responsive": True, "displaylogo": False, "showTips": False}
    div = to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        config=options,
        div_id=f"figure-{what}",
        default_width="100%",
    )
    data = escape(json.dumps(along), quote=True)
    yield div.replace(f'id="figure-{what}"', f'id="figure-{what}" data-along="{data}"', 1).replace(
        'class="plotly-graph-div"', 'class="plotly-graph-div figure over-axes"', 1
    )


def _times(groups: Sequence[Group]) -> str:
    rows = []
    for number, group in enumerate(groups):
        found = [summarize(run) for run in group.runs]
        seconds = np.mean([each["seconds"] for each in found])
        steps = np.mean([each["step"] for each in found])
        split = {part: np.mean([each["split"].get(part, 0.0) for each in found]) for part in SPLIT}
        shares = [f"{split[part]:.0%}" if any(split.values()) else "" for part in SPLIT]
        memory = max((each["memory_bytes"] or 0.0 for each in found), default=0.0)
        a_step = f"{1e3 * seconds / steps:.3g} ms" if steps else ""
        of_memory = f"{memory / 1e9:.3g} GB" if memory else ""
        rows.append([_named(group, number), f"{seconds:.4g} s", a_step, *shares, of_memory])
    return _table(["", "training", "a step", *SPLIT, "memory at most"], rows)


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
    more = f"Of {len(groups)} kinds of runs the first {_COLUMNS}. " if len(groups) > _COLUMNS else ""
    meaning = "What differs has a coloured ground; settings that nothing looks at are left out."
    note = f'<p class="note">{more}{meaning}</p>'
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>{note}'


def _machines(runs: Sequence[Run]) -> str:
    names = ["backend", "device", "dtype", "source"]
    versions = sorted({name for run in runs for name in run.attributes if name.startswith("version.")})
    found: dict[tuple[str, ...], int] = {}
    for run in runs:
        key = tuple(str(run.attributes.get(name, "")) for name in (*names, *versions))
        found[key] = found.get(key, 0) + 1
    head = [*names, *(name.partition(".")[2] for name in versions), "runs"]
    return _table(head, [[*map(escape, key), str(count)] for key, count in found.items()])


def _commands(runs: Sequence[Run]) -> str:
    lines = list(dict.fromkeys(run.attributes["command"] for run in runs if run.attributes["command"]))
    again = [f"revgn train {shlex.quote(str(run.folder / 'config.toml'))}" for run in runs]
    text = "\n".join([*lines, "", "# or, of a single one, from the settings that it keeps:", *again])
    return f"<pre>{escape(text.strip())}</pre>"


def _named(group: Group, number: int) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    return f'<span class="swatch" style="background:{colour}"></span>{escape(group.label)}'


def _figure(name: str, spread: Spread | None) -> str:
    if spread is None:
        return ""
    scale, form, unit = figure_form(name)
    deviation = f" ± {scale * spread.deviation:.2g}" if spread.count > 1 and spread.deviation else ""
    return f"{scale * spread.mean:{form}}{deviation}{unit}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table whose cells are markup already."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'
