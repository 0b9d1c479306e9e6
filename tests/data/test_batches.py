import array_api_strict
import numpy as np
import pytest

from revgn.arrays import Backend, backend_of, select_backend
from revgn.data import (
    DataSettings,
    batch_indices,
    load_dataset,
    random_resized_crop,
    steps_per_epoch,
    take_batch,
)
from revgn.data.assemble import Rows, assemble
from revgn.errors import UsageError

DIGITS = load_dataset("digits")
STRICT = backend_of(array_api_strict.asarray([0.0]))


@pytest.mark.parametrize(("n", "batch_size"), [(10, 3), (10, 5), (10, 1), (10, 9)])
def test_an_epoch_is_the_beginning_of_a_permutation(n, batch_size):
    batches = batch_indices(n, batch_size, seed=1, epoch=2)
    assert batches.shape == (n // batch_size, batch_size) == (steps_per_epoch(n, batch_size), batch_size)
    assert len(set(batches.ravel().tolist())) == batches.size
    assert set(batches.ravel().tolist()) <= set(range(n))


def test_the_order_is_determined_by_seed_and_epoch():
    first = batch_indices(100, 10, seed=1, epoch=2)
    np.testing.assert_array_equal(first, batch_indices(100, 10, seed=1, epoch=2))
    for seed, epoch in [(1, 3), (2, 2), (2, 1)]:
        assert not np.array_equal(first, batch_indices(100, 10, seed=seed, epoch=epoch))


def test_the_full_batch_is_not_shuffled():
    np.testing.assert_array_equal(batch_indices(7, 7, seed=1, epoch=2), [np.arange(7)])


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_an_impossible_batch_size_is_named(batch_size):
    with pytest.raises(UsageError, match=f"batch_size: {batch_size} is not between 1 and the 10"):
        batch_indices(10, batch_size, seed=0, epoch=0)


@pytest.mark.parametrize("backend", [select_backend("numpy"), STRICT], ids=["numpy", "strict"])
@pytest.mark.parametrize("rows", [None, slice(3, 9), np.array([5, 2, 2])], ids=["all", "slice", "rows"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_is_normalized_and_on_the_backend(backend: Backend, rows, dtype):
    inputs, targets = take_batch(DIGITS, DIGITS.train, rows, backend, getattr(backend.xp, dtype))
    assert backend_of(inputs).name == backend_of(targets).name == backend.name
    assert inputs.dtype == targets.dtype == getattr(backend.xp, dtype)
    chosen = slice(None) if rows is None else rows
    expected = (DIGITS.train.inputs[chosen] - DIGITS.shift) * DIGITS.scale
    np.testing.assert_allclose(
        np.asarray(inputs), expected, rtol=0, atol=1e-14 if dtype == "float64" else 1e-6
    )
    np.testing.assert_array_equal(np.asarray(targets), DIGITS.train.targets[chosen])


@pytest.mark.parametrize("backend", [select_backend("numpy"), STRICT], ids=["numpy", "strict"])
def test_targets_are_standardized_with_the_training_set(backend: Backend):
    cars = load_dataset("auto-mpg", standardize_targets=True)
    whole = np.asarray(take_batch(cars, cars.train, None, backend, backend.xp.float64)[1])
    assert (whole.mean(), whole.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    test = np.asarray(take_batch(cars, cars.test, slice(3, 9), backend, backend.xp.float64)[1])
    mean, std = cars.train.targets.mean(), cars.train.targets.std()
    np.testing.assert_allclose(test, (cars.test.targets[3:9] - mean) / std, rtol=1e-12)


def test_float64_inputs_are_normalized_before_they_are_rounded():
    x = 1e8 + np.random.default_rng(0).standard_normal((50, 2))
    dataset = assemble("own", "here", Rows(x, np.arange(50) % 2), None, DataSettings())
    inputs, _ = take_batch(dataset, dataset.train, None, select_backend("numpy"), np.float32)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_crop_is_applied_before_the_normalization(dtype):
    backend, rows = select_backend("numpy"), np.arange(20)
    inputs, _ = take_batch(
        DIGITS,
        DIGITS.train,
        rows,
        backend,
        dtype,
        augmentation="resized-crop",
        rng=np.random.default_rng([0, 1, 2]),
    )
    images = DIGITS.train.inputs[:20].reshape(20, 1, 8, 8).astype(dtype)
    cropped = random_resized_crop(images, np.random.default_rng([0, 1, 2])).reshape(20, 64)
    expected = (cropped - DIGITS.shift.astype(dtype)) * DIGITS.scale.astype(dtype)
    assert inputs.dtype == dtype
    np.testing.assert_array_equal(inputs, expected)


def test_only_images_can_be_augmented():
    dataset = assemble(
        "own", "here", Rows(np.random.default_rng(0).random((9, 4)), np.arange(9) % 2), None, DataSettings()
    )
    with pytest.raises(UsageError, match="augmentation: resized-crop needs images"):
        take_batch(
            dataset,
            dataset.train,
            None,
            select_backend("numpy"),
            np.float32,
            augmentation="resized-crop",
            rng=np.random.default_rng(0),
        )
