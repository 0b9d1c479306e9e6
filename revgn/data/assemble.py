"""Build a data set from raw rows: check, flatten, encode, split and normalize them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from revgn.data.dataset import Dataset, HostArray, Part, Task, checksum_arrays, normalization
from revgn.data.images import flat_images, stored_images
from revgn.data.settings import DataSettings, LayoutChoice, TaskChoice
from revgn.errors import DataError, UsageError

# Tags that separate these random draws from all others with the same seed.
_SPLIT_TAG, _SUBSET_TAG, _VALIDATION_TAG = 0x5B117, 0x5B5E7, 0x5BA11D

_MOST_CLASSES = 10_000


class Rows(NamedTuple):
    """Inputs and targets as stored in a file, one row per sample."""

    inputs: HostArray  # (n, ...)
    targets: HostArray  # (n,) labels or numbers, or (n, c) numbers


def assemble(
    name: str,
    source: str,
    train: Rows,
    test: Rows | None,
    settings: DataSettings,
    *,
    classes: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
) -> Dataset:
    """Check raw rows and build a data set from them.

    Parameters
    ----------
    train, test : Rows
        If `test` is None, the fraction `test_fraction` of the training rows becomes the test set, by one
        fixed shuffle.
    settings : DataSettings
        With the task "auto", integers and strings are class labels, and floats are regression targets.
        Validation rows are held out by another fixed shuffle, before the subset is taken from the remaining
        training rows.
    classes : tuple of str
        Names of the classes, if known; by default the training labels.
    columns : tuple of str
        Names of the target columns of a regression.

    Raises
    ------
    DataError
        If the rows cannot be used for training; the message names the first place.
    UsageError
        If `subset` is larger than the training set, or if class labels would have to be standardized.
    """
    parts = {"training": train} if test is None else {"training": train, "test": test}
    if test is not None and test.inputs.shape[1:] != train.inputs.shape[1:]:
        shapes = f"training inputs have shape {train.inputs.shape}, test inputs {test.inputs.shape}"
        raise DataError(f"{name}: {shapes}; all but the first length must be equal")
    inputs = [_flatten(rows, settings.layout, f"{name}: {label}") for label, rows in parts.items()]
    stored = stored_images(train.inputs.shape, settings.layout, f"{name}: training")
    image_shape = None if stored is None else stored[0]
    raw = {label: rows.targets for label, rows in parts.items()}
    task, targets, names = _encode(name, raw, settings.task, classes, columns)
    if test is None:
        whole, share = Part(inputs[0], targets[0]), settings.test_fraction
        training, testing = _split(whole, share, _SPLIT_TAG, f"{name}: a test")
    else:
        training, testing = (Part(x, t) for x, t in zip(inputs, targets, strict=True))
    checksum = checksum_arrays((training.inputs, training.targets, testing.inputs, testing.targets))
    validation = None
    if settings.validation:
        where = f"{name}: a validation"
        training, validation = _split(training, settings.validation, _VALIDATION_TAG, where)
    training = _take_subset(training, settings.subset, settings.subset_seed)
    shift, scale = normalization(training.inputs, image_shape)
    if settings.standardize_targets and task == "classification":
        raise UsageError(
            f"standardize_targets: {name} has classes; only regression targets can be standardized"
        )
    of_targets = normalization(training.targets, None) if settings.standardize_targets else (None, None)
    return Dataset(
        name,
        task,
        training,
        testing,
        shift,
        scale,
        image_shape,
        names,
        checksum,
        source,
        validation,
        *of_targets,
    )


def check_finite(values: HostArray, where: str, columns: Sequence[str] = ()) -> None:
    """Raise `DataError` for NaN or infinity in `values` (n, c); the message names the first such number."""
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = divmod(int(np.argmax(bad)), bad.shape[1])
        raise DataError(
            f"{where}: {int(bad.sum())} of {bad.size} numbers are not finite; the first is "
            f"{values[row, column]} in row {row}, column {columns[column] if columns else column} (from 0)"
        )


def _flatten(rows: Rows, layout: LayoutChoice, where: str) -> HostArray:
    """Return the inputs as (n, d), uint8 or float64; images are flattened with channels first."""
    inputs = rows.inputs
    if inputs.ndim < 2:
        raise DataError(f"{where} inputs have shape {inputs.shape}; expected (n, d) or images")
    if inputs.shape[:1] != rows.targets.shape[:1]:
        raise DataError(
            f"{where} inputs have shape {inputs.shape}, targets {rows.targets.shape}; numbers of rows differ"
        )
    if inputs.size == 0:
        raise DataError(f"{where} inputs have shape {inputs.shape}: nothing to train on")
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"{where} inputs have dtype {inputs.dtype}; expected numbers")
    flat = flat_images(inputs, layout, where)
    if flat.dtype != np.uint8:
        flat = flat.astype(np.float64)
        check_finite(flat, f"{where} inputs")
    return flat


def _encode(
    name: str,
    raw: dict[str, HostArray],
    task: TaskChoice,
    classes: tuple[str, ...],
    columns: tuple[str, ...],
) -> tuple[Task, list[HostArray], tuple[str, ...]]:
    """Return the task, the targets (n, c) of each set, and the names of the c classes or columns."""
    where = {label: f"{name}: {label} targets" for label in raw}
    if task == "regression" or (task == "auto" and raw["training"].dtype.kind == "f"):
        targets = [_numbers(each, where[label]) for label, each in raw.items()]
        count = targets[0].shape[1]
        if targets[-1].shape[1] != count:
            other = targets[-1].shape[1]
            raise DataError(f"{name}: training targets have {count} columns, test targets {other}")
        return "regression", targets, columns or tuple(f"target{column}" for column in range(count))
    labels = [_labels(each, where[label]) for label, each in raw.items()]
    if labels[0].dtype.kind != labels[-1].dtype.kind:
        raise DataError(f"{name}: labels are strings in one set and numbers in the other")
    names = classes or _class_names(labels[0], where["training"])
    return (
        "classification",
        [_one_hot(each, names, place) for each, place in zip(labels, where.values(), strict=True)],
        names,
    )


def _labels(targets: HostArray, where: str) -> HostArray:
    """Return the class labels (n,) as strings or int64."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise DataError(f"{where} have shape {targets.shape}; a classification expects one label per row")
    if targets.dtype.kind in "US":
        return targets if targets.dtype.kind == "U" else np.char.decode(targets, "utf-8", "replace")
    if targets.dtype.kind not in "biuf":
        raise DataError(f"{where} have dtype {targets.dtype}; expected numbers or strings")
    whole = (np.abs(targets) < 2**31) & (targets == np.rint(targets)) if targets.dtype.kind != "b" else True
    if not np.all(whole):
        row = int(np.argmin(whole))
        raise DataError(f"{where}: {targets[row]} in row {row} (from 0) is not a class label 0..c-1")
    return targets.astype(np.int64)


