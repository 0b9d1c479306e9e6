"""Random resized crops: the one augmentation of the paper's CIFAR-10 runs."""

import numpy as np

from revgn.data.dataset import HostArray

_ATTEMPTS = 10


def random_resized_crop(
    images: HostArray,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> HostArray:
    """Cut a random window out of each image and stretch it, bilinearly, to the image's size.

    The window's area is uniform in `scale` (as a share of the image), its width over height
    log-uniform in `ratio`; of ten draws the first that fits is taken, else the largest central
    window whose ratio is allowed (the rule of torchvision's RandomResizedCrop).

    Parameters
    ----------
    images : (n, channels, height, width)
        Integers are worked on as float32.

    Returns
    -------
    (n, channels, height, width)
        Floating-point numbers.

    Notes
    -----
    Law: a window that is the whole image gives the image back, bit for bit.
    Cost: two batched products, n channels height width (height + width).
    """
    height, width = images.shape[2:]
    top, left, tall, wide = _draw_windows(rng, images.shape[0], height, width, scale, ratio)
    dtype = images.dtype if images.dtype.kind == "f" else np.dtype(np.float32)
    R = _interpolation(top, tall, height).astype(dtype)  # (n, height, height)
    C = _interpolation(left, wide, width).astype(dtype)  # (n, width, width)
    cropped: HostArray = (
        R[:, np.newaxis] @ images.astype(dtype, copy=False) @ C.transpose(0, 2, 1)[:, np.newaxis]
    )
    return cropped


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


def _interpolation(start: HostArray, length: HostArray, size: int) -> HostArray:
    """Return (n, size, size): row o holds the weights with which the old pixels make the new pixel o.

    Pixel centres lie at halves; the place that new pixel o reads is held inside the window, and the
    weights are the hat function about it.
    """
    place = (np.arange(size) + 0.5) * length[:, np.newaxis] / size - 0.5
    place = start[:, np.newaxis] + np.clip(place, 0, length[:, np.newaxis] - 1)
    weights: HostArray = np.maximum(0, 1 - np.abs(place[:, :, np.newaxis] - np.arange(size)))
    return weights
