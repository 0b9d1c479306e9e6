"""Batches: the choice of their rows, and the rows themselves, normalized and on the device.

Order and augmentation are determined by (seed, epoch, step) alone, so a resumed run gives the same bits.
"""

import numpy as np

from revgn.arrays import Array, Backend, DType
from revgn.data.dataset import Dataset, HostArray, Part
from revgn.data.placed import place_part, take_rows
from revgn.data.settings import Augmentation
from revgn.errors import UsageError

_ORDER_TAG = 0x0BDE5  # separates the order from all other random draws with the same seed


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Return the number of whole batches in `n` rows.

    Raises
    ------
    UsageError
        If the batch size is not between 1 and `n`.

    Examples
    --------
    >>> steps_per_epoch(1000, 64)
    15
    """
    if not 1 <= batch_size <= n:
        raise UsageError(f"batch_size: {batch_size} is not between 1 and the {n} training rows")
    return n // batch_size


def batch_indices(n: int, batch_size: int, *, seed: int, epoch: int) -> HostArray:
    """Return the row numbers of each batch of one epoch, shuffled, (steps, batch_size).

    Rows after the last whole batch are dropped. The full batch is not shuffled.

    Raises
    ------
    UsageError
        If the batch size is not between 1 and `n`.

    Notes
    -----
    Law: the same (seed, epoch) gives the same rows; no row appears twice.

    Examples
    --------
    >>> batch_indices(10, 3, seed=0, epoch=1).shape
    (3, 3)
    >>> batch_indices(3, 3, seed=0, epoch=1)
    array([[0, 1, 2]])
    """
    steps = steps_per_epoch(n, batch_size)
    if batch_size == n:
        return np.arange(n)[np.newaxis]
    order = np.random.default_rng([seed, epoch, _ORDER_TAG]).permutation(n)
    return order[: steps * batch_size].reshape(steps, batch_size)


def take_batch(
    dataset: Dataset,
    part: Part,
    rows: HostArray | slice | None,
    backend: Backend,
    dtype: DType,
    *,
    augmentation: Augmentation = "none",
    rng: np.random.Generator | None = None,
    smoothing: float = 0.0,
) -> tuple[Array, Array]:
    """Return the normalized inputs (m, d) and the targets (m, c) of the given rows, on the backend.

    For many batches of one data set, use `place_dataset` and `take_rows`, which move it to the device once.

    Parameters
    ----------
    rows : (m,) or slice
        None takes all rows.
    augmentation, rng, smoothing
        See `take_rows`, also for errors.

    Notes
    -----
    Cost: uint8 inputs are copied to the device as uint8; float64 inputs are normalized there in float64.

    Examples
    --------
    >>> from revgn.arrays import select_backend
    >>> from revgn.data import load_dataset
    >>> digits = load_dataset("digits")
    >>> x, t = take_batch(digits, digits.train, slice(0, 5), select_backend("numpy"), "float32")
    >>> x.shape, t.shape, x.dtype.name
    ((5, 64), (5, 10), 'float32')
    """
    rows = slice(None) if rows is None else rows
    taken = place_part(dataset, Part(part.inputs[rows], part.targets[rows]), backend, dtype)
    return take_rows(taken, slice(None), augmentation=augmentation, rng=rng, smoothing=smoothing)
