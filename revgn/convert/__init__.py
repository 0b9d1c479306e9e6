"""Networks from and to PyTorch (extra `torch`).

`to_torch` returns a plain PyTorch module with the weights of a network. Its classes are defined in
`revgn/convert/modules.py`, a file that needs only PyTorch. `from_torch` reads a state dict of such a module,
for instance after further training in PyTorch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from revgn.arrays import to_host
from revgn.convert.arrays import from_arrays, to_arrays
from revgn.data.dataset import HostArray
from revgn.errors import ShapeError, UsageError
from revgn.maps import init
from revgn.networks import ChainParams, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["from_arrays", "from_torch", "to_arrays", "to_torch"]


def to_torch(network: Network, params: ChainParams) -> "nn.Module":
    """Return the PyTorch module of a network: the same outputs, for inputs of the same dtype.

    The module is on the CPU, even if the network is on a GPU. Frozen arrays have `requires_grad`
    False.

    Parameters
    ----------
    network, params
        Network and its parameters, as from `revgn.rebuild`.

    Raises
    ------
    UsageError
        If PyTorch is not installed.
    UnsupportedMapError
        If a layer or a stem has no PyTorch module.

    Notes
    -----
    Law: to_torch(network, params)(x) = forward(network, params, x), to the accuracy of the dtype.

    Examples
    --------
    >>> import revgn
    >>> run = revgn.rebuild(revgn.open_run("runs/first"))
    >>> module = revgn.convert.to_torch(run.network, run.params)  # doctest: +SKIP
    >>> torch.save(module.state_dict(), "network.pt")  # doctest: +SKIP
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError("to_torch: torch is not installed; pip install 'revgn[torch]'") from None
    from revgn.convert.build import module_of

    return module_of(network, params)


def from_torch(
    network: Network, state: "nn.Module | Mapping[str, Tensor | HostArray]"
) -> tuple[Network, ChainParams]:
    """Return the network with the frozen arrays of a PyTorch module, and the parameters.

    Parameters
    ----------
    network : Network
        A network of the same structure, such as the one from which the module was made, or one drawn by
        `draw_network` from the same settings. The arrays get its dtype and device.
    state : Module or mapping
        The module, or its state dict, of tensors or NumPy arrays.

    Raises
    ------
    ShapeError
        If names or shapes differ from the network.

    Notes
    -----
    Law: from_torch(network, to_torch(network, params)) returns the network and params, bit by bit.

    Examples
    --------
    >>> import revgn
    >>> run = revgn.rebuild(revgn.open_run("runs/first"))
    >>> network, params = from_torch(run.network, to_arrays(run.network, run.params))
    >>> bool((params[0].weight == run.params[0].weight).all())
    True
    """
    state = state.state_dict() if hasattr(state, "state_dict") else state
    arrays = {name: _host(array) for name, array in state.items()}
    expected = to_arrays(network, init(network, np.random.default_rng(0), 0.0))
    for name in sorted(expected.keys() ^ arrays.keys()):
        holder = "state dict" if name in expected else "network"
        raise ShapeError(f"from_torch: the {holder} has no {name}; expected a network of the same structure")
    for name, array in expected.items():
        if arrays[name].shape != array.shape:
            raise ShapeError(
                f"from_torch: {name} has shape {arrays[name].shape}; the network has {array.shape}"
            )
    found: tuple[Network, ChainParams] = from_arrays(network, arrays)
    return found


def _host(array: Any) -> HostArray:
    """Return a tensor or an array as a NumPy array."""
    found: HostArray = array.detach().cpu().numpy() if hasattr(array, "detach") else to_host(array)
    return found
