"""Shared set-up of all plots of runs: panels, a common legend, and writing the file."""

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from revgn.errors import UsageError
from revgn.store.files import writing
from revgn.views.ticks import label_in_plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Scale = Literal["auto", "none", "x", "y", "xy"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
_LETTER = 0.07  # inches of an average letter of the legend
MARKERS = "osD^vPX*"  # one more than there are colours, so a pair of both repeats only after 56 curves


@contextmanager
def canvas(path: Path, panels: int, title: str) -> Iterator[list["Axes"]]:
    """Yield the axes of a figure, at most three per row; on exit add the legend and write the file.

    A file name that does not end in .png, .pdf or .svg raises `UsageError`.
    """
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        ending = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise UsageError(f"{path}: the file name {ending}; expected .png, .pdf or .svg")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context

    style = {"svg.fonttype": "none", "pdf.fonttype": 42}
    with context(style):
        rows = -(-panels // 3)
        columns = -(-panels // rows)
        figure = Figure(figsize=(4.8 * columns, 3.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
        for ax in axes[:panels]:
            label_in_plain_text(ax)
        for ax in axes[panels:]:
            ax.set_axis_off()
        figure.suptitle(textwrap.fill(title, 60 * columns), fontsize=9)
        yield axes[:panels]
        _legend(figure, axes)
        with writing(path):
            figure.savefig(path, dpi=150)


def _legend(figure: "Figure", axes: Iterable["Axes"]) -> None:
    """Put one legend below all panels, with the curves of every panel; a single curve needs no legend."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        width, height = figure.get_size_inches()
        labels = [textwrap.fill(label, int((width - 0.6) / _LETTER)) for label in handles]
        shown = [label.replace("$", r"\$") for label in labels]  # a name is no formula
        lines = [label.splitlines() for label in labels]
        longest = max(len(line) for each in lines for line in each)
        columns = max(1, min(len(handles), int(width / (0.6 + _LETTER * longest))))
        style: dict[str, Any] = {"ncols": columns, "fontsize": 8, "frameon": False}
        figure.legend(handles.values(), shown, loc="outside lower center", **style)
        count = sum(map(len, lines)) if columns == 1 else -(-len(handles) // columns)
        figure.set_size_inches(width, height + 0.18 * count)
