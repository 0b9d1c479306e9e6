"""A data set prepared for taking batches: it is moved to the device once per run, if it fits there."""

from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from revgn.arrays import Array, Backend, DType, array_namespace, blockwise, memory_size
from revgn.data.augmentation import pad_crop_flip
from revgn.data.crop import random_resized_crop
from revgn.data.dataset import Dataset, HostArray, ImageShape, Part
from revgn.data.interface import Interface
from revgn.data.settings import Augmentation
from revgn.errors import UsageError

Rows: TypeAlias = Array | HostArray | slice

_MEMORY_SHARE = 1 / 8  # largest fraction of the device's memory for a data set


@dataclass(frozen=True, slots=True, eq=False)
class PlacedPart:
    """Raw inputs and targets of one set, with everything that is needed to form batches.

    Rows are on the backend, or still on the host if `is_resident` is false. `shift` and `scale` are on the
    backend in both cases.
    """

    inputs: Array  # (n, d): uint8 pixels, or float64
    targets: Array  # (n, c), standardized if the data set has a target_shift
    shift: Array  # (d,), in the dtype in which inputs are normalized
    scale: Array  # (d,)
    image_shape: ImageShape | None
    backend: Backend
    dtype: DType  # dtype of batches
    is_resident: bool


@dataclass(frozen=True, slots=True, eq=False)
class PlacedDataset:
    """Training, test and validation set, prepared for taking batches."""

    train: PlacedPart
    test: PlacedPart
    validation: PlacedPart | None


def place_dataset(dataset: Dataset, backend: Backend, dtype: DType) -> PlacedDataset:
    """Move a data set to the backend, or leave its rows on the host if they exceed 1/8 of its memory.

    Notes
    -----
    Law: batches have the same bits in both cases.
    Cost: uint8 inputs are copied to the device as uint8, once.

    Examples
    --------
    >>> from revgn.arrays import select_backend
    >>> from revgn.data import load_dataset
    >>> placed = place_dataset(load_dataset("digits"), select_backend("numpy"), "float32")
    >>> placed.train.is_resident, placed.train.targets.dtype.name
    (True, 'float32')
    """
    train, validation, test = dataset.train, dataset.validation, dataset.test
    parts = [part for part in (train, validation, test) if part is not None]
    memory = memory_size(backend)
    size = sum(part.inputs.nbytes + part.targets.nbytes for part in parts)
    place = partial(
        place_part,
        dataset,
        backend=backend,
        dtype=dtype,
        is_resident=memory is None or size <= _MEMORY_SHARE * memory,
    )
    return PlacedDataset(place(train), place(test), None if validation is None else place(validation))


def place_part(
    dataset: Dataset | Interface, part: Part, backend: Backend, dtype: DType, *, is_resident: bool = True
) -> PlacedPart:
    """Move one set of `dataset`, or other rows with the same normalization, to the backend."""
    work = dtype if part.inputs.dtype == np.uint8 else backend.xp.float64
    inputs, targets = part.inputs, part.targets
    if dataset.target_shift is not None and dataset.target_scale is not None:
        targets = (targets - dataset.target_shift) * dataset.target_scale
    return PlacedPart(
        backend.asarray(inputs) if is_resident else inputs,
        backend.asarray(targets, dtype=dtype) if is_resident else targets,
        backend.asarray(dataset.shift, dtype=work),
        backend.asarray(dataset.scale, dtype=work),
        dataset.image_shape,
        backend,
        dtype,
        is_resident,
    )


def place_rows(part: PlacedPart, rows: HostArray) -> Array | HostArray:
    """Move row numbers, of one batch or of several, to the device that holds the rows of `part`."""
    return part.backend.asarray(rows) if part.is_resident else rows


def take_rows(
    part: PlacedPart,
    rows: Rows,
    *,
    augmentation: Augmentation = "none",
    rng: np.random.Generator | None = None,
    smoothing: float = 0.0,
) -> tuple[Array, Array]:
    """Return the normalized inputs (m, d) and the targets (m, c) of the given rows, on the backend.

    Parameters
    ----------
    rows : (m,) or slice
        Row numbers, as returned by `place_rows`.
    augmentation : {"none", "resized-crop", "pad-crop-flip"}
        Random change of each raw image; see `random_resized_crop` and `pad_crop_flip`.
    rng : numpy.random.Generator
        Generator of the changes.
    smoothing : float
        Label smoothing s. The targets y become (1 - s) y + s/c; the sum of each row stays 1 (Szegedy et al.
        2016, section 7).

    Raises
    ------
    UsageError
        If images are to be changed, but the inputs are not images or there is no generator.

    Notes
    -----
    Cost: only the random draws are copied to the device, unless the rows are on the host.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.arrays import select_backend
    >>> from revgn.data import load_dataset
    >>> data = place_dataset(load_dataset("digits"), select_backend("numpy"), "float32")
    >>> x, t = take_rows(data.train, place_rows(data.train, np.array([2, 0])))
    >>> x.shape, t.shape
    ((2, 64), (2, 10))
    """
    backend, dtype, work = part.backend, part.dtype, part.shift.dtype
    xp = backend.xp
    raw = backend.asarray(_rows_of(part.inputs, rows))
    if augmentation != "none":
        if part.image_shape is None or rng is None:
            raise UsageError(f"augmentation: {augmentation} needs images and a random generator")
        images = xp.reshape(raw, (-1, *part.image_shape))
        if augmentation == "resized-crop":
            images = xp.astype(images, xp.float32 if work == xp.float32 else xp.float64, copy=False)
            images = random_resized_crop(images, rng)
        else:
            images = pad_crop_flip(images, rng)
        raw = xp.reshape(images, raw.shape)
    targets = backend.asarray(_rows_of(part.targets, rows), dtype=dtype)
    if smoothing:
        targets = (1.0 - smoothing) * targets + smoothing / targets.shape[1]

    def normalized(x: Array) -> tuple[Array]:
        xp = array_namespace(x)
        whole = (xp.astype(x, work, copy=False) - part.shift) * part.scale
        return (xp.astype(whole, dtype, copy=False),)

    return blockwise(normalized, raw)[0], targets


def _rows_of(x: Array, rows: Rows) -> Array:
    if isinstance(rows, slice):
        return x[rows, :]
    return array_namespace(x).take(x, rows, axis=0)
