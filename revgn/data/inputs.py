"""Inputs of a file, piece by piece, for a network that is already trained; targets beside them are optional.

.csv     columns by name if the network has names, else by number; without a header by number
.npz     an array under a usual name, or the only one; it is read from the archive piece by piece
.h5      the same for a data set
"""

import csv
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from revgn.data.dataset import HostArray, as_float64, reading
from revgn.data.interface import Interface
from revgn.errors import DataError, UsageError

PIECE = 2048  # rows read at once

_USUAL = (  # names of inputs, and of the targets of the same rows
    ("x", "y"),
    ("inputs", "targets"),
    ("x_test", "y_test"),
    ("test_inputs", "test_targets"),
    ("x_train", "y_train"),
)
_SHOWN = 12  # names that a message lists
Read = Callable[[int], HostArray]  # returns the next rows, at most as many as given; none at the end


class Piece(NamedTuple):
    """Some rows of a file: inputs (m, d) as the network expects them, and targets as they are in the file."""

    inputs: HostArray
    targets: HostArray | None


def read_inputs(path: Path, interface: Interface, key: str | None = None) -> Iterator[Piece]:
    """Yield the rows of a file in pieces of at most `PIECE` rows.

    Parameters
    ----------
    interface : Interface
        Inputs that the network expects.
    key : str or None
        Name of the array of inputs in an .npz or .h5 file; by default a usual name, or the only array.

    Raises
    ------
    DataError
        If the file is missing or broken, has no rows, or has an input that is not a finite number.
    UsageError
        If the file has another number of features, lacks a column of the run, or has an unknown ending.

    Notes
    -----
    Memory: the rows of one piece; only arrays in Fortran order are read as a whole.
    """
    kinds = {".csv": _csv_pieces, ".npz": _npz_pieces, ".h5": _h5_pieces, ".hdf5": _h5_pieces}
    suffix = path.suffix.lower()
    if suffix not in kinds:
        raise UsageError(f"{path}: ends in {suffix or 'nothing'!r}; expected {', '.join(kinds)}")
    if key is not None and suffix == ".csv":
        raise UsageError(f"{path}: has named columns, no named arrays; leave out --inputs")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    start = 0
    pieces = kinds[suffix](path, interface, key)
    while True:
        with reading(path):
            piece = next(pieces, None)
        if piece is None:
            break
        inputs = flat_inputs(piece.inputs, interface, str(path))
        if not np.isfinite(inputs).all():
            row, column = np.argwhere(~np.isfinite(inputs))[0]
            name = repr(interface.columns[column]) if interface.columns else column
            raise DataError(f"{path}: the input in row {start + row} (from 0), column {name} is not finite")
        yield Piece(inputs, piece.targets)
        start += inputs.shape[0]
    if not start:
        raise DataError(f"{path}: has no rows")


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
        raise DataError(f"{where}: inputs have dtype {x.dtype}; expected numbers")
    d, shape = interface.shift.size, interface.image_shape
    if shape is not None and x.ndim == 4 and x.shape[1:] == (*shape[1:], shape[0]) and x.shape[1:] != shape:
        x = x.transpose(0, 3, 1, 2)
    if x.ndim < 2 or x[0:1].size not in (d, 0):
        expected = f"(n, {d})" + (f" or images (n, {', '.join(map(str, shape))})" if shape else "")
        raise UsageError(f"{where}: inputs have shape {x.shape}, but the network expects {expected}")
    flat = x.reshape(x.shape[0], d)
    return flat if flat.dtype == np.uint8 else as_float64(flat)


def column_positions(wanted: Sequence[str], present: Sequence[str], where: str) -> list[int]:
    """Return the position of each wanted column; `UsageError` lists those that are missing."""
    if missing := [name for name in wanted if name not in present]:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        listed = ", ".join(missing[:_SHOWN])
        raise UsageError(
            f"{where}: lacks input columns of the run: {listed}{more}; it has {_listed(present)}"
        )
    at = {name: position for position, name in enumerate(present)}
    return [at[name] for name in wanted]


def _listed(names: Collection[str]) -> str:
    shown = " ".join(", ".join(islice(names, _SHOWN)).split())[:200] or "nothing"
    return shown + (", ..." if len(names) > _SHOWN else "")


