"""Data on the device: batches equal the batches from the host, and almost nothing is copied for them."""

from typing import ClassVar

import numpy as np
import pytest

from revgn.arrays import Backend, device_of, to_host
from revgn.data import load_dataset, place_dataset, place_part, place_rows, take_batch, take_rows
from revgn.errors import UsageError

SETS = {
    "bytes": load_dataset("digits", subset=300, validation=0.1),
    "standardized": load_dataset("auto-mpg", standardize_targets=True),
}
ROWS = np.array([5, 2, 2, 40])


class CountingBackend(Backend):
    """Backend that counts the host arrays moved to it."""

    uploads: ClassVar[list[int]] = []

    def asarray(self, x, dtype=None):
        if isinstance(x, np.ndarray | list | tuple):
            self.uploads.append(np.asarray(x).nbytes)
        return super().asarray(x, dtype=dtype)


@pytest.fixture
def counting(backend):
    own = backend.backend
    CountingBackend.uploads = []
    return CountingBackend(own.name, own.xp, own.device)


def bits(batch):
    return [to_host(array).tobytes() for array in batch]


@pytest.mark.parametrize("of", SETS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batches_have_the_same_bits_with_rows_on_host_or_device(of, smoothing, backend, dtype):
    data, where, precision = SETS[of], backend.backend, backend.dtype(dtype)
    expected = bits(take_batch(data, data.train, ROWS, where, precision, smoothing=smoothing))
    for is_resident in (True, False):
        part = place_part(data, data.train, where, precision, is_resident=is_resident)
        found = take_rows(part, place_rows(part, ROWS), smoothing=smoothing)
        assert bits(found) == expected
        assert all(array.dtype == precision and device_of(array) == where.device for array in found)
        assert bits(take_rows(part, slice(3, 9))) == bits(
            take_batch(data, data.train, slice(3, 9), where, precision)
        )


def test_crops_equal_the_crops_on_the_host_to_rounding(backend, dtype, numpy_backend):
    data = SETS["bytes"]
    crops = []
    for library in (backend, numpy_backend):
        part = place_part(data, data.train, library.backend, library.dtype(dtype))
        inputs, _ = take_rows(
            part, place_rows(part, ROWS), augmentation="resized-crop", rng=np.random.default_rng(7)
        )
        crops.append(to_host(inputs))
    np.testing.assert_allclose(*crops, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


DEVICES = pytest.mark.parametrize(
    "backend", ["strict:device1", "cupy:stand-in", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True
)


@DEVICES
@pytest.mark.parametrize(("augmentation", "draws"), [("none", 0), ("resized-crop", 4), ("pad-crop-flip", 3)])
def test_only_draws_are_copied_for_a_batch(augmentation, draws, counting, monkeypatch):
    for module in ("crop", "augmentation"):
        monkeypatch.setattr(f"revgn.data.{module}.backend_of", lambda x: counting)
    data = SETS["bytes"]
    placed = place_dataset(data, counting, counting.xp.float32)
    rows = place_rows(placed.train, ROWS)
    counting.uploads.clear()
    take_rows(placed.train, rows, augmentation=augmentation, rng=np.random.default_rng(7))
    take_rows(placed.test, slice(0, 9))
    assert counting.uploads == ([draws * ROWS.nbytes] if draws else [])


@DEVICES
def test_data_that_do_not_fit_stay_on_the_host(counting, monkeypatch):
    data = SETS["bytes"]
    size = sum(p.inputs.nbytes + p.targets.nbytes for p in (data.train, data.validation, data.test))
    for memory, is_resident in ((None, True), (8 * size, True), (8 * size - 8, False)):
        monkeypatch.setattr("revgn.data.placed.memory_size", lambda backend, memory=memory: memory)
        counting.uploads.clear()
        placed = place_dataset(data, counting, counting.xp.float32)
        assert {placed.train.is_resident, placed.validation.is_resident} == {is_resident}
        assert (max(counting.uploads) >= data.train.inputs.nbytes) == is_resident


def test_only_images_can_be_augmented(numpy_backend):
    placed = place_dataset(SETS["standardized"], numpy_backend.backend, np.float32)
    with pytest.raises(UsageError, match="augmentation: pad-crop-flip needs images"):
        take_rows(placed.train, ROWS, augmentation="pad-crop-flip", rng=np.random.default_rng(0))
