"""Curves of one or several runs, labelled by what differs; of several seeds their mean, within a band."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from revgn.errors import UsageError
from revgn.store.names import CADENCES, EPOCH_SERIES, STEP_SERIES
from revgn.store.reader import Run
from revgn.views.canvas import COLOURS, MARKERS, Scale, canvas
from revgn.views.groups import Group, group_runs, single_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Axis = Literal["epoch", "step", "seconds", "samples"]
Values = NDArray[np.float64]

_LABELLED = 24  # kinds of runs; more are drawn alike, without a legend
SPECTRUM = "spectrum"
_ON_LOG = (SPECTRUM, "loss", "rho", "residual", "norm", "damping", "s_max", "s_min", "error")


class Curve(NamedTuple):
    """Mean over runs, and where they lie, along an axis."""

    x: Values
    mean: Values
    low: Values
    high: Values
    runs: int


def draw_curves(
    runs: Sequence[Run],
    path: Path,
    *,
    axis: Axis = "epoch",
    what: Sequence[str] = (),
    log: Scale = "auto",
    each: bool = False,
    groups: Sequence[Group] | None = None,
    spectra: Mapping[Path, Values] | None = None,
) -> None:
    """Draw a panel for each of `what`: test solid, training dashed, test of averaged weights dotted.

    Runs that differ in their seed alone are one curve, their mean, within a band from lowest to highest.

    Parameters
    ----------
    path : Path
        Ends in .png, .pdf or .svg; text stays text in the latter two.
    axis : {"epoch", "step", "seconds", "samples"}
    what : sequence of str
        "loss", "accuracy", or any series of steps or epochs, such as "rho"; loss and accuracy if not given.
        "spectrum" draws the eigenvalues given as `spectra`.
    log : {"auto", "none", "x", "y", "xy"}
        Which axes are logarithmic; "auto" takes y of losses, norms and the like that are positive.
    each : bool
        Draw each run for itself, whatever differs.
    groups : sequence of Group
        The curves and their labels, in place of those that follow from what differs.
    spectra : mapping of Path to (n,) float64, optional
        Eigenvalues by run folder, the largest first, such as those of `revgn.launch.run_spectrum`.

    Raises
    ------
    UsageError
        If the file's ending is another one, there is no such series, or no spectra are given for "spectrum".
    """
    panels = tuple(what) or ("loss", *(["accuracy"] if _has(runs, "test_accuracy") else []))
    for name in panels:
        if name != SPECTRUM:
            _check_series(name, runs)
        elif not spectra:
            raise UsageError("what: a spectrum needs the eigenvalues of the runs (spectra)")
    if groups is None:
        groups = single_runs(runs) if each else group_runs(runs)
    with canvas(path, len(panels), _legend_in_words(runs, panels, groups)) as axes:
        for ax, name in zip(axes, panels, strict=True):
            for number, group in enumerate(groups):
                for series, line in names_of(name).items():
                    pairs = _spectra_of(group, spectra or {}) if name == SPECTRUM else None
                    curve = curve_of(group.runs, series, axis) if pairs is None else mean_curve(pairs)
                    if curve is not None:
                        _draw_curve(ax, curve, line, group.label, number, len(groups) > _LABELLED)
            _finish(ax, name, axis, log)


def curve_of(runs: Iterable[Run], name: str, axis: Axis) -> Curve | None:
    """Return the mean of a series over runs, as far as the shortest comes; None where none has it."""
    return mean_curve([pair for run in runs if (pair := series_of(run, name, axis)) is not None])


def mean_curve(pairs: Sequence[tuple[Values, Values]]) -> Curve | None:
    """Return the mean of curves (x, y), as far as the shortest comes; None of none."""
    length = min((x.size for x, _ in pairs), default=0)
    if not length:
        return None
    y = np.stack([values[:length] for _, values in pairs])
    x = np.stack([along[:length] for along, _ in pairs]).mean(axis=0)
    with np.errstate(invalid="ignore"):
        return Curve(x, y.mean(axis=0), y.min(axis=0), y.max(axis=0), len(pairs))


def names_of(what: str) -> dict[str, str]:
    """Series that a panel shows, and their lines."""
    if what in ("loss", "accuracy"):
        return {f"test_{what}": "-", f"train_{what}": "--", f"test_{what}_average": ":"}
    return {what: "-"}


def series_of(run: Run, name: str, axis: Axis) -> tuple[Values, Values] | None:
    """Return where along the axis a series was measured, and what; None where it never was."""
    for series, scale in ((run.epochs, "epoch"), (run.steps, "step")):
        if name in series and axis in series:
            x, y = series[axis], series[name]
            if scale == "step" and axis == "seconds":
                x = np.nancumsum(x)
            measured = ~np.isnan(y)
            return x[measured], y[measured]
    return None


def _spectra_of(group: Group, spectra: Mapping[Path, Values]) -> list[tuple[Values, Values]]:
    """Return the eigenvalues of a group's runs over their numbers, counted from 1."""
    found = [spectra[run.folder] for run in group.runs if run.folder in spectra]
    return [(np.arange(1.0, values.size + 1), values) for values in found]