def _csv_pieces(path: Path, interface: Interface, key: str | None) -> Iterator[Piece]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        rows: Iterator[list[str]] = (row for row in reader if any(cell.strip() for cell in row))
        first = next(rows, [])
        has_names = not all(map(_is_number, first))
        names = [" ".join(name.split()) for name in first] if has_names else [""] * len(first)
        inputs, targets = _columns(names, interface, str(path))
        if not has_names:
            rows = chain([first], rows)

        def numbers(row: list[str]) -> list[float]:
            where = f"{path}: line {reader.line_num}"
            if len(row) != len(names):
                raise DataError(f"{where} has {len(row)} cells, but the first line has {len(names)}")
            for k in inputs:
                if not _is_number(row[k]):
                    column = repr(names[k]) if names[k] else str(k + 1)
                    raise DataError(f"{where}, column {column}: {row[k][:40]!r} is not a number")
            return [float(row[k]) for k in inputs]

        while True:
            cells = [(numbers(row), row) for row in islice(rows, PIECE)]
            if not cells:
                return
            values = np.array([x for x, _ in cells], dtype=np.float64)
            beside = np.array([[row[k].strip() for k in targets] for _, row in cells]) if targets else None
            yield Piece(values, beside)


def _columns(names: list[str], interface: Interface, where: str) -> tuple[list[int], list[int]]:
    """Return the positions of the inputs, and of the targets if the table has all of them."""
    d = interface.shift.size
    has_targets = bool(interface.target_names) and set(interface.target_names) <= set(names)
    targets = [names.index(name) for name in interface.target_names] if has_targets else []
    if any(names) and interface.columns:
        return column_positions(interface.columns, names, where), targets
    inputs = [k for k in range(len(names)) if k not in targets]
    if len(inputs) != d:
        raise UsageError(f"{where}: has {len(inputs)} input columns, but the network has {d} inputs")
    return inputs, targets


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # 1_000 is a number in Python only


def _npz_pieces(path: Path, interface: Interface, key: str | None) -> Iterator[Piece]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        present = [name.removesuffix(".npy") for name in archive.namelist()]
        x, y = _choose(present, key, str(path))

        def open_array(name: str) -> Read:
            return _npy_reader(stack.enter_context(archive.open(f"{name}.npy")), f"{path}: {name}")

        yield from _paired(open_array(x), open_array(y) if y else None)


def _npy_reader(file: Any, where: str) -> Read:
    """Return a function that reads the next rows of an .npy file."""
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

    return read


def _h5_pieces(path: Path, interface: Interface, key: str | None) -> Iterator[Piece]:
    import h5py

    with h5py.File(path, "r") as file:
        present = [name for name in file if isinstance(file[name], h5py.Dataset)]
        x, y = _choose([*present, *([key] if key is not None and key in file else [])], key, str(path))

        def open_array(name: str) -> Read:
            stored, at = file[name], 0
            if not isinstance(stored, h5py.Dataset) or not stored.shape:
                raise DataError(f"{path}: {name} is no data set with rows")
            source = stored.asstr() if h5py.check_string_dtype(stored.dtype) else stored

            def read(count: int) -> HostArray:
                nonlocal at
                begin, at = at, min(at + count, stored.shape[0])
                return np.asarray(source[begin:at])

            return read

        yield from _paired(open_array(x), open_array(y) if y else None)


def _choose(present: list[str], key: str | None, where: str) -> tuple[str, str | None]:
    """Return the name of the inputs, and of the targets of the same rows if the file has them."""
    beside = dict(_USUAL)
    if key is not None:
        if key not in present:
            raise UsageError(f"{where}: has no array {key!r}; it holds {_listed(present)}")
        return key, beside[key] if beside.get(key) in present else None
    for x, y in _USUAL:
        if x in present:
            return x, y if y in present else None
    if len(present) == 1:
        return present[0], None
    raise UsageError(f"{where}: has no array of a usual name; set --inputs to one of {_listed(present)}")


def _paired(read_x: Read, read_y: Read | None) -> Iterator[Piece]:
    while (x := read_x(PIECE)).shape[0]:
        y = None if read_y is None else read_y(x.shape[0])
        if y is not None and y.shape[0] != x.shape[0]:
            raise DataError("there are fewer targets than inputs")
        yield Piece(x, y)
