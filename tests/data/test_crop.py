import math

import numpy as np
import pytest

from revgn.data import random_resized_crop
from revgn.data.crop import _draw_windows


def resize_slowly(image, top, left, tall, wide):
    """One output pixel at a time, from the four pixels around its position in the image."""
    channels, height, width = image.shape
    window = image[:, top : top + tall, left : left + wide].astype(np.float64)
    out = np.empty((channels, height, width))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * tall / height - 0.5, 0), tall - 1)
            x = min(max((column + 0.5) * wide / width - 0.5, 0), wide - 1)
            y0, x0 = math.floor(y), math.floor(x)
            y1, x1 = min(y0 + 1, tall - 1), min(x0 + 1, wide - 1)
            above = (1 - x + x0) * window[:, y0, x0] + (x - x0) * window[:, y0, x1]
            below = (1 - x + x0) * window[:, y1, x0] + (x - x0) * window[:, y1, x1]
            out[:, row, column] = (1 - y + y0) * above + (y - y0) * below
    return out


@pytest.mark.parametrize("shape", [(20, 3, 8, 8), (20, 1, 7, 10), (5, 2, 1, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_batch_equals_a_loop_over_images(shape, dtype):
    images = np.random.default_rng(1).random(shape).astype(dtype)
    windows = _draw_windows(np.random.default_rng(2), shape[0], *shape[2:], (0.08, 1.0), (3 / 4, 4 / 3))
    expected = [resize_slowly(*each) for each in zip(images, *windows, strict=True)]
    cropped = random_resized_crop(images, np.random.default_rng(2))
    assert cropped.dtype == dtype
    np.testing.assert_allclose(cropped, expected, rtol=0, atol=1e-13 if dtype == np.float64 else 1e-5)


def test_a_window_of_the_whole_image_returns_the_image():
    images = np.random.default_rng(1).random((6, 3, 9, 9))
    whole = random_resized_crop(images, np.random.default_rng(0), scale=(1, 1), ratio=(1, 1))
    np.testing.assert_array_equal(whole, images)


def test_bytes_become_float32_and_stay_in_their_range():
    images = np.random.default_rng(1).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    cropped = random_resized_crop(images, np.random.default_rng(0))
    assert cropped.dtype == np.float32
    assert cropped.min() >= -1e-3
    assert cropped.max() <= 255.001


def test_windows_lie_inside_the_image_within_the_bounds_on_area_and_ratio():
    top, left, tall, wide = _draw_windows(
        np.random.default_rng(0), 20000, 32, 32, (0.08, 1.0), (3 / 4, 4 / 3)
    )
    assert min(top.min(), left.min()) == 0
    assert (top + tall).max() == (left + wide).max() == 32
    share = tall * wide / 32**2
    assert share.min() > 0.06
    assert share.max() <= 1
    assert 0.65 < (wide / tall).min() < (wide / tall).max() < 1.5  # 3/4 and 4/3, up to rounding
    assert abs(share.mean() - mean_share_of_a_loop()) < 0.01
    corner = tall < 20
    assert abs((top[corner] / (32 - tall[corner])).mean() - 0.5) < 0.01


def mean_share_of_a_loop():
    rng, total = np.random.default_rng(5), 0.0
    for _ in range(8000):
        for _ in range(10):
            area = 32 * 32 * rng.uniform(0.08, 1)
            aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= 32 and 0 < tall <= 32:
                break
        else:
            wide = tall = 32
        total += wide * tall / 32**2
    return total / 8000


@pytest.mark.parametrize(
    ("size", "window"),
    [((4, 20), (0, 7, 4, 5)), ((20, 4), (7, 0, 5, 4)), ((6, 6), (0, 0, 6, 6))],
)
def test_the_central_window_is_used_if_no_draw_fits(size, window):
    drawn = _draw_windows(np.random.default_rng(0), 3, *size, (50, 60), (3 / 4, 4 / 3))
    np.testing.assert_array_equal(np.stack(drawn, axis=1), [window] * 3)


def test_the_windows_are_determined_by_the_generator():
    images = np.random.default_rng(1).random((4, 1, 8, 8))
    one, same, other = (random_resized_crop(images, np.random.default_rng([7, 0, s])) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
