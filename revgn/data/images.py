"""Axes of stored images. A data set holds images flattened channels first, whatever their order in a file."""

import numpy as np

from revgn.data.dataset import HostArray, ImageShape, Layout
from revgn.data.settings import LayoutChoice
from revgn.errors import DataError


def stored_images(
    shape: tuple[int, ...], layout: LayoutChoice, where: str
) -> tuple[ImageShape, Layout] | None:
    """Return the shape of images in an array and the order of its axes; None if there are no images.

    With the layout "auto", inputs (n, height, width) are images of one channel. Inputs with four axes are
    images if exactly one of their axes 1 and 3 has the length 1 or 3: the axis of the channels.

    Raises
    ------
    DataError
        If a layout is given, but the inputs do not have four axes.

    Examples
    --------
    >>> stored_images((100, 32, 32, 3), "auto", "mine.npz")
    (ImageShape(channels=3, height=32, width=32), 'channels-last')
    """
    if layout != "auto" and len(shape) != 4:
        raise DataError(f"{where} inputs have shape {shape}; layout {layout} needs four axes")
    if len(shape) == 3:
        return ImageShape(1, *shape[1:]), "channels-first"
    if len(shape) != 4:
        return None
    is_first, is_last = shape[1] in (1, 3), shape[3] in (1, 3)
    if layout == "channels-first" or (layout == "auto" and is_first and not is_last):
        return ImageShape(*shape[1:]), "channels-first"
    if layout == "channels-last" or (is_last and not is_first):
        return ImageShape(shape[3], *shape[1:3]), "channels-last"
    return None


def flat_images(inputs: HostArray, layout: LayoutChoice, where: str) -> HostArray:
    """Return inputs (n, ...) as (n, d); images are flattened channels first."""
    stored = stored_images(inputs.shape, layout, where)
    if stored is not None and stored[1] == "channels-last":
        inputs = np.moveaxis(inputs, -1, 1)
    return inputs.reshape(inputs.shape[0], -1)
