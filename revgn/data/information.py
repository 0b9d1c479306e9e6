"""Warnings about a data set: what cannot be learned from it, or cannot be concluded, and why."""

import math
from collections.abc import Sequence

import numpy as np

from revgn.data.dataset import Dataset, HostArray, Part, Task
from revgn.data.repeats import columns_with_target, count_repeated
from revgn.errors import DataError, UsageError

_RESOLVED = 16  # smallest spread of the targets, in units in the last place
_SHOWN = 5  # number of names in a message
_COUNTED = 10  # smallest number of rows for which consecutive numbers are taken as row numbers
_SMALL = 1e-6  # a column with a smaller normalized range counts as constant: numbers below 1e-300
_FAR = 1e6  # standard deviations from the training mean that are worth a warning
_EXTREME = 0.01  # fraction of the values at each end of a column that count as extreme
_NARROW = 0.01  # range of the other values, in standard deviations, below which the column is narrow
_SAMPLE = 1000  # number of rows from which narrow columns are found, before they are checked in all rows
_ENOUGH = 20  # held-out rows; with fewer, the standard error of an accuracy of 50% exceeds 11 points


def missing_information(
    name: str,
    task: Task,
    train: Part,
    others: dict[str, Part],
    normalization: tuple[HostArray, HostArray],
    *,
    columns: Sequence[str],
    classes: Sequence[str],
    is_image: bool,
) -> tuple[str, ...]:
    """Return one warning for each kind of information that is missing, with the columns and the consequence.

    Parameters
    ----------
    others : dict of Part
        The sets on which the network is not trained, by name.
    normalization : tuple of arrays
        Shift and scale of the inputs.
    columns, classes : sequences of str
        Names of the input columns, which may be empty, and of the classes or targets.
    is_image : bool
        Whether columns are pixels; some pixels are usually constant.

    Raises
    ------
    DataError
        If nothing is left to learn from: all inputs are constant, or all targets are.
    """
    rows, d = train.inputs.shape
    if rows == 1:
        raise DataError(f"{name}: there is only one training row; there is nothing to learn from")
    low, high = train.inputs.min(axis=0), train.inputs.max(axis=0)
    names = _column_names(columns, d)
    constant = np.flatnonzero((high - low) * normalization[1] < _SMALL)
    where = f"{name}: in the {rows} training rows"
    if constant.size == d:
        what = "the input is" if d == 1 else f"all {d} inputs are"
        raise DataError(
            f"{name}: {what} constant in the {rows} training rows (the first is {low[0] + 0.0:g}); "
            "there is nothing to learn from"
        )
    warnings = []
    if constant.size and not is_image:
        warnings.append(
            f"{_listed(constant, names, 'input column', 'input columns')} constant in the training rows and "
            "without effect"
        )
    warnings += _target_warnings(where, task, train.targets, classes)
    if not is_image:
        warnings += _extreme_values(train.inputs, normalization, constant, names)
        warnings += _far_inputs(others, normalization, names)
        warnings += _given_targets(task, train, names)
    return (*warnings, *_few_rows(others), *_repeated_rows(train, others))


def row_counts(inputs: HostArray, columns: Sequence[str]) -> tuple[str, ...]:
    """Return a warning for each column of inputs (n, d), in file order, that holds consecutive numbers.

    Examples
    --------
    >>> import numpy as np
    >>> row_counts(np.stack((np.arange(12), np.zeros(12)), axis=1), ["id", "size"])[0][:52]
    "input column 'id' holds consecutive numbers, 0 to 11"
    """
    n = inputs.shape[0]
    if n < _COUNTED:
        return ()
    first, second, last = inputs[[0, 1, -1]].astype(np.float64)
    likely = np.flatnonzero((second - first == 1) & (last - first == n - 1))
    counts = [k for k in likely if np.array_equal(inputs[:, k], first[k] + np.arange(n))]
    names = _column_names(columns, inputs.shape[1])
    return tuple(
        f"input column {names[k]} holds consecutive numbers, {inputs[0, k]:.0f} to {inputs[-1, k]:.0f}; if "
        "it is only a row number, leave it out: it is useless for new rows, and may reveal the targets"
        for k in counts
    )


def notes_on_data(dataset: Dataset) -> tuple[str, ...]:
    """Return how a data file is interpreted, and its warnings, for the user; nothing for a known data set.

    Examples
    --------
    >>> from revgn.data import load_dataset
    >>> notes_on_data(load_dataset("digits"))
    ()
    """
    return tuple(f"{dataset.name}: {text}" for text in (dataset.interpretation, *dataset.warnings) if text)


def check_target_range(dataset: Dataset, dtype: str) -> None:
    """Raise `UsageError` if the targets of a regression, or their squares, do not fit the precision.

    Examples
    --------
    >>> from revgn.data import load_dataset
    >>> check_target_range(load_dataset("auto-mpg"), "float32")
    """
    if dataset.task == "classification":
        return
    targets, limits = dataset.train.targets, np.finfo(dtype)
    if dataset.target_shift is not None and dataset.target_scale is not None:
        targets = (targets - dataset.target_shift) * dataset.target_scale
    largest = float(np.abs(targets).max())
    differ = np.ptp(targets, axis=0) / np.maximum(np.abs(targets).max(axis=0), limits.tiny)
    if largest > math.sqrt(float(limits.max) / targets.size):
        what = f"reach {largest:.1e}, and their squares exceed {dtype}"
    elif largest < math.sqrt(float(limits.tiny)):
        what = f"are at most {largest:.1e}, and their squares vanish in {dtype}"
    elif differ.max() < _RESOLVED * float(limits.eps):
        what = f"differ by {differ.max():.1e} relative to their size, too little for the precision of {dtype}"
    else:
        return
    raise UsageError(f"{dataset.name}: the targets {what}; set data.standardize_targets, or another dtype")


