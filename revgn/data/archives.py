"""Read a user's own arrays from .npz and .h5 files, as raw rows."""

from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from revgn.arrays import memory_size, select_backend
from revgn.data.assemble import Rows
from revgn.data.dataset import HostArray, reading
from revgn.data.idx import DEFLATE_RATIO
from revgn.errors import DataError, UsageError


class ArrayNames(NamedTuple):
    """Names of the four arrays in a file: keys of an .npz file, paths in an .h5 file."""

    inputs: str | None = None
    targets: str | None = None
    test_inputs: str | None = None
    test_targets: str | None = None


_USUAL_NAMES = (
    ArrayNames("x_train", "y_train", "x_test", "y_test"),
    ArrayNames("x", "y", "x_test", "y_test"),
    ArrayNames("inputs", "targets", "test_inputs", "test_targets"),
)


def read_npz(path: Path, names: ArrayNames) -> tuple[Rows, Rows | None]:
    """Read the training set and, if present, the test set from a NumPy archive; pickled objects are refused.

    Parameters
    ----------
    names : ArrayNames
        If all are None, the usual names are tried: x_train and y_train (with x_test and y_test), x and y,
        inputs and targets.
    """
    with reading(path), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"{path}: holds a single array; expected an archive of named arrays")
        return _read_parts(path, names, archive.files, lambda key: _unpacked(path, archive, key))


def _unpacked(path: Path, archive: Any, key: str) -> HostArray:
    sizes = {info.filename: info.file_size for info in archive.zip.infolist()}
    check_room(path, key, sizes.get(f"{key}.npy", sizes.get(key, 0)))
    return np.asarray(archive[key])


def check_room(path: Path, key: str, size: int) -> None:
    """Raise `DataError`, before unpacking, if an unpacked array does not fit into the machine's memory."""
    room = memory_size(select_backend("numpy"))
    if room is not None and size > room:
        what = f"{key}: {size / 1e9:.3g} GB when unpacked, but this machine has {room / 1e9:.3g} GB"
        raise DataError(f"{path}: {what}")


def read_h5(path: Path, names: ArrayNames) -> tuple[Rows, Rows | None]:
    """Read the training set and, if present, the test set from an HDF5 file; see `read_npz`."""
    import h5py

    def read(key: str) -> HostArray:
        stored = file[key]
        if not isinstance(stored, h5py.Dataset):
            raise DataError(f"{path}: {key} is a group, not a data set")
        if (stored.nbytes or 0) > DEFLATE_RATIO * path.stat().st_size:
            raise DataError(f"{path}: {key} claims the shape {stored.shape}, more than the file can hold")
        check_room(path, key, stored.nbytes or 0)
        if h5py.check_string_dtype(stored.dtype):
            return np.asarray(stored.asstr()[()], dtype=str)
        return np.asarray(stored[()])

    with reading(path), h5py.File(path, "r") as file:
        return _read_parts(path, names, file, read)


def _read_parts(
    path: Path, names: ArrayNames, present: Collection[str], read: Callable[[str], HostArray]
) -> tuple[Rows, Rows | None]:
    x, y, test_x, test_y = _choose_names(path, names, present)
    if x is None or y is None:
        raise UsageError(f"{path}: inputs and targets must be named together")
    if test_x is None or test_y is None:
        return Rows(read(x), read(y)), None
    return Rows(read(x), read(y)), Rows(read(test_x), read(test_y))


def _choose_names(path: Path, names: ArrayNames, present: Collection[str]) -> ArrayNames:
    """Return the given names if there are any, and otherwise the usual names that the file has."""
    shown = " ".join(", ".join(islice(present, 12)).split())[:200] or "nothing"
    if any(names):
        if (names.test_inputs is None) != (names.test_targets is None):
            raise UsageError(f"{path}: test_inputs and test_targets must be named together")
        for name in names:
            if name is not None and name not in present:
                raise DataError(f"{path}: has no array {name!r}; it holds {shown}")
        return names
    for usual in _USUAL_NAMES:
        if usual.inputs in present and usual.targets in present:
            if usual.test_inputs in present and usual.test_targets in present:
                return usual
            return ArrayNames(usual.inputs, usual.targets)
    raise DataError(
        f"{path}: has none of the usual names; set inputs and targets to two of its arrays: {shown}"
    )
