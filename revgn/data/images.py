"""Images as rows: the axes of stored images, and the order in which images are flattened.

Data sets hold images flattened channels first. A network of convolutions takes them channels last; see
`with_layout`. The two orders are the same for images of one channel.
"""

from dataclasses import replace

import numpy as np

from revgn.data.dataset import Dataset, HostArray, ImageShape, Layout, Part
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
    (ImageShape(height=32, width=32, channels=3), 'channels-last')
    """
    if layout != "auto" and len(shape) != 4:
        raise DataError(f"{where} inputs have shape {shape}; layout {layout} needs four axes")
    if len(shape) == 3:
        return ImageShape(*shape[1:], 1), "channels-first"
    if len(shape) != 4:
        return None
    is_first, is_last = shape[1] in (1, 3), shape[3] in (1, 3)
    if layout == "channels-first" or (layout == "auto" and is_first and not is_last):
        return ImageShape(*shape[2:], shape[1]), "channels-first"
    if layout == "channels-last" or (is_last and not is_first):
        return ImageShape(*shape[1:]), "channels-last"
    return None


def channels_first(inputs: HostArray, image_shape: ImageShape) -> HostArray:
    """Return flat images (n, height width channels) as (n, channels height width)."""
    last = inputs.reshape(*inputs.shape[:-1], *image_shape)
    return np.moveaxis(last, -1, -3).reshape(inputs.shape)


def channels_last(inputs: HostArray, image_shape: ImageShape) -> HostArray:
    """Return flat images (n, channels height width) as (n, height width channels).

    Notes
    -----
    Law: `channels_first` is the inverse.
    """
    height, width, channels = image_shape
    first = inputs.reshape(*inputs.shape[:-1], channels, height, width)
    return np.moveaxis(first, -3, -1).reshape(inputs.shape)


def with_layout(dataset: Dataset, layout: Layout) -> Dataset:
    """Return a data set with its images, and their shift and scale, flattened in the order `layout`.

    Notes
    -----
    Law: a normalized image has the same numbers in both orders. Tables do not change.
    Cost: a copy of the images, unless they have one channel or the order already.
    """
    shape = dataset.image_shape
    if shape is None or layout == dataset.layout:
        return dataset
    if shape.channels == 1:
        return replace(dataset, layout=layout)
    reorder = channels_last if layout == "channels-last" else channels_first

    def reordered(part: Part) -> Part:
        return replace(part, inputs=reorder(part.inputs, shape))

    return replace(
        dataset,
        train=reordered(dataset.train),
        test=reordered(dataset.test),
        validation=None if dataset.validation is None else reordered(dataset.validation),
        shift=reorder(dataset.shift, shape),
        scale=reorder(dataset.scale, shape),
        layout=layout,
    )