def _class_names(labels: HostArray, where: str) -> tuple[str, ...]:
    seen = np.unique(labels)
    if seen.dtype.kind == "i" and not np.array_equal(seen, np.arange(seen.size)):
        shown = ", ".join(map(str, seen[:8])) + (", ..." if seen.size > 8 else "")
        raise DataError(f"{where}: class labels must be 0..c-1 without gaps; the labels are {shown}")
    if seen.size > _MOST_CLASSES:
        raise DataError(f"{where}: {seen.size} different labels; is this a regression, or a column of names?")
    if seen.size < 2:
        raise DataError(
            f"{where}: all rows are of one class, {str(seen[0])[:40]!r}; a classification needs at least two"
        )
    return tuple(str(label) for label in seen)


def _one_hot(labels: HostArray, classes: tuple[str, ...], where: str) -> HostArray:
    """Return (n, c) float64 with a single 1 per row; string labels are looked up in the sorted `classes`."""
    if labels.dtype.kind == "i":
        index, known = labels, (labels >= 0) & (labels < len(classes))
    else:
        names = np.array(classes)
        index = np.minimum(np.searchsorted(names, labels), names.size - 1)
        known = names[index] == labels
    if not known.all():
        row = int(np.argmin(known))
        raise DataError(
            f"{where}: label {str(labels[row])[:40]!r} in row {row} (from 0) is not one of the "
            f"{len(classes)} classes {classes[0][:40]!r} to {classes[-1][:40]!r}"
        )
    return np.eye(len(classes))[index]


def _numbers(targets: HostArray, where: str) -> HostArray:
    """Return regression targets as (n, c) float64."""
    if targets.dtype.kind not in "biuf" or targets.ndim not in (1, 2) or targets.size == 0:
        raise DataError(
            f"{where} have shape {targets.shape} and dtype {targets.dtype}; a regression expects numbers, "
            "(n,) or (n, c)"
        )
    numbers = targets.reshape(targets.shape[0], -1).astype(np.float64)
    check_finite(numbers, where)
    return numbers


def _split(part: Part, fraction: float, tag: int, name: str) -> tuple[Part, Part]:
    """Return the training rows, and the fraction of the rows that is held out."""
    n = part.inputs.shape[0]
    cut = n - max(1, round(n * fraction))
    if cut < 1:
        raise DataError(f"{name} set cannot be split off: there are only {n} rows")
    order = np.random.default_rng(tag).permutation(n)
    train, held = order[:cut], order[cut:]
    return Part(part.inputs[train], part.targets[train]), Part(part.inputs[held], part.targets[held])


def _take_subset(part: Part, subset: int | None, seed: int | None) -> Part:
    if subset is None:
        return part
    n = part.inputs.shape[0]
    if subset > n:
        raise UsageError(f"subset: {subset} is more than the {n} training rows")
    if seed is None:
        return Part(part.inputs[:subset], part.targets[:subset])
    rows = np.random.default_rng([seed, _SUBSET_TAG]).choice(n, subset, replace=False)
    return Part(part.inputs[rows], part.targets[rows])
