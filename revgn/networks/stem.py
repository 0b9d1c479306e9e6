"""Stems: linear maps from inputs x (n, d) to the two halves of a network, with zeros in the new columns.

A stem S has orthonormal columns: it moves each number of x to a place of its own and fills all other places
with zeros. Its transpose is therefore its left inverse, and the network is a bijection of the padded space.
"""

from dataclasses import dataclass

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, array_namespace
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
    """Return x (n, m) with zero columns appended up to `columns`; x itself if it has so many."""
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
