"""Build a data set from raw rows: check, flatten, encode, split and normalize them."""

from typing import NamedTuple

import numpy as np

from revgn.data.dataset import (
    Dataset,
    HostArray,
    ImageShape,
    Part,
    as_float64,
    check_finite,
    checksum_arrays,
    normalization,
)
from revgn.data.images import flat_images, stored_images
from revgn.data.information import missing_information, row_counts
from revgn.data.labels import Encoded, encode_targets
from revgn.data.missing import complete_rows
from revgn.data.settings import DataSettings, LayoutChoice
from revgn.errors import DataError, UsageError

# Tags that separate these random draws from all others with the same seed.
_SPLIT_TAG, _SUBSET_TAG, _VALIDATION_TAG = 0x5B117, 0x5B5E7, 0x5BA11D


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
    target_names: tuple[str, ...] = (),
    targets_are: str = "",
    notes: tuple[str, ...] = (),
    for_training: bool = True,
) -> Dataset:
    """Check raw rows and build a data set from them.

    Parameters
    ----------
    train, test : Rows
        If `test` is None, the fraction `test_fraction` of the training rows becomes the test set, by one
        fixed shuffle.
    settings : DataSettings
        With the task "auto", the targets determine it; see `revgn.data.labels`.
        Validation rows are held out by another fixed shuffle, before the subset is taken from the remaining
        training rows.
    classes : tuple of str
        Names of the classes, if known; by default the training labels.
    columns, target_names : tuple of str
        Names of the input columns and of the target columns, if the file has names.
    targets_are : str
        Description of the targets for `Dataset.interpretation`, such as "column 'price'"; if the classes are
        given, the reason why the targets are classes. By default, `Dataset.interpretation` is empty.
    notes : tuple of str
        Notes of the reader of the file, for `Dataset.warnings`.
    for_training : bool
        Whether a network is to learn from the rows. Otherwise they may lack information.

    Raises
    ------
    DataError
        If the rows cannot be used for training, or nothing can be learned from them; the message names the
        first such row.
    UsageError
        If `subset` is larger than the training set, or if class labels would have to be standardized.
    """
    parts = {"training": train} if test is None else {"training": train, "test": test}
    if test is not None and test.inputs.shape[1:] != train.inputs.shape[1:]:
        shapes = f"training inputs have shape {train.inputs.shape}, test inputs {test.inputs.shape}"
        raise DataError(f"{name}: {shapes}; the shapes must agree except for the number of rows")
    found = list(notes)
    for label, rows in parts.items():
        parts[label], note = _complete(rows, f"{name}: {label} set", drop=settings.drop_missing)
        found += [f"{label} set: {note}"] if note else []
    inputs = [_flatten(rows, settings.layout, f"{name}: {label}") for label, rows in parts.items()]
    stored = stored_images(train.inputs.shape, settings.layout, f"{name}: training")
    image_shape = None if stored is None else stored[0]
    if stored is None and train.inputs.ndim == 4:
        found.append(
            f"the inputs have the shape {train.inputs.shape}, in which the axis of channels is unclear; "
            "they are taken as numbers; if they are images, set layout to channels-first or channels-last"
        )
    raw = {label: rows.targets for label, rows in parts.items()}
    encoded = encode_targets(name, raw, settings.task, classes, target_names, for_training=for_training)
    task, targets, names, _ = encoded
    found += row_counts(inputs[0], columns) if image_shape is None else ()
    if test is None:
        whole, share = Part(inputs[0], targets[0]), settings.test_fraction
        setting = f"{name}: test_fraction: {share:g}"
        training, testing = _split(whole, share, _SPLIT_TAG, setting, for_training)
    else:
        training, testing = (Part(x, t) for x, t in zip(inputs, targets, strict=True))
    checksum = checksum_arrays((training.inputs, training.targets, testing.inputs, testing.targets))
    validation = None
    if settings.validation:
        setting = f"{name}: validation: {settings.validation:g}"
        training, validation = _split(training, settings.validation, _VALIDATION_TAG, setting, for_training)
    training = _take_subset(training, settings)
    shift, scale = normalization(training.inputs, image_shape)
    if settings.standardize_targets and task == "classification":
        raise UsageError(
            f"standardize_targets: {name} has classes; only regression targets can be standardized"
        )
    target_shift, target_scale = (
        normalization(training.targets, None) if settings.standardize_targets else (None, None)
    )
    held = {"test": testing} | ({} if validation is None else {"validation": validation})
    if for_training:
        found += missing_information(
            name,
            task,
            training,
            held,
            (shift, scale),
            columns=columns,
            classes=names,
            is_image=image_shape is not None,
        )
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
        target_shift,
        target_scale,
        columns=columns,
        target_names=target_names or (names if task == "regression" else ()),
        is_split=test is None,
        interpretation=_interpretation(encoded, training, testing, targets_are, image_shape)
        if targets_are
        else "",
        warnings=tuple(found),
    )


