"""Files of predictions, written piece by piece; a file is complete, or it does not exist.

csv   a row per input: the predicted class and a value for each class, or a value for each target; for images
      the name of the file first
npz   `values` (n, c), `names` (c,), `kind`; for classes `predicted` (n,), positions in `names`; for images
      `files` (n,); and the origin, such as `run` and `step`
h5    the same data sets, with the origin as attributes
"""

import csv
import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np

from revgn.data.dataset import HostArray
from revgn.errors import UsageError
from revgn.launch.predict import Predictions, Predictor
from revgn.store.attributes import now, text
from revgn.store.files import replacing, write_all

Write = Callable[[Predictions], None]
Origin = Mapping[str, str | int]

_MEANING = {  # meaning of the values of each kind
    "probability": "probability of each class",
    "output": "output of the network for each class; not a probability, since the loss is not cross-entropy",
    "prediction": "prediction of each target, in its own unit",
}


def origin(predictor: Predictor, path: Path, command: str) -> dict[str, str | int]:
    """Return the origin of predictions, to be stored with them."""
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
        If the suffix is unknown, or the file exists and `replace` is false.
    RunError
        If the file cannot be written.

    Notes
    -----
    Law: the file appears under its name only when the block ends without an error.
    Memory: one piece of predictions.
    """
    kinds = {".csv": _write_csv, ".npz": _write_npz, ".h5": _write_h5, ".hdf5": _write_h5}
    if (suffix := path.suffix.lower()) not in kinds:
        has = f"ends in {suffix!r}" if suffix else "has no suffix"
        raise UsageError(f"{path}: {has}; expected {', '.join(kinds)}")
    if path.exists() and not replace:
        raise UsageError(f"{path}: exists already and is not overwritten; add --force to replace it")
    with replacing(path) as partial, kinds[suffix](partial, about) as write:
        yield write


def csv_writer(file: TextIO) -> Write:
    """Return a function that writes predictions as CSV with a header, with nine significant digits."""
    writer = csv.writer(file, lineterminator="\n")
    has_header = False

    def write(found: Predictions) -> None:
        nonlocal has_header
        before = {"file": found.files} if found.files else {}
        before |= {} if found.predicted is None else {"prediction": found.labels.tolist()}
        if not has_header:
            writer.writerow([*(_unlike(name, found.names) for name in before), *found.names])
            has_header = True
        for row, values in enumerate(found.values.tolist()):
            words = (column[row] for column in before.values())
            writer.writerow([*words, *(f"{value:.9g}" for value in values)])

    return write


def _unlike(name: str, others: Collection[str]) -> str:
    """Return a column name that differs from the names of all classes and targets."""
    while name in others:
        name += "_"
    return name


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
        files: list[str] = []
        rows = 0

        def write(found: Predictions) -> None:
            nonlocal rows
            for name, array in _arrays(found).items():
                if name not in spooled:
                    file = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                    spooled[name] = file, array.dtype, array.shape[1:]
                spooled[name][0].write(np.ascontiguousarray(array).data)
            once.update(names=np.array(found.names), kind=np.array(found.kind))
            files.extend(found.files)
            rows += len(found.values)

        yield write
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for name, (file, dtype, shape) in spooled.items():
                header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, *shape)}
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array_header_1_0(entry, header)
                    shutil.copyfileobj(file, entry)
            once |= {"files": np.array(files)} if files else {}
            for name, array in once.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)


class _KeepsError(io.FileIO):
    """A file for h5py that keeps the first error of writing instead of raising it.

    The HDF5 library cannot close a file after a failed write, for instance on a full disk: the process then
    ends with a segmentation fault. With this class HDF5 closes the file, and the error is raised later.
    """

    error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of `content`; after an error, only return its length, as if it had been written."""
        if self.error is None:
            try:
                write_all(self.fileno(), content)
            except OSError as error:
                self.error = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file, unless there was an error."""
        return super().truncate(size) if self.error is None else size or 0

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def check(self) -> None:
        """Raise the error that was kept, if any."""
        if self.error is not None:
            raise self.error


@contextmanager
def _write_h5(path: Path, about: Origin) -> Iterator[Write]:
    with _KeepsError(path, "w+b") as target:
        try:
            with h5py.File(target, "w") as file:
                yield _h5_writer(file, about, target.check)
        except (RuntimeError, OSError):
            target.check()
            raise
        target.check()


def _h5_writer(file: h5py.File, about: Origin, check: Callable[[], None]) -> Write:
    """Return a function that appends predictions to an HDF5 file, and then calls `check`."""
    file.attrs.update(about)

    def write(found: Predictions) -> None:
        for name, array in _arrays(found).items():
            _extend(file, name, array, array.dtype)
        if found.files:
            _extend(file, "files", found.files, h5py.string_dtype())
        if "names" not in file:
            file.create_dataset("names", data=[*found.names], dtype=h5py.string_dtype())
            file["values"].attrs["long_name"] = _MEANING[found.kind]
            if found.predicted is not None:
                file["predicted"].attrs["long_name"] = "position of the predicted class in names, from 0"
        check()

    return write


def _arrays(found: Predictions) -> dict[str, HostArray]:
    """Return the arrays that have a row per input."""
    arrays = {"values": found.values}
    return arrays if found.predicted is None else arrays | {"predicted": found.predicted}


def _extend(file: h5py.File, name: str, array: Any, dtype: Any) -> None:
    """Append rows to a data set, which is created first if there is none."""
    rows, shape = len(array), np.shape(array)[1:]
    if name not in file:
        file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=True)
    stored = file[name]
    stored.resize(len(stored) + rows, axis=0)
    stored[len(stored) - rows :] = array
