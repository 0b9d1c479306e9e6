"""Figures of a report: one quantity of all runs, to zoom, over each of several axes."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from revgn.views.canvas import COLOURS
from revgn.views.curves import Axis, series_of
from revgn.views.groups import Group

AXES: tuple[Axis, ...] = ("epoch", "step", "samples", "seconds")
_POINTS = 2000  # of a curve; where there are more, the highest and the lowest of each stretch stay
_AXIS: dict[str, Any] = {"gridcolor": "#e6e6e6", "zeroline": False, "automargin": True}


class _Line(NamedTuple):
    """A curve of one run, its places along each axis, and its look."""

    name: str
    run: str
    group: int
    label: str
    dash: str
    along: dict[Axis, list[float]]
    y: list[float]


def figure_of(groups: Sequence[Group], lines: dict[str, str], what: str, *, is_log: bool) -> str:
    """Return the figure of one quantity as HTML, one curve per run; "" where no run has it.

    `lines` names the series to draw, and how each is dashed; with `is_log` the axis of values that are all
    positive is logarithmic.
    """
    import plotly.graph_objects as go
    from plotly.io import to_html

    found = list(_lines(groups, lines))
    if not found:
        return ""
    named: set[int] = set()
    figure = go.Figure()
    for line in found:
        figure.add_scatter(
            x=line.along["epoch"],
            y=line.y,
            mode="lines+markers" if len(line.y) < 3 else "lines",
            line={"color": COLOURS[line.group % len(COLOURS)], "dash": line.dash, "width": 1.6},
            name=escape(line.label),
            legendgroup=str(line.group),
            showlegend=line.group not in named and len(groups) > 1,
            hovertemplate=f"{escape(line.run)}<br>{line.name} %{{y}}<extra></extra>",
        )
        named.add(line.group)
    positive = is_log and all(value > 0 for line in found for value in line.y)
    figure.update_layout(
        template="none",
        margin={"l": 10, "r": 10, "t": 34, "b": 10},
        height=350,
        xaxis=_AXIS | {"title": {"text": "epoch"}},
        yaxis=_AXIS | {"title": {"text": what.replace("_", " ")}, "type": "log" if positive else "linear"},
        legend={"orientation": "h", "y": -0.34, "font": {"size": 11}},
        hoverlabel={"namelength": -1},
    )
    options = {"responsive": True, "displaylogo": False, "showTips": False}
    name = f"figure-{what}"
    div = to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        config=options,
        div_id=name,
        default_width="100%",
    )
    along = escape(json.dumps({axis: [line.along[axis] for line in found] for axis in AXES}), quote=True)
    div = div.replace(f'id="{name}"', f'id="{name}" data-along="{along}"', 1)
    return str(div.replace('class="plotly-graph-div"', 'class="plotly-graph-div figure over-axes"', 1))


def _lines(groups: Sequence[Group], lines: dict[str, str]) -> Iterator[_Line]:
    for number, group in enumerate(groups):
        for run in group.runs:
            for name, dash in lines.items():
                found = {axis: series_of(run, name, axis) for axis in AXES}
                pair = found["epoch"] or found["step"]
                if pair is None or not pair[1].any():  # never measured, or nothing but zeros
                    continue
                kept = thinned(*pair)
                along = {axis: np.round((found[axis] or pair)[0][kept], 9).tolist() for axis in AXES}
                y = [float(f"{value:.7g}") for value in pair[1][kept]]
                yield _Line(name, run.folder.name, number, group.label, dash, along, y)


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