def _interpretation(
    encoded: Encoded, train: Part, test: Part, targets_are: str, image_shape: ImageShape | None
) -> str:
    """Describe the task, with the reason, and the sizes of the data set in one line."""
    count = len(encoded.names)
    if encoded.task == "classification":
        what = f"classification into {count} classes"
    else:
        what = f"regression on {count} target{'s' * (count > 1)}"
    other = {
        "classification": "set task to regression to fit them as numbers",
        "regression": "set task to classification to take them as labels",
    }
    d = train.inputs.shape[1]
    inputs = (
        f"images of {' x '.join(map(str, image_shape or ()))}" if image_shape else f"{d} input{'s' * (d > 1)}"
    )
    sizes = f"{train.inputs.shape[0]} training and {test.inputs.shape[0]} test rows of {inputs}"
    holds = "hold" if targets_are.startswith("columns ") else "holds"
    because = [f"{targets_are} {holds} {encoded.reason}"] if encoded.reason else [targets_are]
    because += [other[encoded.task]] if "whole" in encoded.reason else []
    return f"{what} ({'; '.join(because)}); {sizes}"


def _complete(rows: Rows, where: str, *, drop: bool) -> tuple[Rows, str]:
    """Return the rows without NaN in inputs and targets, and a note on the others."""
    n = rows.inputs.shape[0] if rows.inputs.ndim else 0
    arrays = {"input": rows.inputs, "target": rows.targets}
    if not n or rows.targets.shape[:1] != (n,):
        return rows, ""
    missing = {
        f"{name} column {k}": column
        for name, each in arrays.items()
        if each.dtype.kind == "f"
        for k, column in enumerate(np.isnan(each.reshape(n, -1)).T)
        if column.any()
    }
    if not missing:
        return rows, ""
    complete, note = complete_rows(
        np.stack(list(missing.values()), axis=1),
        list(missing),
        where,
        lambda row: f"row {row} (from 0)",
        drop=drop,
    )
    return Rows(rows.inputs[complete], rows.targets[complete]), note


def _flatten(rows: Rows, layout: LayoutChoice, where: str) -> HostArray:
    """Return the inputs as (n, d), uint8 or float64; images are flattened with channels first."""
    inputs = rows.inputs
    if inputs.dtype.names:
        fields = ", ".join(inputs.dtype.names)[:100]
        raise DataError(f"{where} inputs are records of {fields}; expected an array of numbers (n, d)")
    if inputs.ndim < 2:
        raise DataError(f"{where} inputs have shape {inputs.shape}; expected (n, d) or images")
    if inputs.shape[:1] != rows.targets.shape[:1]:
        raise DataError(
            f"{where} inputs have shape {inputs.shape}, targets {rows.targets.shape}; numbers of rows differ"
        )
    if inputs.size == 0:
        raise DataError(f"{where} inputs have shape {inputs.shape}: nothing to train on")
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"{where} inputs have dtype {inputs.dtype}; expected real numbers")
    flat = flat_images(inputs, layout, where)
    if flat.dtype != np.uint8:
        flat = as_float64(flat)
        check_finite(flat, f"{where} inputs")
    return flat


def _split(part: Part, fraction: float, tag: int, setting: str, for_training: bool) -> tuple[Part, Part]:
    """Return the training rows, and the held-out rows: a `fraction` of all.

    Too few rows raise `DataError`, or are not split if `for_training` is false.
    """
    n = part.inputs.shape[0]
    cut = n - max(1, round(n * fraction))
    if cut < 1 and for_training:
        raise DataError(f"{setting} of {n} row{'s' * (n > 1)} leaves no training rows")
    cut = cut if cut > 0 else n
    order = np.random.default_rng(tag).permutation(n)
    train, held = order[:cut], order[cut:]
    return Part(part.inputs[train], part.targets[train]), Part(part.inputs[held], part.targets[held])


def _take_subset(part: Part, settings: DataSettings) -> Part:
    subset, seed, n = settings.subset, settings.subset_seed, part.inputs.shape[0]
    if subset is None:
        return part
    if subset > n:
        left = f" that validation {settings.validation:g} leaves" if settings.validation else ""
        raise UsageError(f"subset: {subset} is more than the {n} training row{'s' * (n > 1)}{left}")
    if seed is None:
        return Part(part.inputs[:subset], part.targets[:subset])
    rows = np.random.default_rng([seed, _SUBSET_TAG]).choice(n, subset, replace=False)
    return Part(part.inputs[rows], part.targets[rows])
