"""Files of predictions, written piece by piece; a file is complete, or it does not exist.

csv   a row per input: the predicted class and a value for each class, or a value for each target
npz   `values` (n, c), `names` (c,), `kind`; for classes `predicted` (n,), positions in `names`; and the
      origin, such as `run` and `step`
h5    the same data sets, with the origin as attributes
"""

import csv
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np

from revgn.data.dataset import HostArray
from revgn.errors import UsageError
from revgn.launch.predict import Predictions, Predictor
from revgn.store.attributes import now, text
from revgn.store.files import writing

Write = Callable[[Predictions], None]
Origin = Mapping[str, str | int]

_MEANING = {  # of the values of each kind
    "probability": "probability of each class",
    "output": "output of the network for each class; not a probability, since the loss is not cross-entropy",
    "prediction": "prediction of each target, in its own unit",
}


def origin(predictor: Predictor, path: Path, command: str) -> dict[str, str | int]:
    """Return the origin of predictions, as it is stored beside them."""
    attributes = predictor.run.attributes
    kept = ("source", "data_name", "data_sha256", "references")
    return {
        "title": text(f"predictions of {predictor.run.folder} for {path}"),
        "history": text(f"{now()} {command}"),
        "run": text(str(predictor.run.folder.resolve())),
        "run_title": text(attributes["title"]),
        "step": predictor.step,
        "weights": predictor.weights,
        "inputs": text(str(path.resolve())),
        **{name: attributes[name] for name in kept},
    }


@contextmanager
def open_predictions(path: Path, about: Origin, *, replace: bool = False) -> Iterator[Write]:
    """Yield a function that writes predictions to a .csv, .npz or .h5 file.

    Raises
    ------
    UsageError
        If the ending is unknown, or the file exists and `replace` is false.
    RunError
        If the file cannot be written.

    Notes
    -----
    Law: the file appears under its name only when the block ends without an error.
    Memory: one piece of predictions.
    """
    kinds = {".csv": _write_csv, ".npz": _write_npz, ".h5": _write_h5, ".hdf5": _write_h5}
    if (suffix := path.suffix.lower()) not in kinds:
        raise UsageError(f"{path}: ends in {suffix or 'nothing'!r}; expected {', '.join(kinds)}")
    if path.exists() and not replace:
        raise UsageError(f"{path}: exists already and is not overwritten; add --force to replace it")
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    with writing(path):
        try:
            with kinds[suffix](partial, about) as write:
                yield write
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def csv_writer(file: TextIO) -> Write:
    """Return a function that writes predictions as CSV with a header, with nine significant digits."""
    writer = csv.writer(file, lineterminator="\n")
    has_header = False

    def write(found: Predictions) -> None:
        nonlocal has_header
        if not has_header:
            writer.writerow([*([] if found.predicted is None else [_label(found)]), *found.names])
            has_header = True
        labels = [[]] * len(found.values) if found.predicted is None else found.labels[:, None].tolist()
        for label, values in zip(labels, found.values.tolist(), strict=True):
            writer.writerow([*label, *(f"{value:.9g}" for value in values)])

    return write


def _label(found: Predictions) -> str:
    """Return the name of the column of predicted classes, which no class has."""
    label = "prediction"
    while label in found.names:
        label += "_"
    return label


@contextmanager
def _write_csv(path: Path, about: Origin) -> Iterator[Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        yield csv_writer(file)


@contextmanager
def _write_npz(path: Path, about: Origin) -> Iterator[Write]:
    """Append the pieces of each array to a temporary file; then copy these files into the archive."""
    with ExitStack() as stack:
        spooled: dict[str, tuple[Any, np.dtype[Any], tuple[int, ...]]] = {}
        once: dict[str, HostArray] = {name: np.array(value) for name, value in about.items()}
        rows = 0

        def write(found: Predictions) -> None:
            nonlocal rows
            for name, array in _arrays(found).items():
                if name not in spooled:
                    file = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                    spooled[name] = file, array.dtype, array.shape[1:]
                spooled[name][0].write(np.ascontiguousarray(array).data)
            once.update(names=np.array(found.names), kind=np.array(found.kind))
            rows += len(found.values)

        yield write
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for name, (file, dtype, shape) in spooled.items():
                header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, *shape)}
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array_header_1_0(entry, header)
                    shutil.copyfileobj(file, entry)
            for name, array in once.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)


@contextmanager
def _write_h5(path: Path, about: Origin) -> Iterator[Write]:
    with h5py.File(path, "w") as file:
        file.attrs.update(about)

        def write(found: Predictions) -> None:
            for name, array in _arrays(found).items():
                if name not in file:
                    shape = array.shape[1:]
                    file.create_dataset(name, (0, *shape), array.dtype, maxshape=(None, *shape), chunks=True)
                stored = file[name]
                stored.resize(len(stored) + len(array), axis=0)
                stored[len(stored) - len(array) :] = array
            if "names" not in file:
                file.create_dataset("names", data=[*found.names], dtype=h5py.string_dtype())
                file["values"].attrs["long_name"] = _MEANING[found.kind]
                if found.predicted is not None:
                    file["predicted"].attrs["long_name"] = "position of the predicted class in names, from 0"

        yield write


def _arrays(found: Predictions) -> dict[str, HostArray]:
    """Return the arrays that have a row per input."""
    arrays = {"values": found.values}
    return arrays if found.predicted is None else arrays | {"predicted": found.predicted}
