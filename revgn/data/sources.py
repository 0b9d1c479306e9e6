"""Data sets by name or path: the one door to all readers."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from revgn.data.archives import ArrayNames, read_h5, read_npz
from revgn.data.assemble import Rows, TaskChoice, assemble
from revgn.data.cifar import read_cifar
from revgn.data.dataset import Dataset
from revgn.data.idx import read_idx
from revgn.data.places import KNOWN, dataset_names, fetch, find_files, missing
from revgn.data.tables import read_csv
from revgn.errors import DataError, UsageError

_SUFFIXES = (".npz", ".h5", ".hdf5", ".csv")


def load_dataset(
    name_or_path: str,
    *,
    folder: str | None = None,
    subset: int | None = None,
    subset_seed: int | None = None,
    inputs: str | None = None,
    targets: str | None = None,
    test_inputs: str | None = None,
    test_targets: str | None = None,
    target: str | None = None,
    task: TaskChoice = "auto",
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    standardize_targets: bool = False,
    download: bool = True,
) -> Dataset:
    """Load a data set by its name, or one's own arrays from an .npz, .h5 or .csv file.

    Parameters
    ----------
    name_or_path : str
        One of `dataset_names()`, or the path of a file.
    folder : str
        The data folder, for the names; else REVGN_DATA names it, else it is revgn in the user's cache.
    subset, subset_seed : int
        Train on the first, or with a seed on some random, rows only. No other part is cut.
    inputs, targets, test_inputs, test_targets : str
        The arrays in an .npz (keys) or .h5 file (paths), where they do not have the usual names
        x_train, y_train (x_test, y_test), x, y or inputs, targets.
    target : str
        The column of a .csv to predict, or several with commas between them.
    task : str
        "auto": integers and strings are class labels, floats are numbers to regress on.
    test_fraction : float
        Share of the rows that becomes the test part, by one fixed shuffle, where the file has none.
    validation_fraction : float
        Share of the training rows that is held out to choose settings by, by one fixed shuffle.
    standardize_targets : bool
        Fit a regression's targets less their mean, over their standard deviation, both of the training rows.
    download : bool
        Whether a data set that is nowhere on this machine is fetched.

    Raises
    ------
    DataError
        If a file is missing, broken or holds what cannot be trained on.
    UsageError
        If there is no such name or column, or an option does not fit the file.

    Notes
    -----
    Law: `checksum` is that of everything loaded, whatever the subset; shift and scale come from the
    training rows that are left.

    Examples
    --------
    >>> digits = load_dataset("digits", subset=200)
    >>> digits.train.inputs.shape, digits.test.targets.shape, digits.task
    ((200, 64), (360, 10), 'classification')
    """
    names = ArrayNames(inputs, targets, test_inputs, test_targets)
    suffix = Path(name_or_path).suffix.lower()
    if target is not None and suffix != ".csv":
        raise UsageError(f"target: {name_or_path} is no .csv file; only those have columns")
    if any(names) and suffix not in (".npz", ".h5", ".hdf5"):
        raise UsageError(f"inputs, targets: {name_or_path} is no .npz or .h5 file; only those have arrays")
    if name_or_path in KNOWN:
        if task not in ("auto", KNOWN[name_or_path].task):
            has = "classes" if task == "regression" else "numbers for targets"
            raise UsageError(f"task: {name_or_path} has {has}; it is no {task}")
        paths = fetch(name_or_path, folder) if download else find_files(name_or_path, folder)
        if not paths:
            raise missing(name_or_path, folder, "downloads are off")
        return _load_known(
            name_or_path,
            paths,
            validation_fraction=validation_fraction,
            subset=subset,
            subset_seed=subset_seed,
            standardize_targets=standardize_targets,
        )
    if suffix not in _SUFFIXES:
        close = get_close_matches(name_or_path, dataset_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(dataset_names())}"
        raise UsageError(
            f"data: {name_or_path!r} is neither a known name nor a {'/'.join(_SUFFIXES)} file; {hint}"
        )
    path = Path(name_or_path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    columns: tuple[str, ...] = ()
    test: Rows | None = None
    if suffix == ".csv":
        train, columns = read_csv(path, target, task)
    else:
        train, test = (read_npz if suffix == ".npz" else read_h5)(path, names)
    return assemble(
        path.name,
        str(path),
        train,
        test,
        task=task,
        columns=columns,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        subset=subset,
        subset_seed=subset_seed,
        standardize_targets=standardize_targets,
    )


def describe(name_or_path: str, **options: Any) -> dict[str, Any]:
    """Return what a data set is, as plain numbers and strings; `options` are those of `load_dataset`."""
    dataset = load_dataset(name_or_path, **options)
    return {
        "name": dataset.name,
        "task": dataset.task,
        "train_rows": dataset.train.inputs.shape[0],
        "validation_rows": 0 if dataset.validation is None else dataset.validation.inputs.shape[0],
        "test_rows": dataset.test.inputs.shape[0],
        "inputs": dataset.train.inputs.shape[1],
        "image_shape": None if dataset.image_shape is None else list(dataset.image_shape),
        "dtype": str(dataset.train.inputs.dtype),
        "classes" if dataset.task == "classification" else "targets": list(dataset.classes),
        "checksum": dataset.checksum,
        "source": dataset.source,
    }


def list_datasets(folder: str | None = None) -> list[dict[str, Any]]:
    """Return name, place (None: not here) and bytes of each known data set."""
    listed = []
    for name in dataset_names():
        paths = find_files(name, folder)
        place = str(paths[0].parent) if paths else None
        listed.append({"name": name, "place": place, "bytes": sum(path.stat().st_size for path in paths)})
    return listed


def _load_known(name: str, paths: tuple[Path, ...], **options: Any) -> Dataset:
    known = KNOWN[name]
    columns: tuple[str, ...] = ()
    test: Rows | None = None
    if known.target:
        train, columns = read_csv(paths[0], known.target, known.task)
    elif name == "cifar10":
        train, test = read_cifar(paths)
    else:
        train, test = (Rows(read_idx(x, 3)[:, np.newaxis], read_idx(y, 1)) for x, y in (paths[:2], paths[2:]))
    place = paths[0] if len(paths) == 1 else paths[0].parent
    for rows, count in zip((train, test), known.rows, strict=False):
        if rows is not None and rows.inputs.shape != (count, *known.shape):
            what = "images" if len(known.shape) > 1 else "rows"
            wanted = (count, *known.shape)
            raise DataError(
                f"{name}: {place} holds {what} of shape {rows.inputs.shape}, {wanted} are expected"
            )
    dataset = assemble(
        name,
        f"{known.credit}; {place}",
        train,
        test,
        task=known.task,
        classes=known.classes,
        columns=columns,
        **options,
    )
    if known.sha256 and dataset.checksum != known.sha256:
        raise DataError(f"{name}: the files in {paths[0].parent} are not those that ship with revgn")
    return dataset
