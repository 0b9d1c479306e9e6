"""Read a user's own arrays from .npz and .h5 files, as raw rows."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from revgn.arrays import memory_size, select_backend
from revgn.data.assemble import Rows
from revgn.data.cells import listed
from revgn.data.dataset import HostArray, reading
from revgn.data.idx import DEFLATE_RATIO
from revgn.errors import DataError, UsageError


class ArrayNames(NamedTuple):
    """Names of the four arrays in a file: keys of an .npz file, paths in an .h5 file."""

    inputs: str | None = None
    targets: str | None = None
    test_inputs: str | None = None
    test_targets: str | None = None


USUAL_INPUTS = ("x", "inputs", "data", "features", "images")
USUAL_TARGETS = ("y", "targets", "target", "labels", "label")
_TRAINING, _TEST = ("{}_train", "train_{}", "{}"), ("{}_test", "test_{}")


class Arrays(NamedTuple):
    """Training and test rows of a file, the name of the training targets, and notes for the user."""

    train: Rows
    test: Rows | None
    targets: str
    notes: tuple[str, ...] = ()


def read_npz(path: Path, names: ArrayNames) -> Arrays:
    """Read the training set and, if present, the test set from a NumPy archive; pickled objects are refused.

    Parameters
    ----------
    names : ArrayNames
        If all are None, the usual names are tried: x_train and y_train (with x_test and y_test), x and y,
        inputs and targets, data and target, images and labels, in capitals too. Arrays that are not used
        are noted.
    """
    with reading(path), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"{path}: holds a single array; expected an archive of named arrays")
        keys = archive.files
        return _read_parts(path, names, keys, lambda key: _unpacked(path, archive, key), lambda: keys)


def _unpacked(path: Path, archive: Any, key: str) -> HostArray:
    sizes = {info.filename: info.file_size for info in archive.zip.infolist()}
    check_room(path, key, sizes.get(f"{key}.npy", sizes.get(key, 0)))
    try:
        return np.asarray(archive[key])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: {key} holds Python objects; save {key}.astype(float) or {key}.astype(str)"
        ) from None


def check_room(path: Path, key: str, size: int) -> None:
    """Raise `DataError`, before unpacking, if an unpacked array does not fit into the machine's memory."""
    room = memory_size(select_backend("numpy"))
    if room is not None and size > room:
        what = f"{key}: {size / 1e9:.3g} GB when unpacked, but this machine has {room / 1e9:.3g} GB"
        raise DataError(f"{path}: {what}")


def read_h5(path: Path, names: ArrayNames) -> Arrays:
    """Read the training set and, if present, the test set from an HDF5 file; see `read_npz`."""
    import h5py

    def read(key: str) -> HostArray:
        stored = stored_array(path, file, key)
        check_room(path, key, stored.nbytes or 0)
        if h5py.check_string_dtype(stored.dtype):
            return np.asarray(stored.asstr(errors="replace")[()], dtype=str)
        try:
            return np.asarray(stored[()])
        except OSError as error:
            if "filter" not in str(error):
                raise
            raise DataError(f"{path}: {key} is compressed by a filter that is not installed here") from None

    with reading(path), h5py.File(path, "r") as file:
        return _read_parts(path, names, file, read, lambda: array_paths(file))


def array_paths(file: Any) -> list[str]:
    """Return the names of the arrays in an HDF5 file and of its links to arrays, then the paths in groups."""
    import h5py

    def is_array(name: str) -> bool:
        try:
            return file.get(name, getclass=True) is not h5py.Group
        except (KeyError, OSError, RuntimeError):  # a link to nothing
            return False

    found = list(filter(is_array, file))
    file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    return list(dict.fromkeys(found))


