import numpy as np
import pytest

from revgn.arrays import to_host
from revgn.data import load_dataset, pad_crop_flip, place_part, take_rows

rng = np.random.default_rng(0)
IMAGES = rng.integers(1, 256, (50, 3, 6, 9), dtype=np.uint8)  # no pixel is black


def change_slowly(image, top, left, is_flipped, padding):
    """One pixel at a time: the pixel of the padded image at (top, left), from the right if it is flipped."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            y, x = top + row - padding, left + (width - 1 - column if is_flipped else column) - padding
            if 0 <= y < height and 0 <= x < width:
                out[:, row, column] = image[:, y, x]
    return out


@pytest.mark.parametrize("padding", [0, 2, 4])
def test_the_batch_equals_a_loop_over_images(padding, backend):
    most = 2 * padding + 1
    drawn = np.random.default_rng(5).integers(0, [most, most, 2], (50, 3))
    expected = [change_slowly(image, *draws, padding) for image, draws in zip(IMAGES, drawn, strict=True)]
    moved = backend.backend.asarray(IMAGES)
    found = pad_crop_flip(moved, np.random.default_rng(5), padding=padding)
    assert found.dtype == moved.dtype
    np.testing.assert_array_equal(to_host(found), expected)


def test_shifts_are_uniform_and_half_of_the_images_are_flipped():
    image = np.zeros((20_000, 1, 9, 9), np.uint8)
    image[:, :, 4, 4] = 1  # the pixel in the middle shows the shift
    image[:, :, 4, 5] = 2  # and its neighbour the flip
    changed = pad_crop_flip(image, np.random.default_rng(0))[:, 0]
    _, rows, columns = np.nonzero(changed == 1)
    for places in (rows, columns):
        np.testing.assert_allclose(np.bincount(places, minlength=9) / 20_000, 1 / 9, atol=0.01)
    inside = (columns > 0) & (columns < 8)
    is_flipped = changed[np.arange(20_000), rows, np.maximum(columns - 1, 0)] == 2
    assert abs(is_flipped[inside].mean() - 0.5) < 0.02


def test_a_batch_is_changed_before_the_normalization(backend, dtype):
    digits, rows = load_dataset("digits"), slice(0, 20)
    part = place_part(digits, digits.train, backend.backend, backend.dtype(dtype))
    found, _ = take_rows(part, rows, augmentation="pad-crop-flip", rng=np.random.default_rng(3))
    changed = pad_crop_flip(digits.train.inputs[rows].reshape(20, 1, 8, 8), np.random.default_rng(3))
    expected = (changed.reshape(20, 64) - digits.shift) * digits.scale
    np.testing.assert_allclose(to_host(found), expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)
