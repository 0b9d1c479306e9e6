"""Plots of metrics against a setting, such as test accuracy against the learning rate."""

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from revgn.errors import UsageError
from revgn.settings import value_of
from revgn.store.reader import Run
from revgn.views.canvas import COLOURS, MARKERS, Scale, canvas
from revgn.views.compare import METRICS, Row, metric_form, metric_label, row_of
from revgn.views.groups import SEED, Group, group_runs
from revgn.views.summary import all_settings, settings_in_words
from revgn.views.ticks import set_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 8.0  # ratio of the largest to the smallest value of a setting from which its axis is logarithmic


def draw_response(
    runs: Sequence[Run],
    path: Path,
    setting: str,
    *,
    what: Sequence[str] = (),
    by: str | None = None,
    log: Scale = "auto",
    groups: Sequence[Group] | None = None,
) -> int:
    """Draw metrics of a comparison against a setting: means over seeds, with bars of one standard deviation.

    Parameters
    ----------
    path : Path
        File to write; its name ends in .png, .pdf or .svg.
    setting : str
        Dotted path of the setting, such as "optimizer.lr". Runs that do not use it, and runs in which its
        value is not a number, are left out.
    what : sequence of str
        Names from `METRICS`, one panel for each. Default: test accuracy, or test loss without an accuracy.
    by : str, optional
        Setting that distinguishes the lines, one line per value. Default: all other settings that differ.
    log : {"auto", "none", "x", "y", "xy"}
        Logarithmic axes. "auto" makes the axis of the setting logarithmic if its values span a factor of 8.
    groups : sequence of Group
        The points. Default: one point for all runs that differ only in their seed.

    Returns
    -------
    int
        Number of runs that are left out, since the setting is not a number there or nothing was measured.

    Raises
    ------
    UsageError
        If the setting or the metric is unknown, the setting is the seed, it is not a number in any run, or
        nothing was measured yet.
    """
    if setting == SEED:
        raise UsageError("against: a point is a mean over seeds; choose a setting other than the seed")
    groups = group_runs(runs) if groups is None else groups
    lines = _lines(groups, setting, by)
    available = {name for line in lines.values() for _, row in line for name in row.metrics}
    measured = [name for name in METRICS if name in available]
    if not measured:
        raise UsageError("against: nothing was measured in these runs yet")
    panels = tuple(what) or tuple(name for name in ("test_accuracy", "test_loss") if name in measured)[:1]
    for name in panels:
        if name not in measured:
            raise UsageError(
                f"what: {name!r} was not measured in these runs; available are {', '.join(measured)}"
            )
    drawn = [row for line in lines.values() for _, row in line if row.metrics.keys() & {*panels}]
    values = [value for line in lines.values() for value, _ in line]
    wide = min(values) > 0 and max(values) >= _WIDE * min(values)
    with canvas(path, len(panels), "mean over seeds, bars: one standard deviation") as axes:
        for ax, name in zip(axes, panels, strict=True):
            for number, (label, line) in enumerate(lines.items()):
                _draw_line(ax, label, line, name, number)
            unit = metric_form(name)[2]
            ax.set_xlabel(setting)
            ax.set_ylabel(metric_label(name) + (f" ({unit.strip()})" if unit else ""))
            ax.grid(alpha=0.25)
            if log in ("x", "xy") or (log == "auto" and wide):
                set_log_scale(ax, "x")
            if log in ("y", "xy"):
                set_log_scale(ax, "y")
    return sum(len(group.runs) for group in groups) - sum(len(row.runs) for row in drawn)


def _lines(groups: Sequence[Group], setting: str, by: str | None) -> dict[str, list[tuple[float, Row]]]:
    """Return for each line label its points: the value of the setting and the metrics, sorted by value."""
    lines: dict[str, list[tuple[float, Row]]] = {}
    for group in groups:
        used = all_settings(group.runs[0])
        value = value_of(setting, used)
        if isinstance(value, Real) and not isinstance(value, bool):
            of_line = group.settings if by is None else {by: value_of(by, used)}
            others = {k: v for k, v in of_line.items() if setting not in (k, k.rpartition(".")[2])}
            label = settings_in_words(others) or "all"
            lines.setdefault(label, []).append((float(value), row_of(group)))
    if by is not None and all(value_of(by, all_settings(group.runs[0])) is None for group in groups):
        raise UsageError(f"against: no run has a setting {by!r}")
    if not lines:
        raise UsageError(f"against: {setting} is not a number in any of the runs")
    return {label: sorted(line, key=lambda point: point[0]) for label, line in lines.items()}


def _draw_line(ax: "Axes", label: str, line: list[tuple[float, Row]], name: str, number: int) -> None:
    measured = [(value, row.metrics[name]) for value, row in line if name in row.metrics]
    scale = metric_form(name)[0]
    ax.errorbar(
        [value for value, _ in measured],
        [scale * spread.mean for _, spread in measured],
        [scale * spread.std for _, spread in measured],
        label=label,
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        markersize=4,
        linewidth=1.4,
        capsize=2,
    )
