"""Targets as a task: which task they describe, and class labels of any kind as one-hot rows.

Text and truth values are class labels, and so are one-hot rows of any dtype. Whole numbers are class labels
if there are few distinct values and several rows per value, as `_look_like_labels` defines. All other numbers
are regression targets.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from revgn.data.cells import number
from revgn.data.dataset import HostArray, Task, as_float64, check_finite
from revgn.data.dialect import MISSING
from revgn.data.settings import TaskChoice
from revgn.errors import DataError

_MOST_CLASSES = 10_000
_FEW, _MANY = 5, 100  # limits on the number of distinct integers
_ROWS_PER_LABEL = 10
_DENSE = 0.9  # fraction of the integers from the first to the last label that occur
_EXACT = 2**53  # from here on every float is whole


class Encoded(NamedTuple):
    """Targets (n, c) of each set, in the order of the given sets, and how they were interpreted."""

    task: Task
    targets: list[HostArray]
    names: tuple[str, ...]  # names of the c classes or targets
    reason: str  # content of the targets in words, such as "text"; "" if the task is known


def encode_targets(
    name: str,
    raw: dict[str, HostArray],
    choice: TaskChoice,
    classes: tuple[str, ...] = (),
    target_names: tuple[str, ...] = (),
    *,
    for_training: bool = True,
) -> Encoded:
    """Return the task and the encoded targets of each set; the training set determines the task.

    Parameters
    ----------
    raw : dict of arrays
        Targets (n,) or (n, c) by set: "training", then possibly "test".
    choice : {"auto", "classification", "regression"}
        The task, or "auto" to infer it.
    classes : tuple of str
        Names of the labels 0, 1, ..., if known. By default a class is named after its label.
    target_names : tuple of str
        Names of the target columns, if known.
    for_training : bool
        Whether a network is to learn the labels. Otherwise there may be a single class, or one class per row.

    Raises
    ------
    DataError
        If the targets do not fit the task, or the sets do not fit each other.

    Notes
    -----
    Law: classes are sorted, whole numbers by value; row i of the targets is one-hot at the class of label i.
    """
    where = {each: f"{name}: {each} targets" for each in raw}
    given = {each: _checked(targets, where[each]) for each, targets in raw.items()}
    training = given["training"]
    task, reason = infer_task(training) if choice == "auto" else (choice, "")
    if task == "regression":
        found = [_numbers(targets, where[each]) for each, targets in given.items()]
        count = _column_count(name, found)
        return Encoded(task, found, target_names or tuple(f"target{k}" for k in range(count)), reason)
    if classes:
        reason = ""
    if training.ndim == 2:
        found = [_one_hot_rows(targets, where[each]) for each, targets in given.items()]
        names = classes or target_names or tuple(map(str, range(_column_count(name, found))))
        return Encoded(task, found, names, reason)
    for each, targets in given.items():
        if targets.ndim == 2:
            raise DataError(f"{where[each]} have shape {targets.shape}; expected one label per row")
    names = classes or _class_names(training, where["training"], for_training)
    known = tuple(map(str, range(len(classes)))) or names
    encoded = [_one_hot(targets, known, where[each]) for each, targets in given.items()]
    return Encoded("classification", encoded, names, reason)


def infer_task(targets: HostArray) -> tuple[Task, str]:
    """Return the task that targets (n,) or (n, c) describe, and what they hold, in words.

    Examples
    --------
    >>> import numpy as np
    >>> infer_task(np.array([3, 1, 2, 1, 2, 3]))
    ('classification', '3 different whole numbers, 1 to 3')
    >>> infer_task(np.array([0.5, 1.25, 2.0]))[0]
    'regression'
    """
    if targets.ndim == 2:
        if _is_one_hot(targets):
            return "classification", "a single 1 in each row"
        return "regression", f"{targets.shape[1]} columns of numbers"
    if targets.dtype.kind == "U":
        return "classification", "text"
    if targets.dtype.kind == "b":
        return "classification", "true and false"
    if not np.array_equal(targets, np.rint(targets)) or float(np.abs(targets).max()) >= _EXACT:
        return "regression", "real numbers"
    values = np.unique(targets)
    reason = f"{values.size} different whole numbers, {values[0]:.0f} to {values[-1]:.0f}"
    if _look_like_labels(values, targets.size, is_whole=targets.dtype.kind in "iu"):
        return "classification", reason
    return "regression", reason


def _look_like_labels(values: HostArray, rows: int, *, is_whole: bool) -> bool:
    """Return whether the sorted distinct values of whole-number targets look like class labels.

    They do in four cases; numbers of rows per value are averages:

    - at most two values;
    - integers from 0 or 1 with few gaps, and at least 2 rows per value;
    - floats from 0 or 1 without gaps, and at least 4 rows per value;
    - other integers: at most 5 values with at least 2 rows per value, or at most 100 with at least 10.
    """
    k = values.size
    span = int(values[-1]) - int(values[0]) + 1  # the dtype may have eight bits
    if k <= 2:
        return True
    if values[0] in (0, 1) and k >= (_DENSE if is_whole else 1) * span:
        return rows >= (2 if is_whole else 4) * k
    return is_whole and rows >= (2 if k <= _FEW else _ROWS_PER_LABEL) * k and k <= _MANY


def _checked(targets: HostArray, where: str) -> HostArray:
    """Return targets as bool, numbers or str, (n,) or (n, c) with c > 1."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim not in (1, 2) or targets.size == 0:
        raise DataError(f"{where} have shape {targets.shape}; expected (n,) or (n, c)")
    if targets.dtype.kind in "US":
        if targets.ndim == 2:
            raise DataError(f"{where} have shape {targets.shape} and hold text; expected one label per row")
        return targets if targets.dtype.kind == "U" else np.char.decode(targets, "utf-8", "replace")
    if targets.dtype.kind not in "biuf":
        raise DataError(f"{where} have dtype {targets.dtype}; expected real numbers or text")
    if targets.dtype.kind == "f":
        check_finite(targets.reshape(targets.shape[0], -1), where)
    return targets


