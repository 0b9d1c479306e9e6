"""Random resized crops, the only augmentation in the paper's CIFAR-10 experiments."""

import numpy as np

from revgn.arrays import Array, array_namespace, backend_of
from revgn.data.dataset import HostArray

_ATTEMPTS = 10


def random_resized_crop(
    images: Array,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Array:
    """Cut a random window out of each image and resize it bilinearly to the size of the image.

    The area of the window, as a fraction of the image, is uniform in `scale`. Its ratio of width to height is
    log-uniform in `ratio`. Of ten draws, the first window that fits into the image is used. If none fits, the
    largest central window with an allowed ratio is used (the rule of torchvision's RandomResizedCrop).

    Parameters
    ----------
    images : (n, channels, height, width)
        Integers are converted to float32.

    rng : numpy.random.Generator
        Generator of the windows. They are drawn on the host, so all backends use the same windows.

    Returns
    -------
    (n, channels, height, width)
        Floating-point numbers, on the backend of the images.

    Notes
    -----
    Law: if the window is the whole image, the result equals the image, bit for bit.
    Cost: two batched products, n channels height width (height + width).
    """
    xp, backend = array_namespace(images), backend_of(images)
    height, width = images.shape[2:]
    windows = _draw_windows(rng, images.shape[0], height, width, scale, ratio)
    placed = backend.asarray(np.stack(windows), dtype=xp.float64)
    dtype = images.dtype if xp.isdtype(images.dtype, "real floating") else xp.float32
    R = xp.astype(
        _interpolation(placed[0, :], placed[2, :], height), dtype, copy=False
    )  # (n, height, height)
    C = xp.astype(_interpolation(placed[1, :], placed[3, :], width), dtype, copy=False)  # (n, width, width)
    pixels = xp.astype(images, dtype, copy=False)
    return R[:, None, :, :] @ pixels @ xp.permute_dims(C, (0, 2, 1))[:, None, :, :]


def _draw_windows(
    rng: np.random.Generator,
    n: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """Return top, left, height and width of one window for each of `n` images, (n,) each."""
    area = height * width * rng.uniform(*scale, size=(n, _ATTEMPTS))
    aspect = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1]), size=(n, _ATTEMPTS)))
    tall, wide = np.rint(np.sqrt(area / aspect)), np.rint(np.sqrt(area * aspect))
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    first = np.arange(n), fits.argmax(axis=1)
    central_tall = min(height, round(width / ratio[0])) if width < ratio[0] * height else height
    central_wide = min(width, round(height * ratio[1])) if width > ratio[1] * height else width
    found = fits[first]
    tall = np.where(found, tall[first], central_tall).astype(np.int64)
    wide = np.where(found, wide[first], central_wide).astype(np.int64)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    top = np.where(found, top, (height - tall) // 2)
    left = np.where(found, left, (width - wide) // 2)
    return top, left, tall, wide


def _interpolation(start: Array, length: Array, size: int) -> Array:
    """Return (n, size, size): row o holds the weights of the old pixels in the new pixel o.

    Pixel centers are at half-integers. The position of new pixel o in the old image is clipped to the window,
    and the weights are the hat function around this position.
    """
    xp = array_namespace(start)
    pixels = xp.arange(size, dtype=start.dtype, device=start.device)
    zero = xp.zeros((), dtype=start.dtype, device=start.device)
    place = (pixels + 0.5) * length[:, None] / size - 0.5
    place = start[:, None] + xp.minimum(xp.maximum(place, zero), length[:, None] - 1.0)
    return xp.maximum(1.0 - xp.abs(place[:, :, None] - pixels), zero)
