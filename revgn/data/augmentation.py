"""Random changes of training images, the same on every device."""

import numpy as np

from revgn.arrays import Array, array_namespace, backend_of


def pad_crop_flip(images: Array, rng: np.random.Generator, *, padding: int = 4) -> Array:
    """Shift each image by up to `padding` pixels in both directions, and mirror half of the images.

    Each image is surrounded by `padding` zero pixels. A window of the original size is cut out at a uniformly
    random place and flipped horizontally with probability 1/2 (He et al. 2016, section 4.2).

    Parameters
    ----------
    images : (n, channels, height, width)
    rng : numpy.random.Generator
        Generator of the changes. They are drawn on the host, so all backends make the same changes.

    Returns
    -------
    (n, channels, height, width)
        With the dtype of the images.

    Notes
    -----
    Law: all channels of an image are changed alike, and each pixel is copied or zero, bit for bit.
    Cost: three numbers per image copied to the device, and one gather.

    Examples
    --------
    >>> image = np.array([[[[1.0, 2.0, 3.0]]]])
    >>> pad_crop_flip(image, np.random.default_rng(1), padding=1)
    array([[[[3., 2., 1.]]]])
    """
    xp, device = array_namespace(images), images.device
    n, channels, height, width = images.shape
    tall, wide = height + 2 * padding, width + 2 * padding
    drawn = rng.integers(0, [2 * padding + 1, 2 * padding + 1, 2], (n, 3)).T
    placed = backend_of(images).asarray(drawn)
    padded = xp.zeros((n, channels, tall, wide), dtype=images.dtype, device=device)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    column = xp.arange(width, device=device)
    columns = placed[1, :, None] + xp.where(placed[2, :, None] == 1, width - 1 - column, column)  # (n, width)
    rows = placed[0, :, None] + xp.arange(height, device=device)  # (n, height)
    first = xp.reshape(tall * xp.arange(n * channels, device=device), (n, channels, 1, 1))
    pixels = (first + rows[:, None, :, None]) * wide + columns[:, None, None, :]
    return xp.reshape(xp.take(xp.reshape(padded, (-1,)), xp.reshape(pixels, (-1,)), axis=0), images.shape)