def _numbers(targets: HostArray, where: str) -> HostArray:
    """Return regression targets as (n, c) float64."""
    if targets.dtype.kind == "U":
        raise DataError(f"{where} hold text, such as {str(targets[0])[:40]!r}; a regression expects numbers")
    numbers = as_float64(targets.reshape(targets.shape[0], -1))
    check_finite(numbers, where)
    return numbers


def _column_count(name: str, targets: list[HostArray]) -> int:
    count, other = (int(targets[k].shape[1]) for k in (0, -1))
    if other != count:
        raise DataError(f"{name}: training targets have {count} columns, test targets {other}")
    return count


def _is_one_hot(targets: HostArray) -> bool:
    return bool(((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all())


def _one_hot_rows(targets: HostArray, where: str) -> HostArray:
    if targets.ndim != 2 or not _is_one_hot(targets):
        raise DataError(f"{where} have shape {targets.shape}; expected one label or a one-hot row per row")
    return targets.astype(np.float64)


def label_name(label: object) -> str:
    """Return the name of a label; whole numbers have one name, whatever their dtype."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def matched_label(label: str, classes: Collection[str], decimal: str = ".") -> str:
    """Return the class that a label names: the same text, or else the only class that is the same number.

    A number that is no class is returned under its usual name, and any other label unchanged. True is 1.

    Examples
    --------
    >>> matched_label("1.0", ("0", "1")), matched_label("1", ("01", "02"))
    ('1', '01')
    """
    value = None if label in classes or label in MISSING else number(label, decimal)
    if value is None:
        return label
    same = [name for name in classes if number(name, ".") == value]
    return same[0] if len(same) == 1 else label_name(value)


def _class_names(labels: HostArray, where: str, for_training: bool) -> tuple[str, ...]:
    seen = np.unique(labels)
    if seen.size > _MOST_CLASSES:
        raise DataError(f"{where}: {seen.size} different labels; is this a regression, or a column of names?")
    if for_training and labels.dtype.kind == "f" and seen.size > max(2, labels.size // 2):
        raise DataError(
            f"{where}: {labels.size} rows have {seen.size} different numbers; is it a regression?"
        )
    names = tuple(map(label_name, seen.tolist()))
    if for_training and len(names) < 2:
        raise DataError(
            f"{where}: all rows are of one class, {names[0][:40]!r}; a classification needs at least two"
        )
    return names


def _one_hot(labels: HostArray, classes: tuple[str, ...], where: str) -> HostArray:
    """Return (n, c) float64 with a single 1 per row, at the class of the label's name."""
    positions = {name: k for k, name in enumerate(classes)}
    seen, place = np.unique(labels, return_inverse=True)
    index = np.array([positions.get(label_name(label), -1) for label in seen.tolist()])[place]
    if (index < 0).any():
        row = int(np.argmin(index))
        raise DataError(
            f"{where}: label {label_name(labels[row].item())[:40]!r} in row {row} (from 0) is not one of "
            f"the {len(classes)} classes {classes[0][:40]!r} to {classes[-1][:40]!r}"
        )
    encoded: HostArray = np.eye(len(classes))[index]
    return encoded
