"""Plots of runs over epochs, steps, samples or wall-clock time.

A curve is labelled with the settings in which its run differs from the others. Runs that differ only in their
seed form one curve, their mean, with a band from the lowest to the highest value.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from revgn.errors import UsageError, nearest
from revgn.store.names import CADENCES, EPOCH_SERIES, STEP_SERIES
from revgn.store.reader import Run
from revgn.views.canvas import COLOURS, MARKERS, Scale, canvas
from revgn.views.groups import Group, group_runs, single_runs
from revgn.views.ticks import set_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Axis = Literal["epoch", "step", "seconds", "samples"]
Values = NDArray[np.float64]

_LABELLED = 24  # largest number of groups with a legend; more are drawn in one colour, without a legend
SPECTRUM = "spectrum"
AXIS_LABELS: dict[Axis, str] = {
    "epoch": "epoch",
    "step": "training step",
    "seconds": "wall-clock training time (s)",
    "samples": "training samples processed",
}
_QUANTITY_LABELS = {
    SPECTRUM: "eigenvalue of the tangent kernel",
    "lr": "learning rate",
    "rho": "relative residual rho",
    "rho_outputs": "relative residual rho, all outputs",
    "residual": "relative residual of the linear solve",
    "step_norm": "norm of the parameter change",
    "s_max": "largest singular value",
    "s_min": "smallest singular value",
    "cg_iterations": "CG iterations",
    "loss_decrease": "loss decrease, same batch",
    "loss_decrease_other": "loss decrease, second training batch",
    "loss_decrease_test": "loss decrease, test set",
    "seconds": "wall-clock time (s)",
    "seconds_outside": "wall-clock time outside of steps (s)",
    "memory": "memory (bytes)",
}
_ON_LOG = (SPECTRUM, "loss", "rho", "residual", "norm", "damping", "s_max", "s_min", "error")


class Curve(NamedTuple):
    """Mean, lowest and highest value over `runs` runs, at the positions `x` along an axis."""

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
    """Draw one panel for each quantity in `what`.

    Solid lines show the test set, dashed lines the training set, and dotted lines the test set with averaged
    weights. Runs that differ only in their seed form one curve, their mean, with a band from the lowest to
    the highest value.

    Parameters
    ----------
    path : Path
        File to write; its name ends in .png, .pdf or .svg. Text remains text in PDF and SVG files.
    axis : {"epoch", "step", "seconds", "samples"}
        Horizontal axis: epochs, training steps, wall-clock training time, or training samples processed.
    what : sequence of str
        "loss", "accuracy", or any series of steps or epochs, such as "rho". Default: loss, and accuracy if it
        was measured. "spectrum" draws the eigenvalues given as `spectra`.
    log : {"auto", "none", "x", "y", "xy"}
        Logarithmic axes. "auto" makes the vertical axis logarithmic for positive losses, norms, residuals and
        similar quantities.
    each : bool
        Draw each run as a curve of its own, also where runs differ only in their seed.
    groups : sequence of Group
        The curves and their labels; by default they follow from the settings that differ.
    spectra : mapping of Path to (n,) float64, optional
        Eigenvalues by run folder, the largest first, such as those from `revgn.launch.run_spectrum`.

    Raises
    ------
    UsageError
        If the file name has another ending, a series is unknown, or "spectrum" is given without `spectra`.
    """
    panels = tuple(what) or ("loss", *(["accuracy"] if _has(runs, "test_accuracy") else []))
    for name in panels:
        if name != SPECTRUM:
            _check_series(name, runs)
        elif not spectra:
            raise UsageError(
                "what: drawing a spectrum requires the eigenvalues of the runs; pass them as spectra"
            )
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
    """Return the mean of a series over runs, up to the end of the shortest; None if no run has the series."""
    return mean_curve([pair for run in runs if (pair := measured_series(run, name, axis)) is not None])


def mean_curve(pairs: Sequence[tuple[Values, Values]]) -> Curve | None:
    """Return the mean of curves (x, y), up to the end of the shortest; None if there are no curves."""
    length = min((x.size for x, _ in pairs), default=0)
    if not length:
        return None
    y = np.stack([values[:length] for _, values in pairs])
    x = np.stack([along[:length] for along, _ in pairs]).mean(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        return Curve(x, y.mean(axis=0), y.min(axis=0), y.max(axis=0), len(pairs))


def names_of(what: str) -> dict[str, str]:
    """Map each series that a panel shows to its line style."""
    if what in ("loss", "accuracy"):
        return {f"test_{what}": "-", f"train_{what}": "--", f"test_{what}_average": ":"}
    return {what: "-"}


def quantity_label(what: str) -> str:
    """Return the axis label of a quantity, with its unit."""
    if what in _QUANTITY_LABELS:
        return _QUANTITY_LABELS[what]
    if what.startswith("seconds_"):
        return f"{what.removeprefix('seconds_')} time (s)"
    return what.replace("_", " ")


def measured_series(run: Run, name: str, axis: Axis) -> tuple[Values, Values] | None:
    """Return the positions along the axis and the measured values of a series; None if the run lacks it."""
    for series, scale in ((run.epochs, "epoch"), (run.steps, "step")):
        if name in series and axis in series:
            x, y = series[axis], series[name]
            if scale == "step" and axis == "seconds":
                x = np.nancumsum(x)
            measured = ~np.isnan(y)
            return x[measured], y[measured]
    return None


def _spectra_of(group: Group, spectra: Mapping[Path, Values]) -> list[tuple[Values, Values]]:
    """Return the eigenvalues of each run in a group against their index, which starts at 1."""
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
    ax.set_xlabel("eigenvalue index" if what == SPECTRUM else AXIS_LABELS[axis])
    ax.set_ylabel(quantity_label(what))
    ax.grid(alpha=0.25)
    values = np.concatenate([line.get_ydata() for line in ax.lines]) if ax.lines else np.zeros(0)
    finite = values[np.isfinite(values)]
    is_log = any(word in what for word in _ON_LOG) if log == "auto" else "y" in log
    if is_log and finite.size and (finite.min() > 0 or what == SPECTRUM):
        set_log_scale(ax, "y")
    if log in ("x", "xy"):
        set_log_scale(ax, "x")
    if what.endswith("accuracy") and not is_log:
        _leave_out_initialization(ax)


def _leave_out_initialization(ax: "Axes") -> None:
    """Fit the accuracy axis to the values after step 0, where chance accuracy would compress the rest."""
    curves = [np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.lines]
    values = np.concatenate([np.zeros(0), *(curve[1:] for curve in curves if curve.size > 2)])
    values = values[np.isfinite(values)]
    if values.size and values.max() > values.min():
        ax.set_ylim(values.min() - 0.05 * np.ptp(values), values.max() + 0.05 * np.ptp(values))


def _legend_in_words(runs: Sequence[Run], panels: Sequence[str], groups: Sequence[Group]) -> str:
    of_sets = [name for name in panels if name in ("loss", "accuracy")]
    is_mean = any(len(group.runs) > 1 for group in groups)
    if len(groups) > _LABELLED:
        of = "" if len(of_sets) == len(panels) else f"{' and '.join(of_sets)}: "
        words = [f"{of}test set"] * bool(of_sets) + [f"{len(groups)} different settings"]
        return ", ".join(words + ["curves: mean over seeds"] * is_mean)
    words = []
    if of_sets:
        words.append("solid: test set, dashed: training set")
        if _has(runs, "test_loss_average"):
            words.append("dotted: test set with averaged weights")
    if is_mean:
        words.append("curves: mean over seeds, bands: lowest to highest value")
    return ", ".join(words)


def _has(runs: Sequence[Run], name: str) -> bool:
    return any(name in run.epochs for run in runs)


def _check_series(name: str, runs: Sequence[Run]) -> None:
    known = {"loss", "accuracy", SPECTRUM, *(series.name for series in (*EPOCH_SERIES, *STEP_SERIES))}
    if name not in known and not any(cadence.find(name) for cadence in CADENCES):
        hint = nearest(name, sorted(known), f"available are {', '.join(sorted(known))}")
        raise UsageError(f"what: there is no series {name!r}; {hint}")
    if not any(each in (*run.epochs, *run.steps) for run in runs for each in names_of(name)):
        if all(run.epochs["epoch"].size == 0 for run in runs):
            return  # nothing was measured yet, and the panel stays empty
        raise UsageError(f"what: {name!r} was not measured in {'this run' if len(runs) == 1 else 'any run'}")
