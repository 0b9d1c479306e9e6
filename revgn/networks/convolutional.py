"""Convolutional reversible networks for images, of several stages.

    x --stem--> halves --stage 1--> squeeze --stage 2--> ... --readout--> z

The stem groups f x f pixels, f = `squeeze`, and pads the channels with zeros. A stage consists of blocks,
each of two couplings whose features are convolutions (`revgn.layers.convolution`). Between two stages, a
squeeze turns 2 x 2 pixels into channels. The network is a bijection of the padded images. The readout takes
the mean over the pixels of the last stage, or reads all of them.
"""

from typing import Literal

import numpy as np

from revgn.arrays import Backend, DType, Grid
from revgn.errors import UsageError
from revgn.layers import Activation, Coupling, Squeeze, draw_convolution, draw_readout
from revgn.maps import Layer
from revgn.networks.chain import Activations, Chain
from revgn.networks.network import Network
from revgn.networks.reference import Features, Projection, draw_network
from revgn.networks.stem import ImageStem
from revgn.structs import FieldError, setting, struct


@struct
class Convolutional:
    """Convolutional reversible network; `blocks` and `hidden` have one number for each stage."""

    channels: int = setting(
        "Channels of both halves in the first stage; zeros are appended to the channels of the images.",
        default=32,
        ge=2,
        le=10**6,
    )
    blocks: tuple[int, ...] = setting(
        "Number of blocks of each stage; a block is two couplings.", default=(2, 2), ge=1, le=10**6
    )
    hidden: tuple[int, ...] = setting(
        "Number of hidden features at each pixel, for the couplings of each stage.",
        default=(96, 192),
        ge=1,
        le=10**9,
    )
    kernel: int = setting("Size k of the k x k neighbourhoods of a convolution; odd.", default=3, ge=1, le=99)
    squeeze: int = setting(
        "Size f of the squares of f x f pixels that become one pixel before the first stage.",
        default=2,
        ge=1,
        le=1000,
    )
    projection: Projection = setting(
        "Projection to the hidden features: trained, or drawn once and frozen.", default="trained"
    )
    activation: Activation = setting("Activation function of the couplings.", default="relu")
    readout: Literal["pooled", "dense"] = setting(
        "Readout from the mean over the pixels of the last stage, or from all of its pixels.",
        default="pooled",
    )
    activations: Activations = setting(
        "Keep activations in memory for the backward pass, or rebuild them with the inverse.",
        default="keep",
        resumable=True,
    )
    init_scale: float = setting(
        "Standard deviation of the initial weights; with 0 every block is the identity at initialization.",
        # chosen among 0.02, 0.05 and 0.1: suits both first-order methods and exact steps on CIFAR-10
        default=0.05,
        ge=0,
    )

    def check(self) -> None:
        """Raise `FieldError` unless the numbers fit together."""
        name, stages = type(self).__name__, len(self.blocks)
        if stages != len(self.hidden) or not stages:
            reason = f"{stages} stages, but hidden has {len(self.hidden)}; expected as many in both"
            raise FieldError(name, "blocks", reason)
        if self.channels % 2:
            reason = f"{self.channels} cannot be divided into two halves; expected an even number"
            raise FieldError(name, "channels", reason)
        if self.kernel % 2 == 0:
            raise FieldError(name, "kernel", f"{self.kernel} has no center; expected an odd number")

    @property
    def block_count(self) -> int:
        """Number of blocks of all stages."""
        return sum(self.blocks)


@draw_network.register(Convolutional)
def draw_convolutional(
    architecture: Convolutional,
    features: Features,
    outputs: int,
    rng: np.random.Generator,
    *,
    width: int | None = None,
    backend: Backend | None = None,
    dtype: DType = None,
) -> Network:
    if isinstance(features, int):
        raise UsageError(
            f"network convolutional: needs images, but the inputs are {features} numbers; if they are images "
            "in a file, set data.layout (--layout)"
        )
    if width is not None:
        raise UsageError("network convolutional: pads its inputs to channels, and takes no width")
    grid, stem = _stem(architecture, features)
    layers: list[Layer] = []
    for stage, (blocks, hidden) in enumerate(zip(architecture.blocks, architecture.hidden, strict=True)):
        if stage:
            between = Squeeze(grid._replace(kernel=1))
            layers.append(between)
            grid = between.after._replace(kernel=architecture.kernel)
        for k in range(2 * blocks):
            half: Literal[0, 1] = 0 if k % 2 == 0 else 1
            convolution = draw_convolution(
                grid,
                hidden,
                rng,
                activation=architecture.activation,
                projection=architecture.projection,
                backend=backend,
                dtype=dtype,
            )
            layers.append(Coupling(half, convolution))
    is_pooled = architecture.readout == "pooled"
    readout = draw_readout(
        grid.channels if is_pooled else grid.size,
        outputs,
        rng,
        pixels=grid.pixels if is_pooled else 1,
        backend=backend,
        dtype=dtype,
    )
    features = stem.channels * stem.height * stem.width
    return Network(features, Chain(tuple(layers), architecture.activations), readout, stem)


def _stem(architecture: Convolutional, shape: tuple[int, int, int]) -> tuple[Grid, ImageStem]:
    """Return the grid of the first stage, and the stem for images (channels, height, width)."""
    (c, height, width), f = shape, architecture.squeeze
    if architecture.channels < f * f * c:
        raise UsageError(
            f"network.channels: {architecture.channels} is less than the {f * f * c} channels of the images "
            f"after {f} x {f} pixels have become one; expected at least {f * f * c + (f * f * c) % 2}"
        )
    last = 2 ** (len(architecture.blocks) - 1)  # total factor of the squeezes between the stages
    high, wide = (last * -(-size // (f * last)) for size in (height, width))
    grid = Grid(high, wide, architecture.channels // 2, architecture.kernel)
    return grid, ImageStem(c, height, width, grid._replace(kernel=1), f)
