"""Repetitions in a data set: held-out rows that are training rows, and input columns that give the target."""

import numpy as np

from revgn.data.dataset import HostArray, Part, Task

_CHUNK = 4096  # number of rows hashed at once
_WORD = 8  # bytes of a word
_HEAD = 64  # number of rows that exclude most columns
_FEWEST = 10  # smallest number of rows for which a column that gives the target is no coincidence
_SHARE = 0.01  # smallest fraction of repeated rows that is counted; a few do not change the results


def count_repeated(train: Part, held: Part) -> int:
    """Return how many rows of `held` have the inputs and targets of a training row; 0 if at most 1% do.

    Notes
    -----
    Cost: all rows are hashed, which reads them once. Rows with equal hashes of 64 bits count as equal.

    Examples
    --------
    >>> from revgn.data import load_dataset
    >>> digits = load_dataset("digits")
    >>> count_repeated(digits.train, digits.test), count_repeated(digits.train, digits.train)
    (0, 1437)
    """
    keys, others = _hashes(train), _hashes(held)
    count = int(np.isin(others, keys).sum())
    return count if count > _SHARE * others.size else 0


def columns_with_target(task: Task, train: Part) -> HostArray:
    """Return the numbers of the input columns that equal a target, or have one value for each class.

    Examples
    --------
    >>> from revgn.data import load_dataset
    >>> columns_with_target("regression", load_dataset("auto-mpg").train)
    array([], dtype=int64)
    """
    x, targets = train.inputs, train.targets
    if x.shape[0] < _FEWEST:
        return np.array([], np.int64)
    if task == "regression":
        varying = np.flatnonzero(targets.min(axis=0) < targets.max(axis=0))
        heads = {_content(targets[:_HEAD, j]) for j in varying}
        wholes = {_content(targets[:, j]) for j in varying}
        headed = [k for k in range(x.shape[1]) if _content(x[:_HEAD, k]) in heads]
        found = {k for k in headed if _content(x[:, k]) in wholes}
    else:
        classes, first, of_row = np.unique(targets.argmax(axis=1), return_index=True, return_inverse=True)
        likely = np.flatnonzero((x[:_HEAD] == x[first[of_row[:_HEAD]]]).all(axis=0))
        is_code = [np.unique(x[first, k]).size == classes.size for k in likely]
        found = {k for k in likely[is_code] if np.array_equal(x[:, k], x[first, k][of_row])}
    return np.array(sorted(found), np.int64)


def _hashes(part: Part) -> HostArray:
    """Return a hash of each row, (n,) uint64: the sum of its words times random odd numbers, modulo 2^64."""
    total = np.zeros(part.inputs.shape[0], np.uint64)
    for number, values in enumerate((part.inputs, part.targets)):
        width = -(-values.shape[1] * values.itemsize // _WORD)
        factors = np.random.default_rng(number).integers(0, 2**64, width, dtype=np.uint64) | np.uint64(1)
        for start in range(0, values.shape[0], _CHUNK):
            total[start : start + _CHUNK] += _words(values[start : start + _CHUNK]) @ factors
    return total


def _words(values: HostArray) -> HostArray:
    """Return rows as words of 64 bits; floats with their exponent in the low bits, which a product keeps."""
    if values.dtype != np.uint8:
        return (values + 0.0).byteswap(inplace=True).view(np.uint64)  # -0.0 + 0.0 is 0.0
    missing = -values.shape[1] % _WORD
    whole = np.pad(values, ((0, 0), (0, missing))) if missing else values
    return np.ascontiguousarray(whole).view(np.uint64)


def _content(column: HostArray) -> int:
    """Return a hash of the numbers in a column; -0.0 and 0.0 are equal."""
    return hash((column + 0.0).tobytes())
