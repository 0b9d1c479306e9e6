"""Evaluation of the weights of a run on its own data or on other data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from revgn.data import Dataset, Part
from revgn.errors import UsageError
from revgn.launch.problem import problem_of
from revgn.launch.rebuild import weights_of
from revgn.networks import ChainParams
from revgn.settings import build_config
from revgn.store import Run, Weights, open_run
from revgn.store.names import judged_name
from revgn.training import Problem, evaluate_part, load_data


def evaluate_run(
    folder: Path | str,
    data: dict[str, Any] | None = None,
    *,
    best: bool = False,
    weights: Weights = "raw",
    problem: Problem | None = None,
) -> dict[str, Any]:
    """Evaluate the newest checkpoint of a run on its own data, or on the data that `data` describes.

    Parameters
    ----------
    data : dict
        Data settings. Settings that are not given are taken from the run if the files have the same type.
        Inputs are normalized with the training set of the run, and so are targets if the run normalized
        them. Classes are matched by name.
    best : bool
        Evaluate the checkpoint with the best score, instead of the newest one.
    weights : {"raw", "average"}
        Evaluate the weights themselves or their running average.
    problem : Problem or None
        The problem of a run that was started with a `Problem`.

    Returns
    -------
    dict
        The keys `run`, `step`, `weights` and `data`; the number of rows, the loss and the accuracy of each of
        the training, validation and test sets, such as `test_loss`; and the same for all rows together, such
        as `all_loss`. With `best`, `selected_by` is the metric that selected the checkpoint. If it is a
        metric of the test set, the test metrics are optimistic.

    Raises
    ------
    UsageError
        If the number of features differs, a class is unknown to the network, or there are no averaged
        weights.

    Examples
    --------
    >>> import revgn
    >>> found = revgn.evaluate_run("runs/first", best=True)
    >>> found["test_rows"]
    360
    """
    folder = Path(folder)
    run = open_run(folder)
    problem = problem_of(run, problem, optimizer=False)
    if weights == "average" and problem.average is None:
        raise UsageError(f"{folder}: has no averaged weights, since it was trained without training.average")
    own = problem.dataset
    other = _other_data(run, own, data) if data else own
    step, params = weights_of(run, problem, "best" if best else "last", weights)
    normalization = {name: getattr(own, name) for name in ("shift", "scale", "target_shift", "target_scale")}
    problem = replace(problem, dataset=replace(other, **normalization))
    about = {"run": str(folder), "step": step, "weights": weights, "data": other.name}
    about |= {"selected_by": judged_name(run.epochs, weights)} if best else {}
    return about | _metrics(problem, params)


def matched_classes(other: Dataset, own: Dataset) -> Dataset:
    """Return `other` with its one-hot columns in the order of the classes of `own`.

    A different task, a class that is not in `own`, or a different number of targets raises `UsageError`.
    """
    if other.task != own.task:
        raise UsageError(f"{other.name}: is a {other.task} data set, but the run is a {own.task}")
    if own.task == "regression":
        if len(other.classes) != len(own.classes):
            raise UsageError(
                f"{other.name}: has {len(other.classes)} targets, but the run has {len(own.classes)}"
            )
        return other
    if unknown := [name for name in other.classes if name not in own.classes]:
        raise UsageError(
            f"{other.name}: has class {unknown[0]!r}, which is not a class of the run; "
            f"expected {', '.join(own.classes)}"
        )
    columns = [own.classes.index(name) for name in other.classes]

    def spread(part: Part) -> Part:
        targets = np.zeros((part.targets.shape[0], len(own.classes)))
        targets[:, columns] = part.targets
        return Part(part.inputs, targets)

    return replace(
        other,
        train=spread(other.train),
        validation=other.validation and spread(other.validation),
        test=spread(other.test),
        classes=own.classes,
    )


def _other_data(run: Run, own: Dataset, data: dict[str, Any]) -> Dataset:
    """Load the data that `data` describes, with classes matched to the data of the run."""
    ours = run.config["data"]
    same_kind = Path(data.get("name", ours["name"])).suffix == Path(ours["name"]).suffix
    inherited = ours if same_kind else {"folder": ours.get("folder")}
    if "name" in data:
        inherited = inherited | {"subset": None, "subset_seed": None}
    other = matched_classes(load_data(build_config({"data": inherited | data})), own)
    have, want = other.test.inputs.shape[1], own.train.inputs.shape[1]
    if have != want:
        raise UsageError(f"{other.name}: has {have} features, but the network has {want} inputs")
    return other


def _metrics(problem: Problem, params: ChainParams) -> dict[str, float]:
    """Return the number of rows, the loss and the accuracy of each set, and of all rows together."""
    dataset = problem.dataset
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    found = {
        name: np.array([len(part.inputs), *evaluate_part(problem, params, part)], dtype=np.float64)
        for name, part in parts.items()
        if part is not None
    }
    rows, *means = np.transpose([*found.values()])
    found["all"] = np.array([rows.sum(), *(rows @ mean / rows.sum() for mean in means)])
    metrics: dict[str, float] = {}
    for name, (count, loss, hit) in found.items():
        metrics |= {f"{name}_rows": int(count), f"{name}_loss": float(loss)}
        if dataset.task == "classification":
            metrics[f"{name}_accuracy"] = float(hit)
    return metrics
