"""Random changes of training images, the same on every device."""

import numpy as np

from revgn.arrays import Array, array_namespace, backend_of
from revgn.data.crop import random_resized_crop
from revgn.data.dataset import ImageShape, Layout
from revgn.data.settings import Augmentation


def augment(
    inputs: Array, image_shape: ImageShape, layout: Layout, kind: Augmentation, rng: np.random.Generator
) -> Array:
    """Return raw images (n, d), flattened in the order `layout`, each changed at random.

    Parameters
    ----------
    kind : {"none", "resized-crop", "pad-crop-flip"}
        See `random_resized_crop` and `pad_crop_flip`.
    rng : numpy.random.Generator
        Generator of the changes. They are drawn on the host, so all backends make the same changes.

    Notes
    -----
    Law: the pixels of the result do not depend on the layout.

    Examples
    --------
    >>> images, rng = np.ones((2, 64), np.uint8), np.random.default_rng(0)
    >>> augment(images, ImageShape(8, 8, 1), "channels-last", "pad-crop-flip", rng).shape
    (2, 64)
    """
    xp, (height, width, channels) = array_namespace(inputs), image_shape
    planes = layout == "channels-first" or channels == 1
    if kind == "pad-crop-flip":
        shape = (-1, channels, height, width, 1) if planes else (-1, 1, height, width, channels)
        return xp.reshape(pad_crop_flip(xp.reshape(inputs, shape), rng), inputs.shape)
    if kind == "resized-crop" and planes:
        images = xp.reshape(inputs, (-1, channels, height, width))
        return xp.reshape(random_resized_crop(images, rng), inputs.shape)
    if kind == "resized-crop":
        images = xp.permute_dims(xp.reshape(inputs, (-1, *image_shape)), (0, 3, 1, 2))
        whole = xp.reshape(xp.reshape(images, (-1,)), images.shape)  # contiguous, for the products
        return xp.reshape(xp.permute_dims(random_resized_crop(whole, rng), (0, 2, 3, 1)), inputs.shape)
    return inputs


def pad_crop_flip(images: Array, rng: np.random.Generator, *, padding: int = 4) -> Array:
    """Shift each image by up to `padding` pixels in both directions, and mirror half of the images.

    Each image is surrounded by `padding` zero pixels. A window of the original size is cut out at a uniformly
    random place and flipped horizontally with probability 1/2 (He et al. 2016, section 4.2).

    Parameters
    ----------
    images : (n, planes, height, width, m)
        m numbers for each pixel of a plane: channels first with m = 1, channels last with one plane.

    Returns
    -------
    (n, planes, height, width, m)
        With the dtype of the images.

    Notes
    -----
    Law: all planes of an image are changed alike; with padding 0 an image is returned or mirrored, bit for
    bit.
    Cost: one copy of three numbers per image to the device, and one gather.

    Examples
    --------
    >>> image = np.arange(3.0).reshape(1, 1, 1, 3, 1)
    >>> pad_crop_flip(image, np.random.default_rng(1), padding=1).ravel()
    array([2., 1., 0.])
    """
    xp, device = array_namespace(images), images.device
    n, planes, height, width, m = images.shape
    tall, wide = height + 2 * padding, width + 2 * padding
    drawn = rng.integers(0, [2 * padding + 1, 2 * padding + 1, 2], (n, 3)).T
    placed = backend_of(images).asarray(drawn)
    padded = xp.zeros((n, planes, tall, wide, m), dtype=images.dtype, device=device)
    padded[:, :, padding : padding + height, padding : padding + width, :] = images
    column = xp.arange(width, device=device)
    columns = placed[1, :, None] + xp.where(placed[2, :, None] == 1, width - 1 - column, column)  # (n, width)
    rows = placed[0, :, None] + xp.arange(height, device=device)  # (n, height)
    first = xp.reshape(tall * xp.arange(n * planes, device=device), (n, planes, 1, 1))
    pixels = (first + rows[:, None, :, None]) * wide + columns[:, None, None, :]
    taken = xp.take(xp.reshape(padded, (-1, m)), xp.reshape(pixels, (-1,)), axis=0)
    return xp.reshape(taken, images.shape)
