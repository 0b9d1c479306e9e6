"""Neighbourhoods of the pixels of images: collected into rows, and added up again.

An image has the axes (height, width, channels), channels last, and is stored as one row of H W q numbers. The
neighbourhood of a pixel is the k x k square around it; outside the image there are zeros. Its k k q numbers
are ordered by row, column and channel.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import array_api_compat
import numpy as np

from revgn.arrays.fused import pieces
from revgn.arrays.namespace import array_namespace
from revgn.arrays.pool import empty, zeros
from revgn.arrays.typing import Array

_NUMBERS = 1 << 19  # numbers in all arrays of a block of samples, so that they stay in the processor's caches


class Grid(NamedTuple):
    """Images of H = `height` by W = `width` pixels with q = `channels`, and k by k neighbourhoods, k odd."""

    height: int
    width: int
    channels: int
    kernel: int = 1

    @property
    def pixels(self) -> int:
        """Number of pixels P = H W."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Number of values P q of an image."""
        return self.pixels * self.channels

    @property
    def fan_in(self) -> int:
        """Number of values k k q of a neighbourhood."""
        return self.kernel**2 * self.channels


def unfold(u: Array, grid: Grid) -> Array:
    """Return the neighbourhoods (n P, k k q) of all pixels of n images u (n, P q), image by image.

    Notes
    -----
    Cost: k k P q numbers for each image are written; nothing for k = 1.

    Examples
    --------
    >>> import numpy as np
    >>> unfold(np.array([[1.0, 2.0, 3.0]]), Grid(1, 3, 1, 3))[:, 3:6]
    array([[0., 1., 2.],
           [1., 2., 3.],
           [2., 3., 0.]])
    """
    xp, (H, W, q, k) = array_namespace(u), grid
    n = u.shape[0]
    if k == 1:
        return xp.reshape(u, (n * H * W, q))
    r = k // 2
    padded = zeros((n, H + 2 * r, W + 2 * r, q), u)
    padded[:, r : r + H, r : r + W, :] = xp.reshape(u, (n, H, W, q))
    if (strided := _as_strided(u)) is not None:
        of_image, of_row, of_pixel, of_channel = _strides(padded)
        rows = strided(padded, (n, H, W, k, k * q), (of_image, of_row, of_pixel, of_row, of_channel))
        out = empty((n, H, W, k, k * q), u)
        out[...] = rows
    else:
        shifts = [padded[:, y : y + H, x : x + W, :] for y in range(k) for x in range(k)]
        out = xp.concat(shifts, axis=3)
    return xp.reshape(out, (n * H * W, k * k * q))


def fold(rows: Array, grid: Grid) -> Array:
    """Return images (n, P q) in which neighbourhoods (n P, k k q) are added up: the transpose of `unfold`.

    Examples
    --------
    >>> import numpy as np
    >>> fold(np.ones((3, 9)), Grid(1, 3, 1, 3))
    array([[2., 3., 2.]])
    """
    xp, (H, W, q, k) = array_namespace(rows), grid
    n = rows.shape[0] // (H * W)
    if k == 1:
        return xp.reshape(rows, (n, H * W * q))
    r = k // 2
    apart = xp.reshape(rows, (n, H, W, k, k, q))
    if array_api_compat.is_cupy_array(rows):
        return xp.reshape(_summed(apart), (n, H * W * q))
    padded = zeros((n, H + 2 * r, W + 2 * r, q), rows)
    for y in range(k):
        for x in range(k):
            padded[:, y : y + H, x : x + W, :] += apart[:, :, :, y, x, :]
    images = empty((n, H, W, q), rows)
    images[...] = padded[:, r : r + H, r : r + W, :]
    return xp.reshape(images, (n, H * W * q))


def _summed(apart: Array) -> Array:
    """Sum neighbourhoods (n, H, W, k, k, q) to images (n, H, W, q) with few launches, for CuPy.

    Pixel (a, b) receives entry (y, x) of the neighbourhood of pixel (a + r - y, b + r - x), r = k // 2.
    """
    n, H, W, k, _, q = apart.shape
    r = k // 2
    padded = zeros((n, H + 2 * r, W + 2 * r, k, k, q), apart)
    padded[:, r : r + H, r : r + W, ...] = apart
    of_image, of_row, of_pixel, of_y, of_x, of_channel = _strides(padded)
    strides = of_image, of_row, of_pixel, of_row - of_y, of_pixel - of_x, of_channel
    strided = _as_strided(apart)
    assert strided is not None
    received = strided(padded[:, :, :, k - 1, k - 1, :], (n, H, W, k, k, q), strides)
    return array_namespace(apart).sum(received, axis=(3, 4))


def _as_strided(like: Array) -> Callable[[Array, tuple[int, ...], tuple[int, ...]], Array] | None:
    """Return the library's view of an array by shape and strides, or None."""
    if array_api_compat.is_numpy_array(like):
        return partial(np.lib.stride_tricks.as_strided, writeable=False)
    if array_api_compat.is_cupy_array(like):
        from cupy.lib.stride_tricks import as_strided

        return cast("Callable[[Array, tuple[int, ...], tuple[int, ...]], Array]", as_strided)
    return None


def _strides(x: Array) -> tuple[int, ...]:
    strides: tuple[int, ...] = cast("Any", x).strides
    return strides


def sample_blocks(count: int, numbers: int, like: Array) -> list[slice]:
    """Split `count` samples into blocks whose arrays, of `numbers` numbers per sample, stay in the cache.

    Libraries other than NumPy take all samples in one block.
    """
    if not array_api_compat.is_numpy_array(like):
        return [slice(0, count)]
    return pieces(count, max(1, math.ceil(_NUMBERS / numbers)))
