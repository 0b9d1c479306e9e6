"""Comparison of runs: the settings in which they differ, and their metrics averaged over seeds."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from revgn.store.names import is_validated, judged_name, judged_weights, of_weights, score_of
from revgn.store.reader import Run, status
from revgn.views.groups import Group, group_runs
from revgn.views.summary import selected_index

_MEASURES = ("accuracy", "loss", "rmse", "r2")
_SELECTED = (*(f"{part}_{name}" for part in ("validation", "test") for name in _MEASURES), "train_loss")
_AT_SELECTED = {name: name for name in _SELECTED} | {"best_epoch": "epoch"}  # see `selected_index`
_AT_LAST = {  # metrics of the last evaluation, and the series from which each is taken
    **{f"last_test_{name}": f"test_{name}" for name in _MEASURES},
    "last_train_loss": "train_loss",
    "epochs": "epoch",
    "seconds": "seconds",
}
METRICS = (*_AT_SELECTED, *_AT_LAST, "rho")  # rho: median over the steps
_ONLY_VALIDATED = (*(f"last_test_{name}" for name in _MEASURES), "last_train_loss")
_LABELS = {"seconds": "training time (s)", "rho": "median rho"}
_WORDS = {"train": "training", "rmse": "RMSE", "r2": "R^2"}

SELECTED_BY_TEST = ": the best test metrics are optimistic; --validation 0.1 holds out validation rows"


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean of a metric over runs, its sample standard deviation (NaN for a single run), and the run count."""

    mean: float
    std: float
    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """Runs that differ only in their seed, as one row of a comparison.

    `label` names them by the settings that differ between the rows, by their seeds, or by the folder of a
    single run. `settings` maps the dotted paths of these settings to their values; settings that these runs
    do not use are left out. `metrics` holds the measured metrics under the names in `METRICS`. The rows are
    ordered by `score`, where higher is better. It is a value of the metric `judged`.
    """

    label: str
    settings: dict[str, Any]
    runs: tuple[str, ...]
    statuses: dict[str, int]
    metrics: dict[str, Spread]
    score: float
    judged: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of a comparison, the best first; `judged` names the metric that orders most of them."""

    rows: tuple[Row, ...]
    judged: str


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Group runs that differ only in their seed; return mean and standard deviation of their metrics.

    A run is represented by its best evaluation, which has the highest validation accuracy, or the lowest
    validation loss if there is no accuracy. A run without a validation set is represented by its last
    evaluation. For a run that averages its weights, all metrics are measured with the averaged weights.
    """
    rows = [row_of(group) for group in group_runs(runs)]
    judged = Counter(row.judged for row in rows if row.judged for _ in row.runs)
    best_first = tuple(sorted(rows, key=lambda row: row.score, reverse=True))
    return Comparison(best_first, judged.most_common(1)[0][0] if judged else "")


def row_of(group: Group) -> Row:
    """Return the metrics of a group of runs, averaged over seeds."""
    found = [metrics_of(run) for run in group.runs]
    names = [name for name in METRICS if any(name in each for each in found)]
    metrics = {name: spread_of([each[name] for each in found if name in each]) for name in names}
    scores = [score for run in group.runs if (score := _score(run)) is not None]
    judged = Counter(name for run in group.runs if (name := _judged(run)))
    return Row(
        group.label,
        group.settings,
        tuple(str(run.folder) for run in group.runs),
        dict(Counter(status(run) for run in group.runs)),
        metrics,
        statistics.fmean(scores) if scores else -math.inf,
        judged.most_common(1)[0][0] if judged else "",
    )


def order_in_words(compared: Comparison) -> str:
    """Return a sentence on the order of the rows, and on the evaluation from which the metrics are taken."""
    judged = list(dict.fromkeys(row.judged for row in compared.rows if row.judged))
    if not judged:
        return "not ranked: no run has been evaluated"
    validated = [name for name in judged if _is_validation(name)]
    best = "each run's best evaluation on its validation set"
    which = {0: "each run's last evaluation", len(judged): best}.get(
        len(validated), f"{best}, or from its last one if it has none"
    )
    return f"best first, by {' or '.join(map(judged_label, judged))}; metrics are from {which}"


