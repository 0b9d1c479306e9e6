"""Evaluation of the weights of a run on its own data or on other data."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from revgn.arrays import BackendName
from revgn.data import Dataset, Interface, Part
from revgn.data.cells import column_positions
from revgn.data.kinds import kind_of_file
from revgn.data.labels import matched_label
from revgn.errors import DataError, UsageError
from revgn.launch.problem import model_of_run, problem_of
from revgn.launch.rebuild import Step, weights_of
from revgn.launch.scores import metrics_of_scores, score_part, scores_together
from revgn.settings import build_config
from revgn.store import Run, Weights, as_run
from revgn.store.names import judged_name
from revgn.training import Problem, load_data, model_of

PartName = Literal["train", "validation", "test"]


def evaluate_run(
    run: Run | Path | str,
    data: dict[str, Any] | None = None,
    *,
    checkpoint: Step = "last",
    weights: Weights = "raw",
    problem: Problem | None = None,
    parts: Sequence[PartName] = get_args(PartName),
    backend: BackendName | None = None,
) -> dict[str, Any]:
    """Evaluate a run on its own data, or on the data that `data` describes.

    Parameters
    ----------
    run : Run or path
        The run, or its folder.
    data : dict
        Data settings. Settings that are not given are taken from the run if the files are of the same kind.
        Inputs are normalized with the training set of the run, and so are targets if the run normalized
        them. Classes are matched by name, and so are input columns if both files have names. The data of the
        run itself are not needed.
    checkpoint : int or {"last", "best"}
        Step of the checkpoint; "last" is the newest checkpoint, "best" the one with the best score.
    weights : {"raw", "average"}
        Raw weights, or averaged weights.
    problem : Problem or None
        The problem of a run that was started with a `Problem`.
    parts : sequence of {"train", "validation", "test"}
        Sets that are evaluated. Default: all.
    backend : {"numpy", "cupy"} or None
        Array library. Default: the library of the run.

    Returns
    -------
    dict
        The keys `run`, `step`, `weights`, `data`, `task` and `classes` (for a regression the names of the
        targets); the metrics of each of these sets, such as `test_loss`; and the same for all their rows
        together, such as `all_loss`. Other data without a test set are not split; only the `all_` metrics are
        returned for them. The metrics are `rows` and `loss`; for classes `accuracy`, `class_accuracy` by
        class, and `confusion`, in which row i counts the samples of class i; for a regression `rmse` in the
        unit of the targets and `r2`, and `targets` with both for each target.
        With the best checkpoint, `selected_by` is the metric that selected it. If it is a metric of the test
        set, the test metrics are optimistic.

    Raises
    ------
    UsageError
        If the number of features differs, an input column is missing, a class is unknown to the network, the
        sets have no rows, or there are no averaged weights.
    DataError
        If the data are not found.

    Examples
    --------
    >>> import revgn
    >>> found = revgn.evaluate_run("runs/first", checkpoint="best")
    >>> found["test_rows"]
    360
    """
    run = as_run(run)
    if data:
        model = model_of_run(run, problem, backend)
        dataset = _other_data(run, model.interface, data)
    else:
        problem = problem_of(run, problem, optimizer=False, backend=backend)
        model, dataset = model_of(problem), problem.dataset
    if weights == "average" and model.config.training.average is None:
        reason = "it was trained without training.average"
        raise UsageError(f"{run.folder}: has no averaged weights, since {reason}")
    is_whole = dataset.is_split and dataset.checksum != run.attributes["data_sha256"]
    found = {part: getattr(dataset, part) for part in (get_args(PartName) if is_whole else parts)}
    rows: dict[str, Part] = {name: part for name, part in found.items() if part and part.inputs.shape[0]}
    if not rows:
        raise UsageError(f"{dataset.name}: has no {' or '.join(parts)} rows to evaluate; choose other parts")
    step, params = weights_of(run, model, checkpoint, weights)
    scores = {name: score_part(model, params, part) for name, part in rows.items()}
    together = scores_together(scores.values())
    scores = {"all": together} if is_whole else scores | {"all": together}
    interface = model.interface
    about = {"run": str(run.folder), "step": step, "weights": weights, "data": dataset.name}
    about |= {"task": interface.task, "classes": [*interface.classes]}
    about |= {"selected_by": judged_name(run.epochs, weights)} if checkpoint == "best" else {}
    for part, of_part in scores.items():
        about |= {f"{part}_{name}": metric for name, metric in metrics_of_scores(of_part, model).items()}
    return about


def matched_classes(other: Dataset, own: Dataset | Interface) -> Dataset:
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
    names = [matched_label(name, own.classes) for name in other.classes]
    if unknown := [old for old, name in zip(other.classes, names, strict=True) if name not in own.classes]:
        raise UsageError(
            f"{other.name}: has class {unknown[0]!r}, which is not a class of the run; "
            f"expected {', '.join(own.classes)}"
        )
    columns = [own.classes.index(name) for name in names]

    def spread(part: Part) -> Part:
        return Part(part.inputs, part.targets @ np.eye(len(own.classes))[columns])

    return replace(
        other,
        train=spread(other.train),
        validation=other.validation and spread(other.validation),
        test=spread(other.test),
        classes=own.classes,
    )


def matched_columns(other: Dataset, own: Interface) -> Dataset:
    """Return `other` with the input columns of `own`: by name if both have names, else by number.

    A missing column, a different number of features or images of another shape raise `UsageError`.
    """
    if other.image_shape and own.image_shape and other.image_shape != own.image_shape:
        sizes = (" x ".join(map(str, shape)) for shape in (other.image_shape, own.image_shape))
        raise UsageError(f"{other.name}: has images of {', but the network expects '.join(sizes)}")
    have, want = other.test.inputs.shape[1], own.shift.size
    if not (own.columns and other.columns):
        if have != want:
            raise UsageError(f"{other.name}: has {have} features, but the network has {want} inputs")
        return other
    positions = column_positions(own.columns, other.columns, other.name)

    def taken(part: Part) -> Part:
        return Part(part.inputs[:, positions], part.targets)

    return replace(
        other,
        train=taken(other.train),
        validation=other.validation and taken(other.validation),
        test=taken(other.test),
        columns=own.columns,
    )


def _other_data(run: Run, own: Interface, data: dict[str, Any]) -> Dataset:
    """Load the data that `data` describes, with columns and classes matched to the data of the run."""
    ours = run.config["data"]
    same_kind = _kind(data.get("name", ours["name"])) == _kind(ours["name"])
    inherited = ours if same_kind else {"folder": ours.get("folder")}
    if "name" in data:
        inherited = inherited | {"subset": None, "subset_seed": None}
    inherited = inherited | {"task": own.task}
    columns = () if "columns" in data else own.columns
    config = build_config({"data": inherited | data})
    loaded = load_data(config, for_training=False, input_columns=columns)
    return matched_columns(matched_classes(loaded, own), own)


def _kind(name: str) -> str:
    """Return the kind of data: by content, or for a file that is missing or cannot be read by its suffix."""
    path = Path(name)
    with suppress(DataError):
        if path.is_file():
            return kind_of_file(path)
    suffix = path.suffix.lower().replace(".hdf5", ".h5")
    return suffix if suffix in ("", ".npz", ".h5") else "table"