def _target_warnings(where: str, task: Task, targets: HostArray, classes: Sequence[str]) -> list[str]:
    if task == "classification":
        absent = np.flatnonzero(~targets.any(axis=0))
        if absent.size == targets.shape[1] - 1:
            only = classes[int(np.argmax(targets.any(axis=0)))]
            raise DataError(f"{where} all labels are {only[:40]!r}; there is nothing to learn from")
        names = [repr(each) for each in classes]
        missing = f"{_listed(absent, names, 'class', 'classes')} without training rows and cannot be learned"
        return [missing] if absent.size else []
    constant = np.flatnonzero(targets.min(axis=0) == targets.max(axis=0))
    if constant.size == targets.shape[1]:
        raise DataError(f"{where} the targets are constant; there is nothing to learn from")
    names = [repr(each) for each in classes]
    where = f"{_listed(constant, names, 'target', 'targets')} constant in the training rows"
    return [where] if constant.size else []


def _far_inputs(
    others: dict[str, Part], normalization: tuple[HostArray, HostArray], names: Sequence[str]
) -> list[str]:
    """Warn of inputs so far outside the training range that outputs there have no meaning."""
    (shift, scale), warnings = normalization, []
    for label, part in others.items():
        extremes = np.stack((part.inputs.min(axis=0), part.inputs.max(axis=0)))
        with np.errstate(over="ignore"):
            reach = (np.abs(extremes - shift) * scale).max(axis=0)
        column = int(np.argmax(reach))
        if reach[column] > _FAR:
            warnings.append(
                f"input column {names[column]} reaches {reach[column]:.1e} standard deviations of the "
                f"training rows in the {label} set; outputs there have no meaning"
            )
    return warnings


def _extreme_values(
    inputs: HostArray, normalization: tuple[HostArray, HostArray], constant: HostArray, names: Sequence[str]
) -> list[str]:
    """Warn of columns, other than the constant ones, whose standard deviation is due to a few extreme values.

    Of such a column, the values between the quantiles of 1% and 99% (in few rows, all but the least and the
    largest value) differ, but by less than 1% of the standard deviation. Counts and lognormal numbers are far
    from this. A column that is constant but for a few values does not count, since it acts as a flag.
    """
    shift, scale = normalization
    sample = inputs[:: max(1, inputs.shape[0] // _SAMPLE)]
    narrow = np.setdiff1d(np.flatnonzero(_is_narrow(sample, scale)), constant)
    narrow = narrow[_is_narrow(inputs[:, narrow], scale[narrow])]
    if not narrow.size:
        return []
    first = narrow[0]
    extreme = inputs[np.argmax(np.abs(inputs[:, first] - shift[first])), first]
    return [
        f"{_listed(narrow, names, 'input column', 'input columns')} practically constant after "
        f"standardization, except for a few extreme values, such as {extreme:g} in column {names[first]}; "
        "correct them, or leave out their rows"
    ]


def _is_narrow(values: HostArray, scale: HostArray) -> HostArray:
    """Return which columns are narrow without their extreme values; see `_extreme_values`."""
    n = values.shape[0]
    cut = max(1, int(_EXTREME * n))
    low, high = np.partition(values, (cut, n - 1 - cut), axis=0)[[cut, n - 1 - cut]]
    spread: HostArray = (high - low) * scale
    return np.logical_and(spread > 0, spread < _NARROW)


def _given_targets(task: Task, train: Part, names: Sequence[str]) -> list[str]:
    """Warn of columns that are the target, or from which the class can be read off."""
    found, count = columns_with_target(task, train), train.targets.shape[1]
    if not found.size or (task == "regression" and found.size >= count > 1):  # all: an autoencoder
        return []
    equal = "equal to a target" if task == "regression" else "in one-to-one correspondence with the class"
    return [
        f"{_listed(found, names, 'input column', 'input columns')} {equal} in the training rows; leave "
        "out what is copied from the target, since it is unknown for new rows"
    ]


def _few_rows(others: dict[str, Part]) -> list[str]:
    """Warn of sets so small that results on them are mostly chance."""
    counts = {label: part.inputs.shape[0] for label, part in others.items()}
    affected = {"validation": "its results and the choice of the best weights"}
    return [
        f"the {label} set has only {count} row{'s' * (count > 1)}; with fewer than {_ENOUGH}, "
        f"{affected.get(label, 'its results')} are mostly chance"
        for label, count in counts.items()
        if count < _ENOUGH
    ]


def _repeated_rows(train: Part, others: dict[str, Part]) -> list[str]:
    """Warn of held-out rows on which a network can do well by memory alone."""
    counts = {label: count_repeated(train, part) for label, part in others.items()}
    repeated = [
        f"{count} of the {others[label].inputs.shape[0]} {label} rows"
        for label, count in counts.items()
        if count
    ]
    return [f"{' and '.join(repeated)} are also training rows, with the same targets"] if repeated else []


def _listed(chosen: HostArray, names: Sequence[str], kind: str, kinds: str) -> str:
    """Return names with a verb, such as "columns 0, 1 are"; of more than five, the number of the others."""
    shown = ", ".join(names[int(k)] for k in chosen[:_SHOWN])
    if chosen.size == 1:
        return f"{kind} {shown} is"
    more = f" and {chosen.size - _SHOWN} more of {len(names)}" if chosen.size > _SHOWN else ""
    return f"{kinds} {shown}{more} are"


def _column_names(columns: Sequence[str], d: int) -> list[str]:
    """Return the names of columns in quotation marks, or their numbers if they have none."""
    return [repr(column) for column in columns] or [str(k) for k in range(d)]
