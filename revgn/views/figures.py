"""Interactive plots of a report: one quantity of all runs, over a horizontal axis that the reader selects."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revgn.views.canvas import COLOURS
from revgn.views.curves import AXIS_LABELS, Axis, measured_series, quantity_label
from revgn.views.groups import Group

AXES: tuple[Axis, ...] = ("epoch", "step", "samples", "seconds")
_POINTS = 2000  # most points per curve; longer curves keep the highest and the lowest of each interval
_HEIGHT = 320  # pixels, as in report.css
_AXIS: dict[str, Any] = {
    "gridcolor": "#e6e6e6",
    "zeroline": False,
    "automargin": True,
    "exponentformat": "power",
}


def figure_of(groups: Sequence[Group], lines: dict[str, str], what: str, *, is_log: bool) -> str:
    """Return the plot of one quantity as HTML, with one curve per run; "" if no run has the quantity.

    The element contains the description of the plot as JSON. `report.js` draws it when the page is complete
    and its width is known, and again when the width changes.

    `lines` maps each series to its line style. With `is_log` the vertical axis is logarithmic if all values
    are positive.
    """
    import plotly.graph_objects as go

    found = list(_lines(groups, lines))
    if not found:
        return ""
    figure = go.Figure()
    for along, look in found:
        figure.add_scatter(x=along["epoch"], **look)
    positive = is_log and all(value > 0 for _, look in found for value in look["y"])
    figure.update_layout(
        template="none",
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        height=_HEIGHT,
        xaxis=_AXIS | {"title": {"text": AXIS_LABELS["epoch"]}},
        yaxis=_AXIS | {"type": "log" if positive else "linear"},
        showlegend=False,
        hoverlabel={"namelength": -1},
    )
    along_axes = {axis: [along[axis] for along, _ in found] for axis in AXES}
    about = f'{{"figure": {figure.to_json()}, "along": {json.dumps(along_axes)}}}'
    content = about.replace("<", r"\u003c")  # no text from a run ends the element
    drawn = f'<div class="figure" id="figure-{what}"><script type="application/json">{content}</script></div>'
    return f"<div><h3>{escape(quantity_label(what))}</h3>{drawn}</div>"


def _lines(
    groups: Sequence[Group], lines: dict[str, str]
) -> Iterator[tuple[dict[Axis, list[float]], dict[str, Any]]]:
    """Yield for each curve its positions along each axis, and its values and style for plotly."""
    for number, group in enumerate(groups):
        for run in group.runs:
            for name, dash in lines.items():
                found = {axis: measured_series(run, name, axis) for axis in AXES}
                pair = found["epoch"] or found["step"]
                if pair is None or not pair[1].any():  # never measured, or all zero
                    continue
                kept = thinned(*pair)
                along = {axis: np.round((found[axis] or pair)[0][kept], 9).tolist() for axis in AXES}
                look = {
                    "y": [float(f"{value:.7g}") for value in pair[1][kept]],
                    "mode": "lines+markers" if kept.size < 3 else "lines",
                    "line": {"color": COLOURS[number % len(COLOURS)], "dash": dash, "width": 1.6},
                    "name": escape(group.label),
                    "legendgroup": str(number),
                    "hovertemplate": f"{escape(run.folder.name)}<br>{name} %{{y}}<extra></extra>",
                }
                yield along, look


def thinned(x: NDArray[Any], y: NDArray[Any], most: int = _POINTS) -> NDArray[np.intp]:
    """Return the indices of at most `most` points, including the highest and lowest of each interval."""
    if y.size <= most:
        return np.arange(y.size)
    edges = np.linspace(0, y.size, most // 2 + 1).astype(int)
    kept: set[int] = set()
    for start, stop in pairwise(edges):
        part = y[start:stop]
        kept |= {start + int(np.argmin(part)), start + int(np.argmax(part))}
    return np.array(sorted(kept))
