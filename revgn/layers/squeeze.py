"""Squeeze: groups of pixels become channels (space to depth). It has no parameters.

Each square of f x f pixels with q channels becomes one pixel with f f q channels, in both halves. This is a
permutation of the numbers of an image, so that the layer is orthogonal: its inverse, and the inverse of its
derivative, are its transpose. Source: Dinh et al. 2017 (RealNVP), section 3.6.

Shapes: halves (n, H W q), before and after. Numbers within a new pixel are ordered by row, column, channel.
"""

from dataclasses import dataclass

import numpy as np

from revgn import maps
from revgn.arrays import Array, Grid, array_namespace
from revgn.cost import LayerCost, layer_cost
from revgn.errors import ShapeError
from revgn.maps import Halves


@dataclass(frozen=True, slots=True)
class Squeeze:
    """Squeeze of images of size `grid`: each square of f x f pixels becomes one pixel, f = `factor`.

    Raises
    ------
    ShapeError
        If f does not divide height and width.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> x = np.arange(8.0)[None, :]  # 2 x 4 pixels
    >>> revgn.forward(Squeeze(Grid(2, 4, 1)), (), revgn.Halves(x, -x)).first
    array([[0., 1., 4., 5., 2., 3., 6., 7.]])
    """

    grid: Grid
    factor: int = 2

    def __post_init__(self) -> None:
        H, W, f = self.grid.height, self.grid.width, self.factor
        if H % f or W % f:
            raise ShapeError(
                f"Squeeze: {H} x {W} pixels cannot be grouped into squares of {f} x {f}; pad the images"
            )

    @property
    def after(self) -> Grid:
        """Size of the images after the squeeze."""
        H, W, q, _ = self.grid
        f = self.factor
        return Grid(H // f, W // f, f * f * q)


def squeezed(x: Array, grid: Grid, factor: int) -> Array:
    """Return images x (.., H W q) with the pixels of each square next to each other."""
    H, W, q, _ = grid
    return _permuted(x, (H // factor, factor, W // factor, factor, q))


def unsqueezed(y: Array, grid: Grid, factor: int) -> Array:
    """Return the images x (.., H W q) with squeezed(x) = y."""
    H, W, q, _ = grid
    return _permuted(y, (H // factor, W // factor, factor, factor, q))


@maps.init.register(Squeeze)
def init_squeeze(layer: Squeeze, rng: np.random.Generator, scale: float) -> tuple[()]:
    return ()


@maps.forward.register(Squeeze)
def forward_squeeze(layer: Squeeze, params: tuple[()], x: Halves) -> Halves:
    maps.check_halves("forward", layer, x, layer.grid.size)
    return _there(layer, x)


@maps.inverse.register(Squeeze)
def inverse_squeeze(layer: Squeeze, params: tuple[()], y: Halves) -> Halves:
    maps.check_halves("inverse", layer, y, layer.grid.size)
    return _back(layer, y)


@maps.linearize.register(Squeeze)
def linearize_squeeze(layer: Squeeze, params: tuple[()], x: Halves) -> tuple[Halves, tuple[()]]:
    maps.check_halves("linearize", layer, x, layer.grid.size)
    return _there(layer, x), ()


@maps.linearize_inverse.register(Squeeze)
def linearize_inverse_squeeze(layer: Squeeze, params: tuple[()], y: Halves) -> tuple[Halves, tuple[()]]:
    maps.check_halves("linearize_inverse", layer, y, layer.grid.size)
    return _back(layer, y), ()


@maps.jvp_input.register(Squeeze)
def jvp_input_squeeze(layer: Squeeze, params: tuple[()], point: tuple[()], dx: Halves) -> Halves:
    return _there(layer, dx)


@maps.jvp_inverse.register(Squeeze)
def jvp_inverse_squeeze(layer: Squeeze, params: tuple[()], point: tuple[()], dy: Halves) -> Halves:
    return _back(layer, dy)


@maps.vjp_input.register(Squeeze)
def vjp_input_squeeze(layer: Squeeze, params: tuple[()], point: tuple[()], y_bar: Halves) -> Halves:
    return _back(layer, y_bar)


@layer_cost.register(Squeeze)
def layer_cost_squeeze(layer: Squeeze, n: int) -> tuple[LayerCost, ...]:
    return ()


def _there(layer: Squeeze, x: Halves) -> Halves:
    return Halves(*(squeezed(half, layer.grid, layer.factor) for half in x))


def _back(layer: Squeeze, y: Halves) -> Halves:
    return Halves(*(unsqueezed(half, layer.grid, layer.factor) for half in y))


def _permuted(x: Array, shape: tuple[int, int, int, int, int]) -> Array:
    """Return x (.., *shape), flattened, with the second and third axis of `shape` exchanged."""
    xp, leading = array_namespace(x), x.shape[:-1]
    first = len(leading)
    axes = (*range(first), first, first + 2, first + 1, first + 3, first + 4)
    swapped = xp.permute_dims(xp.reshape(x, (*leading, *shape)), axes)
    return xp.reshape(swapped, x.shape)