def selection_warning(compared: Comparison) -> str:
    """Return a warning if the test set orders the rows, or if different metrics do; "" otherwise."""
    judged = {row.judged for row in compared.rows if row.judged}
    if len(compared.rows) < 2 or not judged:
        return ""
    if len(judged) > 1:
        return f"the rows are ranked by different metrics: {', '.join(sorted(map(judged_label, judged)))}"
    if _is_validation(*judged):
        return ""
    return f"there are no validation rows, and the test set orders the runs{SELECTED_BY_TEST}"


def shown_metrics(rows: Sequence[Row]) -> list[str]:
    """Return the names of the measured metrics.

    If no run has a validation set, metrics of the last evaluation that repeat another metric are left out.
    """
    names = [name for name in METRICS if any(name in row.metrics for row in rows)]
    is_any = any(_is_validation(row.judged) for row in rows)
    return [name for name in names if is_any or name not in _ONLY_VALIDATED]


def _is_validation(name: str) -> bool:
    return name.startswith("validation")


def judged_label(name: str) -> str:
    """Return the displayed name of a metric that ranks runs; it says if the weights are averaged."""
    what = name.removesuffix("_average")
    return metric_label(what) + (" of the averaged weights" if what != name else "")


def metric_label(name: str) -> str:
    """Return the name of a metric as it is displayed: "training loss", "test RMSE", "test R^2".

    An RMSE has the unit of its target.
    """
    return _LABELS.get(name) or " ".join(_WORDS.get(word, word) for word in name.split("_"))


def metric_form(name: str) -> tuple[float, str, str]:
    """Return how a metric is displayed: the factor applied to it, its number format and its unit."""
    return (100.0, ".2f", " %") if name.endswith("accuracy") else (1.0, ".4g", "")


def metric_text(name: str, value: float) -> str:
    """Return a value of a metric as text: "0.02365", "97.50%"."""
    scale, form, unit = metric_form(name)
    return f"{value * scale:{form}}{unit.strip()}"


def spread_in_words(name: str, spread: Spread | None) -> str:
    """Format the mean and standard deviation of a metric as text; "" if it was not measured."""
    if spread is None:
        return ""
    scale, form, unit = metric_form(name)
    shown = f"{spread.mean * scale:{form}}"
    if spread.count > 1 and spread.std != 0:
        shown += f" ± {spread.std * scale:{'.2f' if unit else '.2g'}}"
    return f"{shown}{unit}"


def metrics_of(run: Run) -> dict[str, float]:
    """Return the metrics of a run that were measured, under the names in `METRICS`."""
    epochs, found = run.epochs, {}
    if epochs["epoch"].size:
        weights = judged_weights(epochs)
        for metrics, row in ((_AT_SELECTED, selected_index(run, weights)), (_AT_LAST, -1)):
            for name, series in metrics.items():
                judged = series if series in ("epoch", "seconds") else of_weights(series, weights)
                if judged in epochs:
                    found[name] = float(epochs[judged][row])
        if not is_validated(epochs):
            del found["best_epoch"]  # nothing selects the last evaluation
    if "rho" in run.steps:
        found["rho"] = float(np.nanmedian(run.steps["rho"]))
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _judged(run: Run) -> str:
    """Return the name of the series that selects the best evaluation of a run."""
    return judged_name(run.epochs, judged_weights(run.epochs))


def _score(run: Run) -> float | None:
    """Return the score of the evaluation that represents a run; None if it was not measured."""
    weights = judged_weights(run.epochs)
    judged = score_of(run.epochs, weights)
    if judged is None or not judged[0].size:
        return None
    score = float((judged[0] * judged[1])[selected_index(run, weights)])
    return None if math.isnan(score) else score


def spread_of(values: list[float]) -> Spread:
    """Return the mean and standard deviation of a metric over runs; NaN if there are no values."""
    if not values:
        return Spread(math.nan, math.nan, 0)
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < len(values):
        return Spread(math.inf, math.nan, len(values))
    std = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(statistics.fmean(values), std, len(values))
