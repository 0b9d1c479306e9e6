"""Runs side by side: the settings in which they differ, and what came out, over seeds."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from revgn.store.names import judged_weights, of_weights, score_of
from revgn.store.reader import Run, status
from revgn.views.groups import Group, group_runs
from revgn.views.summary import best_index

_AT_BEST = {  # figures of the best evaluation, and the series that they are of
    **{name: name for name in ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")},
    "best_epoch": "epoch",
}
_AT_LAST = {  # figures of the last evaluation
    "last_test_accuracy": "test_accuracy",
    "last_test_loss": "test_loss",
    "train_loss": "train_loss",
    "epochs": "epoch",
    "seconds": "seconds",
}
FIGURES = (*_AT_BEST, *_AT_LAST, "rho")  # rho: median over the steps


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean of a figure over runs, and its standard deviation (of the sample; NaN of a single one)."""

    mean: float
    deviation: float
    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """Runs that differ in their seed alone.

    `settings` are by dotted path those that differ between rows, of those in use; `figures` by the names of
    `FIGURES`, as far as they were measured; `score` is what the rows are ordered by, more is better.
    """

    settings: dict[str, Any]
    runs: tuple[str, ...]
    statuses: dict[str, int]
    figures: dict[str, Spread]
    score: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows, the best first; `judged` is the figure by which an evaluation is the best of a run, and a row."""

    rows: tuple[Row, ...]
    judged: str


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Group runs that differ in their seed alone, and give the mean and deviation of what came out.

    The best evaluation of a run is that of the highest validation accuracy (else lowest loss), and its test
    figures are given; without a validation part it is the best on the test part itself, which flatters. The
    figures of a run that averages its weights are those of the averaged ones.
    """
    rows = [row_of(group) for group in group_runs(runs)]
    judged = Counter(name for run in runs if (name := _judged(run)))
    best_first = tuple(sorted(rows, key=lambda row: row.score, reverse=True))
    return Comparison(best_first, judged.most_common(1)[0][0] if judged else "")


def row_of(group: Group) -> Row:
    """Return what came out of a group's runs, over seeds."""
    found = [figures_of(run) for run in group.runs]
    names = [name for name in FIGURES if any(name in each for each in found)]
    figures = {name: spread_of([each[name] for each in found if name in each]) for name in names}
    scores = [score for run in group.runs if (score := _score(run)) is not None]
    return Row(
        group.settings,
        tuple(str(run.folder) for run in group.runs),
        dict(Counter(status(run) for run in group.runs)),
        figures,
        statistics.fmean(scores) if scores else -math.inf,
    )


def figure_form(name: str) -> tuple[float, str, str]:
    """Return how a figure is shown: what it is multiplied by, its format, its unit."""
    return (100.0, ".2f", " %") if name.endswith("accuracy") else (1.0, ".4g", "")


def spread_in_words(name: str, spread: Spread | None) -> str:
    """Return mean and deviation of a figure as they are shown; "" without any."""
    if spread is None:
        return ""
    scale, form, unit = figure_form(name)
    shown = f"{spread.mean * scale:{form}}"
    if spread.count > 1 and spread.deviation != 0:
        shown += f" ± {spread.deviation * scale:{'.2f' if unit else '.2g'}}"
    return f"{shown}{unit}"


def figures_of(run: Run) -> dict[str, float]:
    """Return what came out of a run, by the names of `FIGURES`."""
    epochs, found = run.epochs, {}
    if epochs["epoch"].size:
        weights = judged_weights(epochs)
        for figures, row in ((_AT_BEST, best_index(run, weights)), (_AT_LAST, -1)):
            for name, series in figures.items():
                judged = series if series in ("epoch", "seconds") else of_weights(series, weights)
                if judged in epochs:
                    found[name] = float(epochs[judged][row])
    if "rho" in run.steps:
        found["rho"] = float(np.nanmedian(run.steps["rho"]))
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _judged(run: Run) -> str:
    """Return the name of the series that a run is judged by."""
    judged = score_of({name: name for name in run.epochs}, judged_weights(run.epochs))
    return judged[0] if judged else ""


def _score(run: Run) -> float | None:
    judged = score_of(run.epochs, judged_weights(run.epochs))
    if judged is None or np.all(np.isnan(judged[0])):
        return None
    return float(np.nanmax(judged[0] * judged[1]))


def spread_of(values: list[float]) -> Spread:
    """Return mean and deviation of a figure over runs; of none, NaN."""
    if not values:
        return Spread(math.nan, math.nan, 0)
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < len(values):
        return Spread(math.inf, math.nan, len(values))
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(statistics.fmean(values), deviation, len(values))
