"""Load data sets by name or path."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from revgn.data.archives import ArrayNames, read_h5, read_npz
from revgn.data.assemble import Rows, assemble
from revgn.data.cifar import read_cifar
from revgn.data.dataset import Dataset
from revgn.data.folders import read_folder
from revgn.data.idx import read_idx
from revgn.data.images import stored_images
from revgn.data.kinds import kind_of_file
from revgn.data.places import KNOWN, dataset_names, fetch, find_files, missing
from revgn.data.settings import DataSettings, LayoutChoice, refuse_settings
from revgn.data.tables import read_table
from revgn.errors import DataError, UsageError, nearest

_SUFFIXES = (".npz", ".h5", ".hdf5", ".csv", ".tsv", ".txt", ".gz")
_OF_TABLES = ("target", "columns", "separator", "decimal")
_OF_ARRAYS = ("inputs", "targets", "test_inputs", "test_targets", "layout")
_TEST_FRACTION = 0.2  # test fraction of a known table; its checksum depends on the split


def load_dataset(
    name: str,
    *,
    download: bool = True,
    for_training: bool = True,
    input_columns: Sequence[str] = (),
    **settings: Any,
) -> Dataset:
    """Load a known data set, or a user's own: arrays in a .npz, .h5 or .csv file, or a folder of images.

    Parameters
    ----------
    name : str
        One of `dataset_names()`, or the path of a file or of a folder.
    download : bool
        Whether to download a known data set that is not on this machine.
    for_training : bool
        Whether a network is to learn from the training rows. Otherwise they may lack information: constant
        inputs or targets, or a single class.
    input_columns : sequence of str
        Names of the columns of a table that are the inputs, in place of the setting `columns`.
    **settings
        Other fields of `DataSettings`: subset, validation, target, ...

    Raises
    ------
    DataError
        If a file is broken or unsuitable for training, or a known data set is missing.
    UsageError
        If the name, the file or a column does not exist, or a setting does not fit the file.

    Notes
    -----
    Law: `checksum` covers all loaded rows, whatever the subset; shift and scale are computed from the
    training rows that remain. Images are flattened channels first, whatever their order in the file.

    Examples
    --------
    >>> digits = load_dataset("digits", subset=200)
    >>> digits.train.inputs.shape, digits.test.targets.shape, digits.task
    ((200, 64), (360, 10), 'classification')
    """
    wanted = DataSettings(name, **settings)
    folder, path = wanted.folder, Path(name)
    if name in KNOWN:
        fixed = ("test_fraction",) if for_training else ()  # a run of an earlier version may have set it
        refuse_settings(wanted, (*_OF_TABLES, *_OF_ARRAYS, "drop_missing", *fixed), "a known data set")
        if wanted.task not in ("auto", KNOWN[name].task):
            has = "classes" if wanted.task == "regression" else "numbers as targets"
            raise UsageError(f"task: {name} has {has}; it is not a {wanted.task}")
        paths = fetch(name, folder) if download else find_files(name, folder)
        if not paths:
            raise missing(name, folder, "downloads are off")
        return _load_known(name, paths, wanted, for_training)
    if path.is_dir():
        refuse_settings(wanted, (*_OF_TABLES, *_OF_ARRAYS, "drop_missing"), "a folder of images")
        return _load_folder(path, wanted, for_training)
    if not path.is_file():
        if path.suffix.lower() not in _SUFFIXES:
            hint = nearest(name, dataset_names())
            raise UsageError(
                f"data: {name!r} is neither a known name, nor a {'/'.join(_SUFFIXES)} file, nor a folder; "
                f"{hint}"
            )
        raise UsageError(f"{path}: there is no such file")
    kind = kind_of_file(path)
    if kind == "table":
        refuse_settings(wanted, _OF_ARRAYS, "a table, which has columns instead of arrays and images")
        table = read_table(path, wanted, input_columns)
        dataset = assemble(
            path.name,
            str(path),
            table.rows,
            None,
            wanted,
            columns=table.columns,
            target_names=table.target_names,
            targets_are=_in_words("column", table.target_names, wanted),
            notes=table.notes,
            for_training=for_training,
        )
        return replace(
            dataset, interpretation="; ".join(filter(None, (dataset.interpretation, table.dialect)))
        )
    refuse_settings(wanted, _OF_TABLES, f"an {kind} file, which has no named columns")
    names = ArrayNames(wanted.inputs, wanted.targets, wanted.test_inputs, wanted.test_targets)
    arrays = (read_npz if kind == ".npz" else read_h5)(path, names)
    shape = arrays.train.inputs.shape
    stored = stored_images(shape, wanted.layout, f"{path.name}: training")
    return assemble(
        path.name,
        f"{path}, images {stored[1].replace('-', ' ')}" if stored and len(shape) == 4 else str(path),
        arrays.train,
        arrays.test,
        wanted,
        targets_are=_in_words("array", (arrays.targets,), wanted),
        notes=arrays.notes,
        for_training=for_training,
    )


def _in_words(kind: str, names: tuple[str, ...], wanted: DataSettings) -> str:
    """Return the names of the targets, such as "columns 'a', 'b'"; ", as set" follows if the task was set."""
    shown = f"{kind}{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"
    return shown if wanted.task == "auto" else f"{shown}, as set"


def _load_folder(path: Path, wanted: DataSettings, for_training: bool) -> Dataset:
    if wanted.task == "regression":
        raise UsageError(f"task: {path} has classes; it is not a regression")
    train, test, classes = read_folder(path)
    layout: LayoutChoice = "channels-last" if train.inputs.ndim == 4 else "auto"
    wanted = replace(wanted, layout=layout)
    return assemble(
        path.name,
        str(path),
        train,
        test,
        wanted,
        classes=classes,
        targets_are="one folder each",
        for_training=for_training,
    )


def describe(name: str, **options: Any) -> dict[str, Any]:
    """Return the properties of a data set as numbers and strings; `options` are passed to `load_dataset`."""
    dataset = load_dataset(name, **options)
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
        "interpretation": dataset.interpretation or None,
        "warnings": list(dataset.warnings) or None,
        "checksum": dataset.checksum,
        "source": dataset.source,
    }


def list_datasets(folder: str | None = None) -> list[dict[str, Any]]:
    """Return name, place (a folder, or None if not on this machine) and size in bytes of each data set."""
    listed = []
    for name in dataset_names():
        paths = find_files(name, folder)
        place = str(paths[0].parent) if paths else None
        listed.append({"name": name, "place": place, "bytes": sum(path.stat().st_size for path in paths)})
    return listed


def _load_known(name: str, paths: tuple[Path, ...], wanted: DataSettings, for_training: bool) -> Dataset:
    known = KNOWN[name]
    columns: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    test: Rows | None = None
    if known.target:
        table = read_table(paths[0], replace(wanted, target=known.target, task=known.task))
        train, columns, target_names = table.rows, table.columns, table.target_names
    elif name == "cifar10":
        train, test = read_cifar(paths)
    else:
        train, test = (Rows(read_idx(x, 3)[:, np.newaxis], read_idx(y, 1)) for x, y in (paths[:2], paths[2:]))
    place = paths[0] if len(paths) == 1 else paths[0].parent
    for rows, count in zip((train, test), known.rows, strict=False):
        expected = (count, *known.shape)
        if rows is not None and rows.inputs.shape != expected:
            kind = "images" if len(known.shape) > 1 else "rows"
            raise DataError(f"{name}: {place} holds {kind} of shape {rows.inputs.shape}, expected {expected}")
    wanted = replace(wanted, task=known.task, test_fraction=_TEST_FRACTION)
    source = f"{known.credit}; {place}"
    dataset = assemble(
        name,
        source,
        train,
        test,
        wanted,
        classes=known.classes,
        columns=columns,
        target_names=target_names,
        for_training=for_training,
    )
    if known.sha256 and dataset.checksum != known.sha256:
        raise DataError(f"{name}: the files in {paths[0].parent} differ from the files that ship with revgn")
    return dataset
