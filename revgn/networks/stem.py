"""Stems: linear maps from inputs x (n, d) to the two halves of a network, with zeros in the new columns.

A stem S has orthonormal columns: it moves each number of x to a place of its own and fills all other places
with zeros. Its transpose is therefore its left inverse, and the network is a bijection of the padded space.
"""

from dataclasses import dataclass

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, Grid, array_namespace, zeros
from revgn.errors import ShapeError
from revgn.maps import Halves


@generic
def to_halves(stem: Struct, x: Array) -> Halves:  # type: ignore[empty-body]
    """Return the halves of x (n, d), of a stem or of a network.

    Notes
    -----
    Law: linear, and |to_halves(x)| = |x|.
    """


@generic
def from_halves(stem: Struct, halves: Halves) -> Array:  # type: ignore[empty-body]
    """Return x (..., n, d) from its halves (..., n, d/2): the transpose of `to_halves`, and its left inverse.

    Notes
    -----
    Law: from_halves(to_halves(x)) = x, and <to_halves(x), y> = <x, from_halves(y)>.
    """


def split(x: Array) -> Halves:
    """Return the two halves of x (n, d). If d is odd, one zero column is appended to x."""
    d = x.shape[1]
    if d % 2:
        x = with_zeros(x, d + 1)
    return Halves(x[:, : (d + 1) // 2], x[:, (d + 1) // 2 :])


def join(halves: Halves, features: int) -> Array:
    """Return x (n, features) from its halves: the inverse of `split`."""
    return array_namespace(halves.first).concat(halves, axis=-1)[..., :features]


def with_zeros(x: Array, columns: int) -> Array:
    """Return x (n, m) with zero columns appended up to `columns`; x itself if it has that many."""
    missing = columns - x.shape[1]
    if not missing:
        return x
    xp = array_namespace(x)
    return xp.concat((x, xp.zeros((x.shape[0], missing), dtype=x.dtype, device=x.device)), axis=1)


@dataclass(frozen=True, slots=True)
class Padding:
    """Stem that splits d = `features` inputs in the middle and pads each half to `width` columns.

    Raises
    ------
    ShapeError
        If a half of the inputs has more than `width` columns.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> to_halves(Padding(3, 4), np.ones((1, 3)))
    Halves(first=array([[1., 1., 0., 0.]]), second=array([[1., 0., 0., 0.]]))
    """

    features: int
    width: int

    def __post_init__(self) -> None:
        if 2 * self.width < self.features:
            raise ShapeError(
                f"Padding: halves of {self.width} columns for {self.features} features; expected at least "
                f"{(self.features + 1) // 2}"
            )


@to_halves.register(Padding)
def to_halves_padded(stem: Padding, x: Array) -> Halves:
    middle = (stem.features + 1) // 2
    return Halves(with_zeros(x[:, :middle], stem.width), with_zeros(x[:, middle:], stem.width))


@from_halves.register(Padding)
def from_halves_padded(stem: Padding, halves: Halves) -> Array:
    middle = (stem.features + 1) // 2
    own = halves.first[..., :middle], halves.second[..., : stem.features - middle]
    return array_namespace(halves.first).concat(own, axis=-1)


@dataclass(frozen=True, slots=True)
class ImageStem:
    """Stem for images x (n, c H W), flattened channels first: the halves hold their channels, channels last.

    Rows and columns of zeros are appended to the images until `grid.height` and `grid.width` times `factor`.
    Each square of f x f pixels, f = `factor`, then becomes a pixel of f f c channels (see `Squeeze`). Half of
    these channels, rounded up, come first in the first half, the others in the second half. All other
    channels of the halves are zero.

    Raises
    ------
    ShapeError
        If the images are larger than the grid, or have more channels than the halves.
    """

    channels: int
    height: int
    width: int
    grid: Grid  # grid of each half
    factor: int = 1

    def __post_init__(self) -> None:
        f, own = self.factor, self.factor**2 * self.channels
        if self.height > f * self.grid.height or self.width > f * self.grid.width:
            raise ShapeError(
                f"ImageStem: images of {self.height} x {self.width} pixels do not fit in "
                f"{f * self.grid.height} x {f * self.grid.width}"
            )
        if 2 * self.grid.channels < own:
            raise ShapeError(
                f"ImageStem: halves of {self.grid.channels} channels for images of {own} channels after "
                f"grouping {f} x {f} pixels; expected at least {(own + 1) // 2}"
            )


@to_halves.register(ImageStem)
def to_halves_image(stem: ImageStem, x: Array) -> Halves:
    xp, n, f = array_namespace(x), x.shape[0], stem.factor
    H, W, q, _ = stem.grid
    c = stem.channels
    images = xp.reshape(x, (n, c, stem.height, stem.width))
    if (stem.height, stem.width) != (f * H, f * W):
        padded = zeros((n, c, f * H, f * W), x)
        padded[:, :, : stem.height, : stem.width] = images
        images = padded
    apart = xp.permute_dims(xp.reshape(images, (n, c, H, f, W, f)), (0, 2, 4, 3, 5, 1))  # (n, H, W, f, f, c)
    pixels = xp.reshape(apart, (n * H * W, f * f * c))
    middle = (f * f * c + 1) // 2
    halves = (with_zeros(part, q) for part in (pixels[:, :middle], pixels[:, middle:]))
    return Halves(*(xp.reshape(half, (n, H * W * q)) for half in halves))


@from_halves.register(ImageStem)
def from_halves_image(stem: ImageStem, halves: Halves) -> Array:
    xp, f = array_namespace(halves.first), stem.factor
    H, W, q, _ = stem.grid
    c = stem.channels
    middle = (f * f * c + 1) // 2
    leading = halves.first.shape[:-1]
    first, second = (xp.reshape(half, (-1, H, W, q)) for half in halves)
    pixels = xp.concat((first[..., :middle], second[..., : f * f * c - middle]), axis=-1)
    apart = xp.permute_dims(xp.reshape(pixels, (-1, H, W, f, f, c)), (0, 5, 1, 3, 2, 4))
    images = xp.reshape(apart, (-1, c, f * H, f * W))[:, :, : stem.height, : stem.width]
    return xp.reshape(images, (*leading, c * stem.height * stem.width))
