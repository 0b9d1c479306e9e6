"""Evaluate the weights of a run, on its own data or on other data."""

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
        Data settings. Settings that are not given are those of the run where the files are of one kind.
        Inputs (and targets, if the run's were) are normalized by the training set of the run; classes are
        matched by name.
    best : bool
        Evaluate the checkpoint with the best score of the same weights.
    weights : {"raw", "average"}
    problem : Problem or None
        The problem of a run that was started with one.

    Returns
    -------
    dict
        Run, step, weights and data; rows, loss and accuracy of each part of the data, and of all rows:
        `all_loss` and so on.

    Raises
    ------
    UsageError
        If the other data have another number of features or a class that the network does not have, or if
        there are no averaged weights.

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
        raise UsageError(f"{folder}: has no averaged weights; it was trained without training.average")
    own = problem.dataset
    other = _other_data(run, own, data) if data else own
    step, params = weights_of(run, problem, "best" if best else "last", weights)
    normalization = {name: getattr(own, name) for name in ("shift", "scale", "target_shift", "target_scale")}
    problem = replace(problem, dataset=replace(other, **normalization))
    about = {"run": str(folder), "step": step, "weights": weights, "data": other.name}
    return about | _figures(problem, params)


def matched_classes(other: Dataset, own: Dataset) -> Dataset:
    """Return `other` with its one-hot columns in the order of the classes of `own`.

    Another task, a class that `own` lacks, or another number of targets raises `UsageError`.
    """
    if other.task != own.task:
        raise UsageError(f"{other.name}: is a {other.task}, the run a {own.task}")
    if own.task == "regression":
        if len(other.classes) != len(own.classes):
            raise UsageError(f"{other.name}: has {len(other.classes)} targets, the run {len(own.classes)}")
        return other
    if unknown := [name for name in other.classes if name not in own.classes]:
        raise UsageError(
            f"{other.name}: has class {unknown[0]!r}, which the run does not know; "
            f"it knows {', '.join(own.classes)}"
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
    """Load the data that `data` describes, with the classes of the run's own."""
    ours = run.config["data"]
    same_kind = Path(data.get("name", ours["name"])).suffix == Path(ours["name"]).suffix
    inherited = ours if same_kind else {"folder": ours.get("folder")}
    if "name" in data:
        inherited = inherited | {"subset": None, "subset_seed": None}
    other = matched_classes(load_data(build_config({"data": inherited | data})), own)
    have, want = other.test.inputs.shape[1], own.train.inputs.shape[1]
    if have != want:
        raise UsageError(f"{other.name}: has {have} features where the network has {want}")
    return other


def _figures(problem: Problem, params: ChainParams) -> dict[str, float]:
    """Return rows, loss and accuracy of each part of the data, and of all rows."""
    dataset = problem.dataset
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    found = {
        name: np.array([len(part.inputs), *evaluate_part(problem, params, part)], dtype=np.float64)
        for name, part in parts.items()
        if part is not None
    }
    rows, *means = np.transpose([*found.values()])
    found["all"] = np.array([rows.sum(), *(rows @ mean / rows.sum() for mean in means)])
    figures: dict[str, float] = {}
    for name, (count, loss, hit) in found.items():
        figures |= {f"{name}_rows": int(count), f"{name}_loss": float(loss)}
        if dataset.task == "classification":
            figures[f"{name}_accuracy"] = float(hit)
    return figures
