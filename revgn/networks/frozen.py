"""Frozen arrays of a network: everything that is drawn once and not trained, by path.

A path joins the names of fields and positions, as in "body/layers/0/features/projection".
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from revgn.arrays import Array, Backend, to_host
from revgn.data.dataset import HostArray
from revgn.errors import ShapeError

T = TypeVar("T")


def frozen_arrays(network: Any) -> dict[str, Array]:
    """Return the arrays of a network, or of any nested frozen dataclasses and tuples, by path.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> layer = revgn.draw_coupling(0, 2, 8, np.random.default_rng(0))
    >>> {path: array.shape for path, array in frozen_arrays(layer).items()}
    {'features/projection': (2, 8)}
    """
    found: dict[str, Array] = {}

    def collect(path: str, array: Array) -> Array:
        found[path] = array
        return array

    _mapped(collect, network, "")
    return found


def with_frozen(network: T, arrays: Mapping[str, HostArray], backend: Backend) -> T:
    """Return the network with the given frozen arrays; arrays that are equal already are kept.

    Raises
    ------
    ShapeError
        If the arrays differ from the network's frozen arrays in paths, shapes or dtypes.

    Notes
    -----
    Law: frozen_arrays(with_frozen(network, arrays, backend)) equals `arrays`. Given arrays are stored row by
    row, like drawn ones; kept arrays keep their layout. The last bits of a product depend on the layout.
    """
    own = frozen_arrays(network)
    for path in sorted(own.keys() ^ arrays.keys()):
        holder = "network" if path in own else "file"
        raise ShapeError(f"with_frozen: only the {holder} has a frozen array {path}")

    def chosen(path: str, array: Array) -> Array:
        stored, host = arrays[path], to_host(array)
        if stored.shape != host.shape or stored.dtype != host.dtype:
            raise ShapeError(
                f"with_frozen: {path} has shape {stored.shape} and dtype {stored.dtype}; "
                f"the network has {host.shape} and {host.dtype}"
            )
        return array if (stored == host).all() else backend.asarray(stored)

    return _mapped(chosen, network, "")


def _mapped(function: Callable[[str, Array], Array], part: T, path: str) -> T:
    """Return nested dataclasses and tuples with `function` applied to the path and array of each leaf."""

    def child(name: object, node: Any) -> Any:
        return _mapped(function, node, f"{path}/{name}" if path else str(name))

    if is_dataclass(part) and not isinstance(part, type):
        nodes = {field.name: getattr(part, field.name) for field in fields(part)}
        after = {name: child(name, node) for name, node in nodes.items()}
        changes = {name: node for name, node in after.items() if node is not nodes[name]}
        return replace(part, **changes) if changes else part
    if isinstance(part, tuple):
        names = getattr(part, "_fields", range(len(part)))
        found = [child(name, node) for name, node in zip(names, part, strict=True)]
        if all(new is old for new, old in zip(found, part, strict=True)):
            return part
        return type(part)(*found) if hasattr(part, "_fields") else type(part)(found)
    return function(path, part) if hasattr(part, "shape") and hasattr(part, "dtype") else part  # type: ignore[arg-type, return-value]
