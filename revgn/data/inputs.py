"""Inputs of a file, piece by piece, for a network that is already trained; targets beside them are optional.

table    columns by name if the network has names, else by position; without a header by position
.npz     an array under a usual name, or the only one; it is read from the archive piece by piece
.h5      the same for a data set
.npy     the array
folder   PNG and JPEG images at any depth; also a single image
"""

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from revgn.data.archives import USUAL_INPUTS, USUAL_TARGETS, array_paths, stored_array
from revgn.data.cells import column_positions, is_number, listed, numbers, open_table, same_name
from revgn.data.dataset import HostArray, as_float64, reading
from revgn.data.folders import IMAGE_SUFFIXES, read_images
from revgn.data.interface import Interface
from revgn.data.kinds import kind_of_file
from revgn.data.labels import matched_label
from revgn.data.settings import DataSettings, refuse_settings
from revgn.errors import DataError, UsageError

PIECE = 2048  # rows read at once

_FORMS = ("{}", "{}_test", "test_{}", "{}_train", "train_{}")  # forms of usual names, in order of preference
_IMAGES = 256  # images read at once
_NPY = b"\x93NUMPY"  # first bytes of an .npy file
_NUMBERS_ONLY = "the network expects a number"
_OF_TABLES, _OF_ARRAYS = ("separator", "decimal"), ("inputs", "targets")  # settings


class Stored(NamedTuple):
    """An array in a file: the number of its rows, and a function that returns the next ones.

    The function takes the largest number of rows to return; at the end it returns none.
    """

    rows: int
    read: Callable[[int], HostArray]


class Piece(NamedTuple):
    """Some rows of a file: inputs (m, d) as the network expects them, and targets as they are in the file."""

    inputs: HostArray
    targets: HostArray | None
    files: tuple[str, ...] = ()  # image files, one per row


def read_inputs(path: Path, interface: Interface, of: DataSettings) -> Iterator[Piece]:
    """Yield the rows of a file in pieces of at most `PIECE` rows.

    Parameters
    ----------
    interface : Interface
        Inputs that the network expects.
    of : DataSettings
        Its `inputs` and `targets` name arrays of an .npz or .h5 file; by default usual names, or the only
        array. Its `separator` and `decimal` are the dialect of a table; by default they are detected.

    Raises
    ------
    DataError
        If the file is broken, has no rows, or has an input that is not a finite number.
    UsageError
        If there is no such file, or it has another number of features, or lacks a column of the run.

    Notes
    -----
    Memory: the rows of one piece; only arrays in Fortran order are read as a whole.
    """
    start, pieces = 0, _reader_of(path)(path, interface, of)
    while True:
        with reading(path):
            piece = next(pieces, None)
        if piece is None:
            break
        inputs = flat_inputs(piece.inputs, interface, str(path))
        if not (is_finite := np.isfinite(inputs)).all():
            row, column = divmod(int(np.argmin(is_finite)), inputs.shape[1])
            raise DataError(f"{path}: the input in row {start + row}, column {column} (from 0) is not finite")
        yield piece._replace(inputs=inputs)
        start += inputs.shape[0]
    if not start:
        raise DataError(f"{path}: has no rows")


def _reader_of(path: Path) -> Callable[[Path, Interface, DataSettings], Iterator[Piece]]:
    """Return the function that reads a file or folder of this kind."""
    if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        return _image_pieces
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    with reading(path, OSError), path.open("rb") as file:
        if file.read(len(_NPY)) == _NPY:
            return _npy_pieces
    kinds = {"table": _table_pieces, ".npz": _npz_pieces, ".h5": _h5_pieces}
    return kinds[kind_of_file(path)]


