"""Scores of a network on a set: loss, accuracy, confusion of classes, errors in the unit of the targets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from revgn.arrays import fetch, to_host
from revgn.data import Part, place_part
from revgn.data.dataset import HostArray
from revgn.losses import accuracy, value
from revgn.networks import ChainParams
from revgn.training import Model, outputs_in_pieces, r2_of, regression_scores


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Sums over the rows of a set; the sums of several sets can be added.

    `confusion[i, j]` is the number of rows of class i that are classified as class j; None for a regression.
    `squares` are the sums of squared errors of each target, in the scale in which the network is
    fitted; None for classes.
    """

    rows: int
    loss: float
    hits: float
    confusion: HostArray | None  # (c, c) int64
    squares: HostArray | None  # (c,) float64
    targets: HostArray  # (n, c) raw


def score_part(model: Model, params: ChainParams, part: Part) -> Scores:
    """Return the scores of a network on one set of rows.

    Notes
    -----
    Law: loss and accuracy equal the records of training for the same rows and weights, bit by bit.
    """
    placed = place_part(model.interface, part, model.backend, model.dtype, is_resident=False)
    c = part.targets.shape[1]
    is_regression = model.interface.task == "regression"
    loss, hits, confusion, squares = 0.0, 0.0, np.zeros((c, c), np.int64), np.zeros(c)
    for z, t in outputs_in_pieces(model.network, params, placed):
        n = z.shape[0]
        mean_loss, mean_hits = fetch([value(model.loss, z, t), accuracy(z, t)])
        loss, hits = loss + mean_loss * n, hits + mean_hits * n
        outputs, targets = (np.asarray(to_host(array), dtype=np.float64) for array in (z, t))
        if is_regression:
            squares += np.square(outputs - targets).sum(axis=0)
        else:
            np.add.at(confusion, (targets.argmax(axis=1), outputs.argmax(axis=1)), 1)
    counts, errors = (None, squares) if is_regression else (confusion, None)
    return Scores(part.inputs.shape[0], loss, hits, counts, errors, part.targets)


def scores_together(scores: Iterable[Scores]) -> Scores:
    """Return the scores over all rows of several sets."""
    found = [*scores]

    def summed(name: str) -> Any:
        return None if getattr(found[0], name) is None else sum(getattr(each, name) for each in found)

    sums = {name: summed(name) for name in ("rows", "loss", "hits", "confusion", "squares")}
    return Scores(**sums, targets=np.concatenate([each.targets for each in found]))


def metrics_of_scores(scores: Scores, model: Model) -> dict[str, Any]:
    """Return the metrics of a set by name.

    - `rows`, `loss`: for all tasks.
    - `accuracy`, `class_accuracy` (by class; None for a class without rows), `confusion` (the number of rows
      of each class, in the order of the classes, that are classified as each class): for a classification.
    - `rmse`, `r2`, and `targets` with `rmse` and `r2` of each target: for a regression, in the unit of the
      targets.
    """
    interface = model.interface
    found: dict[str, Any] = {"rows": scores.rows, "loss": scores.loss / scores.rows}
    if scores.confusion is not None:
        counts, hits = scores.confusion.sum(axis=1), scores.confusion.diagonal()
        by_class = zip(interface.classes, hits, counts, strict=True)
        return found | {
            "accuracy": scores.hits / scores.rows,
            "class_accuracy": {name: float(hit / n) if n else None for name, hit, n in by_class},
            "confusion": scores.confusion.tolist(),
        }
    assert scores.squares is not None
    squares = scores.squares / scores.rows
    found |= regression_scores(squares, scores.targets, interface)
    own = squares if interface.target_scale is None else squares / interface.target_scale**2
    by_target = zip(interface.classes, np.sqrt(own), r2_of(own, scores.targets), strict=True)
    found["targets"] = {
        name: {"rmse": float(rmse)} | ({} if np.isnan(r2) else {"r2": float(r2)})
        for name, rmse, r2 in by_target
    }
    return found
