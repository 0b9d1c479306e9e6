"""Training batches, determined by the seed, the epoch and the step alone."""

from collections.abc import Iterator

import numpy as np

from revgn.arrays import Array
from revgn.data import PlacedDataset, batch_indices, place_rows, take_batch, take_rows
from revgn.data.dataset import HostArray
from revgn.data.settings import Augmentation
from revgn.training.problem import Problem
from revgn.training.step import Batch

_AUGMENTATION = 3  # tag of the random draws for changes of images
_OTHER_EPOCH = 2**31  # an epoch number that training never reaches


def batches(problem: Problem, data: PlacedDataset, step: int) -> Iterator[Batch]:
    """Yield the batch of each step, from `step` to the last step.

    Notes
    -----
    Law: the batch of a step does not depend on the step at which the iteration starts.
    Cost: the order of the rows is copied to the device once per epoch.
    """
    n, seed = problem.dataset.train.inputs.shape[0], problem.config.training.seed
    order, epoch, kept = None, -1, None
    for each in range(step, problem.total_steps):
        if epoch != each // problem.steps_per_epoch:
            epoch = each // problem.steps_per_epoch
            rows = batch_indices(n, problem.batch_size, seed=seed, epoch=epoch)
            order = place_rows(data.train, rows)
        assert order is not None
        batch = kept or _take(problem, data, order[each % problem.steps_per_epoch, :], epoch, each)
        if problem.batch_size == n and problem.config.data.augmentation == "none":
            kept = batch  # the full batch is the same at every step
        yield batch


def other_batches(problem: Problem, data: PlacedDataset) -> dict[str, Batch]:
    """Return the batches on which the loss decrease of a step is measured, by name.

    "other" is another training batch, and "test" consists of test rows. Full-batch training has no "other".
    Without `training.measure_every` the result is empty.
    """
    n = problem.dataset.train.inputs.shape[0]
    if not problem.config.training.measure_every:
        return {}
    found: dict[str, Batch] = {}
    if problem.batch_size < n:
        seed = problem.config.training.seed
        rows = batch_indices(n, problem.batch_size, seed=seed, epoch=_OTHER_EPOCH)[0]
        found["other"] = _training_rows(problem, data, place_rows(data.train, rows))
    found["test"] = test_rows(problem, problem.batch_size)
    return found


def test_rows(problem: Problem, count: int) -> Batch:
    """Return the first rows of the test set."""
    return take_batch(problem.dataset, problem.dataset.test, slice(0, count), problem.backend, problem.dtype)


def _take(problem: Problem, data: PlacedDataset, rows: Array | HostArray, epoch: int, step: int) -> Batch:
    rng = np.random.default_rng([problem.config.training.seed, epoch, step, _AUGMENTATION])
    return _training_rows(problem, data, rows, problem.config.data.augmentation, rng)


def _training_rows(
    problem: Problem,
    data: PlacedDataset,
    rows: Array | HostArray,
    augmentation: Augmentation = "none",
    rng: np.random.Generator | None = None,
) -> Batch:
    """Return training rows, with label smoothing."""
    smoothing = problem.config.training.label_smoothing
    return take_rows(data.train, rows, augmentation=augmentation, rng=rng, smoothing=smoothing)