def flat_inputs(x: HostArray, interface: Interface, where: str) -> HostArray:
    """Return inputs as (n, d), uint8 or float64; images may have their channels first or last.

    Raises
    ------
    DataError
        If the inputs are not numbers.
    UsageError
        If they have another shape than the network expects.
    """
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where}: inputs have dtype {x.dtype}; expected real numbers")
    d, shape = interface.shift.size, interface.image_shape
    channels_last = shape and (*shape[1:], shape[0])
    has_other_axes = shape is not None and x.ndim > 2 and x.shape[1:] not in (shape, channels_last, shape[1:])
    if x.shape[1:] == channels_last != shape:
        x = x.transpose(0, 3, 1, 2)
    if x.ndim < 2 or x[0:1].size not in (d, 0) or has_other_axes:
        expected = f"(n, {d})" + (f" or images (n, {', '.join(map(str, shape))})" if shape else "")
        raise UsageError(f"{where}: inputs have shape {x.shape}, but the network expects {expected}")
    flat = x.reshape(x.shape[0], d)
    return flat if flat.dtype == np.uint8 else as_float64(flat)


def _table_pieces(path: Path, interface: Interface, of: DataSettings) -> Iterator[Piece]:
    refuse_settings(of, _OF_ARRAYS, "a table, which has columns instead of arrays and images")
    with open_table(path, of.separator, of.decimal, needs_names=False) as table:
        names, form = table.names, table.dialect
        inputs, targets = _columns(names, interface, str(path))
        shown = [names[k] or str(k + 1) for k in inputs]

        @cache
        def class_of(cell: str) -> str:
            return matched_label(cell, interface.classes, form.decimal)

        def own_targets(row: list[str]) -> list[str] | list[float]:
            cells = [row[k].strip() for k in targets]
            if interface.task == "classification":
                return [*map(class_of, cells)]
            are_numbers = all(is_number(cell, form.decimal) for cell in cells)
            return numbers(cells, cells, form, str(path)) if are_numbers else [math.nan] * len(cells)

        while piece := [*islice(table.rows, PIECE)]:
            values = []
            for line, row in piece:
                where = f"{path}: line {line}"
                values.append(numbers([row[k] for k in inputs], shown, form, where, _NUMBERS_ONLY))
                if not (is_finite := np.isfinite(values[-1])).all():
                    column = shown[int(np.argmin(is_finite))]
                    raise DataError(f"{where}, column {column!r}: the number is missing or not finite")
            beside = np.array([own_targets(row) for _, row in piece]) if targets else None
            yield Piece(np.array(values), beside)


def _columns(names: list[str], interface: Interface, where: str) -> tuple[list[int], list[int]]:
    """Return the positions of the inputs, and of the targets if the table has all of them."""
    d = interface.shift.size
    target_names = [*map(same_name, interface.target_names)]
    has_targets = bool(target_names) and set(target_names) <= set(names)
    targets = [names.index(name) for name in target_names] if has_targets else []
    if any(names) and interface.columns:
        return column_positions(interface.columns, names, where), targets
    has_names = any(names)
    inputs = [k for k, name in enumerate(names) if k not in targets and (name or not has_names)]
    if len(inputs) != d:
        raise UsageError(f"{where}: has {len(inputs)} input columns, but the network has {d} inputs")
    return inputs, targets


