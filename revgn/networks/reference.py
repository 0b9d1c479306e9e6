"""Construction of networks: the general architecture, and the paper's networks by name.

The paper's text uses ReLU in all couplings. Its published code uses the identity in both couplings of the
first block, so that their features are linear in the input. The field `first_block` selects the variant.
Names in `REFERENCE` that end in -relu follow the text; the others follow the code. Source: Buffelli et al.
2024, section 5 and appendix.
"""

import math
from typing import Any, Literal, TypeAlias

import numpy as np

from revgn._dispatch import generic
from revgn.arrays import Backend, DType
from revgn.errors import UsageError
from revgn.layers import Activation, Coupling, draw_coupling, draw_readout, trained_features
from revgn.maps import Layer
from revgn.networks.chain import Activations, Chain
from revgn.networks.network import Network
from revgn.networks.stem import Padding
from revgn.structs import setting, struct

Projection: TypeAlias = Literal["frozen", "trained"]
Features: TypeAlias = int | tuple[int, int, int]


@struct
class Architecture:
    """Reversible network of L = `blocks` blocks. A block is two couplings with h = `hidden` features each."""

    blocks: int = setting("Number of blocks; a block is two couplings.", default=2, ge=1, le=10**6)
    hidden: int = setting("Number of hidden features of each coupling.", default=512, ge=1, le=10**9)
    activation: Activation = setting("Activation function of the couplings.", default="relu")
    first_block: Literal["same", "identity", "relu"] = setting(
        "Activation function of the first block; same: as in the other blocks.", default="same"
    )
    activations: Activations = setting(
        "Keep activations in memory for the backward pass, or rebuild them with the inverse.",
        default="keep",
        resumable=True,
    )
    init_scale: float = setting(
        "Standard deviation of the initial weights; with 0 every block is the identity at initialization.",
        default=1e-3,
        ge=0,
    )
    projection: Projection = setting(
        "Projection to the hidden features: trained, or drawn once and frozen.", default="frozen"
    )
    padding: int | None = setting(
        "Number of zero columns appended to the inputs; by default as many as the outputs need.",
        default=None,
        ge=0,
        le=10**9,
    )

    @property
    def block_count(self) -> int:
        """Number of blocks."""
        return self.blocks


REFERENCE: dict[str, Architecture] = {
    "paper-mnist": Architecture(2, 8000, "relu", "identity"),
    "paper-mnist-relu": Architecture(2, 8000, "relu", "relu"),
    "paper-cifar10": Architecture(6, 8000, "relu", "identity"),
    "paper-cifar10-relu": Architecture(6, 8000, "relu", "relu"),
}
"""The paper's networks. They have 12,545,568 trained weights for MNIST and 147,474,432 for CIFAR-10."""


@generic
def draw_network(  # type: ignore[empty-body]
    architecture: Any,
    features: Features,
    outputs: int,
    rng: np.random.Generator,
    *,
    width: int | None = None,
    backend: Backend | None = None,
    dtype: DType = None,
) -> Network:
    """Return a network with d = `features` inputs and c = `outputs` outputs, drawn from `rng`.

    Parameters
    ----------
    architecture : Architecture or Convolutional
        Structure of the network.
    features : int or (int, int, int)
        Number d of inputs, or channels, height and width of images, which are flattened in this order. A
        convolutional network needs images.
    width
        Columns of each half, to which the inputs are padded with zeros. Default: set by the `padding` of the
        architecture; see `padded_width`. A network has at most 2 `width` outputs.
    backend, dtype
        Array library with device, and dtype, of the frozen arrays. Default: NumPy and float64.

    Raises
    ------
    ShapeError
        If there are more outputs than columns in both halves, or more inputs.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> len(network.body.layers)
    2
    """


@draw_network.register(Architecture)
def draw_dense(
    architecture: Architecture,
    features: Features,
    outputs: int,
    rng: np.random.Generator,
    *,
    width: int | None = None,
    backend: Backend | None = None,
    dtype: DType = None,
) -> Network:
    features = features if isinstance(features, int) else math.prod(features)
    width, hidden = width or padded_width(architecture, features, outputs), architecture.hidden
    stem = None if width == (features + 1) // 2 else Padding(features, width)
    layers: list[Layer] = []
    for k in range(2 * architecture.blocks):
        half: Literal[0, 1] = 0 if k % 2 == 0 else 1
        activation = architecture.activation
        if k < 2 and architecture.first_block != "same":
            activation = architecture.first_block
        if architecture.projection == "trained":
            own = trained_features(width, hidden, activation=activation, backend=backend, dtype=dtype)
            layers.append(Coupling(half, own))
            continue
        layers.append(
            draw_coupling(
                half,
                width,
                hidden,
                rng,
                activation="linear" if activation == "identity" and width <= hidden else activation,
                backend=backend,
                dtype=dtype,
            )
        )
    readout = draw_readout(width, outputs, rng, backend=backend, dtype=dtype)
    return Network(features, Chain(tuple(layers), architecture.activations), readout, stem)


def padded_width(architecture: Architecture, features: int, outputs: int) -> int:
    """Return the number of columns of each half, for d = `features` inputs and c = `outputs` outputs.

    It is (d + padding)/2, rounded up. If the architecture leaves `padding` open, it is max(d, c)/2, rounded
    up.

    Raises
    ------
    UsageError
        If the padding is not sufficient for the outputs.

    Examples
    --------
    >>> padded_width(Architecture(), 1, 3), padded_width(Architecture(padding=5), 1, 3)
    (2, 3)
    """
    if architecture.padding is None:
        return (max(features, outputs) + 1) // 2
    width = (features + architecture.padding + 1) // 2
    if outputs > 2 * width:
        least = 2 * ((outputs + 1) // 2) - 1 - features
        raise UsageError(
            f"network.padding: {architecture.padding} for {features} inputs and {outputs} outputs; expected "
            f"at least {least}, since a network has at most as many outputs as columns"
        )
    return width
