"""Building networks: the general architecture, and the paper's reference set-ups by name.

The paper's text has ReLU in all couplings; its published code has the identity in both couplings of
the first block (features linear in the input). `first_block` chooses; the names without a suffix are
the code's version. Source: Buffelli et al. 2024, section 5 and appendix.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from revgn.arrays import Backend, DType
from revgn.errors import UsageError
from revgn.layers import ACTIVATIONS, Activation, draw_coupling, draw_readout
from revgn.maps import Layer
from revgn.networks.chain import Activations, Chain
from revgn.networks.network import Network


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network is made of: L blocks of two couplings with h hidden features each.

    Parameters
    ----------
    blocks, hidden : int
        L and h.
    activation : {"relu", "identity", "tanh", "gelu"}
    first_block : {"same", "identity", "relu"}
        Activation of the first block's couplings, if not the same.
    activations : {"keep", "rebuild"}
        Keep the couplings' features for the backward pass, or rebuild them by the inverse.
    """

    blocks: int
    hidden: int
    activation: Activation = "relu"
    first_block: Literal["same", "identity", "relu"] = "same"
    activations: Activations = "keep"


REFERENCE: dict[str, Architecture] = {
    "paper-mnist": Architecture(2, 8000, "relu", "identity"),
    "paper-mnist-relu": Architecture(2, 8000, "relu", "relu"),
    "paper-cifar10": Architecture(6, 8000, "relu", "identity"),
    "paper-cifar10-relu": Architecture(6, 8000, "relu", "relu"),
}
"""The paper's networks; with d = 784 and 3072 they have 12,545,568 and 147,474,432 trained weights."""


def draw_network(
    architecture: Architecture,
    features: int,
    outputs: int,
    rng: np.random.Generator,
    *,
    backend: Backend | None = None,
    dtype: DType = None,
) -> Network:
    """Network of d = `features` inputs and c = `outputs`, its frozen arrays drawn from `rng`.

    Parameters
    ----------
    backend, dtype
        Library, device and dtype of the frozen arrays; NumPy and float64 unless given.

    Raises
    ------
    UsageError
        If there is no block or no hidden feature, or an activation is unknown.
    ShapeError
        If there are more outputs than features.
    """
    for name in (architecture.activation, architecture.first_block):
        if name not in (*ACTIVATIONS, "same"):
            raise UsageError(f"draw_network: activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    if architecture.blocks < 1 or architecture.hidden < 1:
        raise UsageError(
            f"draw_network: {architecture.blocks} blocks of {architecture.hidden} hidden features; "
            "expected at least 1 of each"
        )
    width, hidden = (features + 1) // 2, architecture.hidden
    layers: list[Layer] = []
    for k in range(2 * architecture.blocks):
        half: Literal[0, 1] = 0 if k % 2 == 0 else 1
        activation: Activation | Literal["linear"] = architecture.activation
        if k < 2 and architecture.first_block != "same":
            activation = architecture.first_block
        if activation == "identity" and width <= hidden:
            activation = "linear"
        layers.append(
            draw_coupling(half, width, hidden, rng, activation=activation, backend=backend, dtype=dtype)
        )
    readout = draw_readout(width, outputs, rng, backend=backend, dtype=dtype)
    return Network(features, Chain(tuple(layers), architecture.activations), readout)


def parameter_count(architecture: Architecture, features: int) -> int:
    """Trained weights of a network of `features` inputs: 2L (h+1) d/2."""
    return 2 * architecture.blocks * (architecture.hidden + 1) * ((features + 1) // 2)