def _image_pieces(path: Path, interface: Interface, of: DataSettings) -> Iterator[Piece]:
    """Yield the images of a folder at any depth, or a single one; folders named after classes are targets."""
    refuse_settings(of, (*_OF_TABLES, *_OF_ARRAYS), "images")
    found = [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    files = [
        file
        for file in found
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not files:
        raise DataError(
            f"{path}: is a folder without PNG or JPEG images; expected a file, or a folder of images"
        )
    folders = [file.parent.name for file in files]
    has_targets = set(folders) <= {*interface.classes}
    for start in range(0, len(files), _IMAGES):
        rows = slice(start, start + _IMAGES)
        names = tuple(str(file.relative_to(path)) if path.is_dir() else file.name for file in files[rows])
        targets = np.array(folders[rows]) if has_targets else None
        yield Piece(read_images(files[rows], path), targets, names)


def _npy_pieces(path: Path, interface: Interface, of: DataSettings) -> Iterator[Piece]:
    refuse_settings(of, (*_OF_TABLES, *_OF_ARRAYS), "a single array")
    with path.open("rb") as file:
        yield from _paired(_npy_array(file, str(path)), None, path)


def _npz_pieces(path: Path, interface: Interface, of: DataSettings) -> Iterator[Piece]:
    refuse_settings(of, _OF_TABLES, "an .npz file, which has no named columns")
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        present = [name.removesuffix(".npy") for name in archive.namelist()]
        x, y = _choose(present, of, str(path))

        def open_array(name: str) -> Stored:
            return _npy_array(stack.enter_context(archive.open(f"{name}.npy")), f"{path}: {name}")

        yield from _paired(open_array(x), open_array(y) if y else None, path)


def _npy_array(file: Any, where: str) -> Stored:
    """Return the array of an .npy file."""
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in header:
        raise DataError(f"{where}: has version {version} of the .npy format")
    shape, is_fortran, dtype = header[version](file)
    if dtype.hasobject or dtype.names or not shape:
        raise DataError(f"{where}: has shape {shape} and dtype {dtype}; expected rows of numbers")
    row = int(np.prod(shape[1:], dtype=np.int64))
    left = shape[0]
    whole = None
    if is_fortran and len(shape) > 1:
        whole = np.frombuffer(file.read(left * row * dtype.itemsize), dtype).reshape(shape, order="F")

    def read(count: int) -> HostArray:
        nonlocal left
        count, begin = min(count, left), shape[0] - left
        left -= count
        if whole is not None:
            return np.ascontiguousarray(whole[begin : begin + count])
        content = file.read(count * row * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(count, *shape[1:])

    return Stored(shape[0], read)


def _h5_pieces(path: Path, interface: Interface, of: DataSettings) -> Iterator[Piece]:
    import h5py

    refuse_settings(of, _OF_TABLES, "an .h5 file, which has no named columns")
    with h5py.File(path, "r") as file:
        present = array_paths(file)
        present += [name for name in (of.inputs, of.targets) if name is not None and name in file]
        x, y = _choose(present, of, str(path))

        def open_array(name: str) -> Stored:
            stored, at = stored_array(path, file, name), 0
            if not stored.shape:
                raise DataError(f"{path}: {name} is a single value; expected rows of numbers")
            source = stored.asstr() if h5py.check_string_dtype(stored.dtype) else stored

            def read(count: int) -> HostArray:
                nonlocal at
                begin, at = at, min(at + count, stored.shape[0])
                return np.asarray(source[begin:at])

            return Stored(stored.shape[0], read)

        yield from _paired(open_array(x), open_array(y) if y else None, path)


def _choose(present: list[str], of: DataSettings, where: str) -> tuple[str, str | None]:
    """Return the name of the inputs, and of the targets of the same rows if the file has them."""
    for name in (of.inputs, of.targets):
        if name is not None and name not in present:
            raise UsageError(f"{where}: has no array {name!r}; it holds {listed(present)}")
    if of.inputs is not None:
        return of.inputs, of.targets
    by_lower = {name.lower(): name for name in present}

    def usual(form: str, words: Sequence[str]) -> str | None:
        return next((by_lower[name] for word in words if (name := form.format(word)) in by_lower), None)

    for form in _FORMS:
        if x := usual(form, USUAL_INPUTS):
            return x, of.targets or usual(form, USUAL_TARGETS)
    if len(present) == 1:
        return present[0], None
    raise UsageError(f"{where}: has no array of a usual name; set inputs to one of {listed(present)}")


def _paired(x: Stored, y: Stored | None, path: Path) -> Iterator[Piece]:
    if y is not None and y.rows != x.rows:
        raise DataError(f"{path}: has {x.rows} inputs, but {y.rows} targets")
    while (inputs := x.read(PIECE)).shape[0]:
        yield Piece(inputs, None if y is None else y.read(PIECE))