def _draw_curve(ax: "Axes", curve: Curve, line: str, label: str, number: int, crowded: bool) -> None:
    colour = COLOURS[number % len(COLOURS)]
    if crowded:
        if line == "-":
            ax.plot(curve.x, curve.mean, line, color=COLOURS[0], alpha=0.4, linewidth=1.4)
        return
    ax.plot(
        curve.x,
        curve.mean,
        line,
        color=colour,
        marker=None if line == "--" else MARKERS[number % len(MARKERS)],
        markerfacecolor="none" if line == ":" else colour,
        markevery=max(1, curve.x.size // 12),
        markersize=4,
        linewidth=1.4,
        label=label if line == "-" else None,
    )
    if curve.runs > 1:
        ax.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)


def _finish(ax: "Axes", what: str, axis: Axis, log: Scale) -> None:
    along = "seconds of training" if axis == "seconds" else axis
    ax.set_xlabel("number of the eigenvalue" if what == SPECTRUM else along)
    ax.set_ylabel("eigenvalue of the tangent kernel" if what == SPECTRUM else what.replace("_", " "))
    ax.grid(alpha=0.25)
    values = np.concatenate([line.get_ydata() for line in ax.lines]) if ax.lines else np.zeros(0)
    finite = values[np.isfinite(values)]
    is_log = any(word in what for word in _ON_LOG) if log == "auto" else "y" in log
    if is_log and finite.size and (finite.min() > 0 or what == SPECTRUM):
        ax.set_yscale("log")
    if log in ("x", "xy"):
        ax.set_xscale("log")
    if what.endswith("accuracy") and not is_log:
        _leave_out_the_start(ax)


def _leave_out_the_start(ax: "Axes") -> None:
    """Let an accuracy's axis begin below what training came to: chance, at step 0, would squeeze it."""
    curves = [np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.lines]
    values = np.concatenate([np.zeros(0), *(curve[1:] for curve in curves if curve.size > 2)])
    values = values[np.isfinite(values)]
    if values.size and values.max() > values.min():
        ax.set_ylim(values.min() - 0.05 * np.ptp(values), values.max() + 0.05 * np.ptp(values))


def _legend_in_words(runs: Sequence[Run], panels: Sequence[str], groups: Sequence[Group]) -> str:
    words = []
    if {"loss", "accuracy"} & set(panels):
        words.append("test solid, training dashed")
        if _has(runs, "test_loss_average"):
            words.append("test of averaged weights dotted")
    if any(len(group.runs) > 1 for group in groups):
        words.append("mean over seeds, band from lowest to highest")
    if len(groups) > _LABELLED:
        words = [f"test of {len(groups)} kinds of runs"]
    return ", ".join(words)


def _has(runs: Sequence[Run], name: str) -> bool:
    return any(name in run.epochs for run in runs)


def _check_series(name: str, runs: Sequence[Run]) -> None:
    known = {"loss", "accuracy", SPECTRUM, *(series.name for series in (*EPOCH_SERIES, *STEP_SERIES))}
    if name not in known and not any(cadence.find(name) for cadence in CADENCES):
        from difflib import get_close_matches

        near = get_close_matches(name, sorted(known), 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
        raise UsageError(f"what: no series {name!r}; {hint}")
    if not any(each in (*run.epochs, *run.steps) for run in runs for each in names_of(name)):
        if all(run.epochs["epoch"].size == 0 for run in runs):
            return  # nothing was measured yet: an empty panel
        raise UsageError(f"what: {name!r} was not measured in {'this run' if len(runs) == 1 else 'any run'}")