def stored_array(path: Path, file: Any, key: str) -> Any:
    """Return a data set of an HDF5 file, whose numbers are in this file or in another one that is present.

    A missing target or source, a group, and a size that the file cannot hold raise `DataError`.
    """
    import h5py

    try:
        stored = file[key]
    except (KeyError, OSError):
        raise DataError(f"{path}: {key} is a link whose target is missing") from None
    if not isinstance(stored, h5py.Dataset):
        raise DataError(f"{path}: {key} is a group, not a data set")
    if stored.is_virtual or stored.external:
        _check_sources(path, key, stored)
    elif (stored.nbytes or 0) > DEFLATE_RATIO * path.stat().st_size:
        raise DataError(f"{path}: {key} declares the shape {stored.shape}, more than the file can hold")
    return stored


def _check_sources(path: Path, key: str, stored: Any) -> None:
    """Raise `DataError` if a file or data set is missing that HDF5 would replace by fill values."""
    import h5py

    sources = (
        [(each.file_name, each.dset_name) for each in stored.virtual_sources()] if stored.is_virtual else []
    )
    for name, inner in dict.fromkeys(sources + [(name, "") for name, *_ in stored.external or ()]):
        if "%" in name:  # a pattern of names; blocks may be missing on purpose
            continue
        places = [path] if name == "." else [path.parent / name, Path(name)]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise DataError(f"{path}: the numbers of {key} are in the file {name}, which is missing")
        if inner:
            with reading(place), h5py.File(place, "r") as file:
                if inner not in file:
                    raise DataError(
                        f"{path}: the numbers of {key} are in {place}, which has no data set {inner}"
                    )


def _read_parts(
    path: Path,
    names: ArrayNames,
    present: Collection[str],
    read: Callable[[str], HostArray],
    arrays: Callable[[], Collection[str]],
) -> Arrays:
    x, y, test_x, test_y = _choose_names(path, names, present, arrays)
    if x is None or y is None:
        raise UsageError(f"{path}: set both inputs and targets, or neither")
    for kind, inputs, targets in (("", x, y), ("test_", test_x, test_y)):
        if inputs is not None and inputs == targets:
            raise UsageError(f"{path}: {kind}inputs and {kind}targets are the same array {inputs!r}")
    test = None if test_x is None or test_y is None else Rows(read(test_x), read(test_y))
    unused = [] if any(names) else [name for name in present if name not in (x, y, test_x, test_y)]
    notes = (
        (f"{listed(unused)} of the file {'is' if len(unused) == 1 else 'are'} not used",) if unused else ()
    )
    if test is None and test_x != test_y:
        absent = "test targets" if test_y is None else "test inputs"
        notes = (
            f"{test_x or test_y} is not used, since the file has no {absent}; training rows are held out "
            "as the test set",
            *notes,
        )
    return Arrays(Rows(read(x), read(y)), test, y, notes)


def _choose_names(
    path: Path, names: ArrayNames, present: Collection[str], arrays: Callable[[], Collection[str]]
) -> ArrayNames:
    """Return the given names if there are any, and otherwise the usual names that the file has.

    Messages list all `arrays`, those in groups too.
    """
    if any(names):
        if (names.test_inputs is None) != (names.test_targets is None):
            raise UsageError(f"{path}: set both test_inputs and test_targets, or neither")
        for name in names:
            if name is not None and name not in present:
                raise UsageError(f"{path}: has no array {name!r}; it holds {listed(arrays())}")
        return names
    by_lower = {name.lower(): name for name in present}

    def usual(forms: tuple[str, ...], words: tuple[str, ...]) -> str | None:
        return next(
            (by_lower[name] for form in forms for word in words if (name := form.format(word)) in by_lower),
            None,
        )

    found = ArrayNames(
        *(usual(forms, words) for forms in (_TRAINING, _TEST) for words in (USUAL_INPUTS, USUAL_TARGETS))
    )
    if found.inputs is None or found.targets is None:
        raise DataError(
            f"{path}: has none of the usual names; set inputs and targets to two of its arrays: "
            f"{listed(arrays())}"
        )
    return found
