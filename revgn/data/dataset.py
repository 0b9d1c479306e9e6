"""A checked data set: training, validation and test set, normalization, checksum."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from revgn.errors import DataError, RevgnError, reason_of

HostArray: TypeAlias = np.ndarray[Any, Any]
Task: TypeAlias = Literal["classification", "regression"]
Layout: TypeAlias = Literal["channels-first", "channels-last"]

_CHUNK = 1024  # number of rows converted to float64 at once


class ImageShape(NamedTuple):
    """Sizes of an image, in the order in which images are flattened."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The training, validation or test set, on the host."""

    inputs: HostArray  # (n, d) raw: uint8 pixels, or float64
    targets: HostArray  # (n, c) float64: one-hot, or the raw columns of a regression


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Checked samples with their normalization.

    The network's inputs are (inputs - shift) * scale. `shift` is the mean and `scale` is one over the
    standard deviation of the training set, per channel for images and per column for tables. Targets (n, c)
    are one-hot in the order of `classes`, or the columns of a regression. A class is named after its label
    in the file, such as 2, True or ant. If regression targets are standardized, the network is fitted to
    (target - target_shift) * target_scale.
    """

    name: str
    task: Task
    train: Part
    test: Part
    shift: HostArray  # (d,) float64
    scale: HostArray  # (d,) float64
    image_shape: ImageShape | None  # images are flattened channels first
    classes: tuple[str, ...]  # for a regression the names of the target columns
    checksum: str
    source: str
    validation: Part | None = None  # rows held out from training, for model selection without the test set
    target_shift: HostArray | None = None  # (c,) float64; None: targets are not standardized
    target_scale: HostArray | None = None  # (c,)
    columns: tuple[str, ...] = ()  # names of the d input columns of a table; empty if the file has no names
    target_names: tuple[str, ...] = ()  # names of the target columns: one for class labels in one column
    is_split: bool = False  # whether the test set was split off, since the file has none
    interpretation: str = ""  # how the file is interpreted, and why, in one line; empty for a known data set
    warnings: tuple[str, ...] = ()  # notes on the file and missing information, one line each


@contextmanager
def reading(where: object, *errors: type[Exception]) -> Iterator[None]:
    """Convert the exceptions `errors` of a reader, by default all, into a `DataError` of one line."""
    kinds = errors or (Exception,)
    try:
        yield
    except RevgnError:
        raise
    except kinds as error:
        raise DataError(f"{where}: cannot be read; {reason_of(error)}") from None


def as_float64(values: HostArray) -> HostArray:
    """Return values as float64; long doubles beyond its range become infinite, without a warning."""
    with np.errstate(over="ignore"):
        return values.astype(np.float64)


def check_finite(values: HostArray, where: str, columns: Sequence[str] = ()) -> None:
    """Raise `DataError` for NaN or infinity in `values` (n, c); the message names the first such number."""
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = divmod(int(np.argmax(bad)), bad.shape[1])
        raise DataError(
            f"{where}: {int(bad.sum())} of {bad.size} numbers are not finite; the first is "
            f"{values[row, column]} in row {row}, column {columns[column] if columns else column} (from 0)"
        )


def checksum_arrays(arrays: Iterable[HostArray]) -> str:
    """Return the SHA-256 checksum, in hex digits, of dtype, shape and little-endian bytes of all arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        dtype = array.dtype.newbyteorder("<")
        digest.update(f"{dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype=dtype).data)
    return digest.hexdigest()


def normalization(inputs: HostArray, image_shape: ImageShape | None) -> tuple[HostArray, HostArray]:
    """Return shift and scale, (d,) each, that give `inputs` mean 0 and standard deviation 1.

    Images, flattened channels first, have one pair per channel, over all its pixels. Tables have one pair per
    column. A constant channel or column has scale 1. Numbers are scaled by a power of two before they are
    squared, so that no square overflows.

    Notes
    -----
    Law: over `inputs`, (inputs - shift) * scale has mean 0 and variance 1 in each varying channel.
    Cost: the data are read three times; only some rows at a time are converted to float64.
    """
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        shift = _channel_means(inputs.mean(axis=0, dtype=np.float64), image_shape)
        reach = np.maximum(np.abs(low - shift), np.abs(high - shift))
    if not np.isfinite(reach).all():
        column = int(np.argmin(np.isfinite(reach)))
        raise DataError(
            f"normalization: input column {column} has numbers too large for their mean in float64"
        )
    exponent = np.frexp(_channel_means(reach, image_shape))[1]
    unit = np.exp2(np.minimum(-exponent, 1022))  # powers of two cause no rounding
    squares = np.zeros_like(shift)
    for start in range(0, inputs.shape[0], _CHUNK):
        squares += np.square((inputs[start : start + _CHUNK] - shift) * unit).sum(axis=0)
    with np.errstate(divide="ignore", over="ignore"):
        scale = unit / np.sqrt(_channel_means(squares / inputs.shape[0], image_shape))
    varies = _channel_means(high > low, image_shape) > 0
    return shift, np.where(varies & np.isfinite(scale), scale, 1.0)


def _channel_means(columns: HostArray, image_shape: ImageShape | None) -> HostArray:
    """Return the mean over its channel for each column of images, and the columns of tables unchanged."""
    if image_shape is None:
        return columns.astype(np.float64)
    channels = columns.reshape(image_shape.channels, -1)
    return np.repeat(channels.mean(axis=1), channels.shape[1])
