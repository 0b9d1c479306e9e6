"""Read a folder of PNG and JPEG images with one folder per class.

pictures/cat/1.png         pictures/dog/1.png          a part of the images becomes the test set
pictures/train/cat/1.png   pictures/test/cat/1.png     the test set is given
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from revgn.data.archives import check_room
from revgn.data.assemble import Rows
from revgn.data.dataset import HostArray, reading
from revgn.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_AXES: Mapping[str, tuple[int, ...]] = {"L": (), "RGB": (3,)}  # axes of a pixel, by Pillow's mode
_EXPECTED = "expected L (8-bit grey levels) or RGB; convert it with an image editor"
_OF_SYSTEM = ("thumbs.db", "desktop.ini")  # files that Windows leaves in folders
_ORDER_TAG = 0xF01DE5  # separates the order of the images from all other random draws


class Labeled(NamedTuple):
    """A file, and the number of its class."""

    path: Path
    label: int


def read_folder(folder: Path) -> tuple[Rows, Rows | None, tuple[str, ...]]:
    """Read all images of a folder; return the training set, the test set if there is one, and the classes.

    Images are (n, height, width) for grey levels and (n, height, width, 3) for colours, in a fixed random
    order, so that the first images are of all classes. Hidden files are skipped, and so are
    Thumbs.db and desktop.ini.

    Raises
    ------
    DataError
        If a file is not an image, is damaged, or has another size or mode than the first one, or if the
        folders are not as above; the message names the file or folder.

    Notes
    -----
    Cost: about 0.1 ms for a file of 32 x 32 pixels.
    """
    inside = [path.name for path in _folders(folder)]
    places = [folder / "train", folder / "test"] if {"train", "test"} & set(inside) else [folder]
    if len(places) == 2 and set(inside) != {"train", "test"}:
        raise DataError(
            f"{folder}: holds {', '.join(inside)}; expected train and test, or one folder per class"
        )
    classes = tuple(path.name for path in _folders(places[0]))
    if len(classes) < 2:
        raise DataError(
            f"{places[0]}: holds {', '.join(classes) or 'no folder'}; expected one folder per class, and "
            "at least two classes"
        )
    sets = [_labeled(place, classes) for place in places]
    found = read_images([file.path for files in sets for file in files], folder)
    train, test = found[: len(sets[0])], found[len(sets[0]) :]
    rows = [
        Rows(images, np.array([file.label for file in files]))
        for images, files in zip((train, test), sets, strict=False)
    ]
    return rows[0], rows[1] if len(rows) == 2 else None, classes


def _visible(folder: Path) -> list[Path]:
    with reading(folder, OSError):
        paths = (path for path in folder.iterdir() if path.name.lower() not in _OF_SYSTEM)
        return sorted(path for path in paths if not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder` by name; an image beside them would have no class."""
    paths = _visible(folder)
    for path in paths:
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            raise DataError(f"{path}: lies outside the folders of the classes")
    return [path for path in paths if path.is_dir()]


def _labeled(place: Path, classes: Sequence[str]) -> list[Labeled]:
    """Return the files of a training or test set in random order."""
    files = []
    for folder in _folders(place):
        if folder.name not in classes:
            raise DataError(f"{folder}: the training set has no class {folder.name!r}")
        paths = _visible(folder)
        if not paths:
            raise DataError(f"{folder}: holds no images")
        for path in paths:
            if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
                raise DataError(f"{path}: is not a PNG or JPEG file; move it out of the folder")
        files += [Labeled(path, classes.index(folder.name)) for path in paths]
    if not files:
        raise DataError(f"{place}: holds no images")
    order = np.random.default_rng(_ORDER_TAG).permutation(len(files))
    return [files[number] for number in order]


@contextmanager
def _few_pixels(path: Path) -> Iterator[None]:
    from PIL import Image

    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{path}: has more pixels than can be read safely") from None


def read_images(paths: Sequence[Path], folder: Path) -> HostArray:
    """Return the pixels of all files, which must have one size and mode."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"{folder}: Pillow is not installed (pip install 'revgn[images]')") from None
    images: HostArray = np.empty(0, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for number, path in enumerate(paths):
            with reading(path), _few_pixels(path), Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.mode not in _AXES:
                    raise DataError(f"{path}: has the mode {image.mode}; {_EXPECTED}")
                shape = (*image.size[::-1], *_AXES[image.mode])
                if not number:
                    check_room(folder, "the images", len(paths) * math.prod(shape))
                    images = np.empty((len(paths), *shape), np.uint8)
                if shape != images.shape[1:]:
                    raise DataError(
                        f"{path}: has the shape {shape}, but {paths[0]} has {images.shape[1:]}; all images "
                        "must have one size, and be either grey or coloured"
                    )
                images[number] = image
    return images
