"""Training and test curves of one or several runs, labelled by what differs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from revgn.errors import UsageError
from revgn.runs.files import writing
from revgn.runs.reader import Run
from revgn.runs.summary import labels

Axis = Literal["epoch", "step", "seconds", "samples"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
_MARKERS = "osD^vPX*"  # one more than colours, so that pairs repeat late
_LINES = {"test_{}": "-", "train_{}": "--", "test_{}_average": ":"}
_FORMATS = (".png", ".pdf", ".svg")


def draw_curves(runs: Sequence[Run], path: Path, *, axis: Axis = "epoch") -> None:
    """Draw loss (log scale) and, where there are classes, accuracy: test solid, training dashed.

    Of averaged weights the test's curves are drawn as well, dotted.

    Parameters
    ----------
    path : Path
        Ends in .png, .pdf or .svg; text stays text in the latter two.
    axis : {"epoch", "step", "seconds", "samples"}

    Raises
    ------
    UsageError
        If the file's ending is another one.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path}: ends in {path.suffix or 'nothing'!r}; expected .png, .pdf or .svg")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context

    panels = ["loss"]
    if any("test_accuracy" in run.epochs for run in runs):
        panels.append("accuracy")
    with context({"svg.fonttype": "none", "pdf.fonttype": 42}):
        figure = Figure(figsize=(4.8 * len(panels), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for number, (run, label) in enumerate(zip(runs, labels(runs), strict=True)):
            colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
            for ax, what in zip(axes, panels, strict=True):
                for name, line in _LINES.items():
                    y = run.epochs.get(name.format(what))
                    if y is None:
                        continue
                    every = max(1, y.size // 12)
                    ax.plot(
                        run.epochs[axis],
                        y,
                        line,
                        color=colour,
                        marker=None if line == "--" else marker,
                        markerfacecolor="none" if line == ":" else colour,
                        markevery=every,
                        markersize=4,
                        linewidth=1.4,
                        label=label if line == "-" else None,
                    )
        for ax, what in zip(axes, panels, strict=True):
            ax.set_xlabel("seconds of training" if axis == "seconds" else axis)
            ax.set_ylabel(what)
            ax.grid(alpha=0.25)
        positive = [
            y
            for run in runs
            for name in _LINES
            for y in run.epochs.get(name.format("loss"), ())
            if np.isfinite(y)
        ]
        if positive and min(positive) > 0:
            axes[0].set_yscale("log")
        title = "test solid, training dashed"
        if any("test_loss_average" in run.epochs for run in runs):
            title += ", test of averaged weights dotted"
        axes[0].set_title(title, fontsize=9)
        handles, names = axes[0].get_legend_handles_labels()  # every run has a loss, not each an accuracy
        if len(runs) > 1 and handles:
            figure.legend(handles, names, loc="outside lower center", fontsize=8, frameon=False)
        with writing(path):
            figure.savefig(path, dpi=150)
