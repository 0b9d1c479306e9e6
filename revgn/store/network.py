"""The file network.h5 of a run: with settings and weights it is all that is needed to use the network.

    attributes    `format_version`, `name` of the data set, `task`, `data_bytes`
    interface     shift and scale of the inputs; target_shift and target_scale of standardized targets;
                  image_shape of images; names of classes, columns and targets
    frozen        the arrays of the network that are drawn once and not trained, by path

Settings are in run.h5 and weights in the checkpoints. The frozen arrays are stored, although the seed
determines them: neither NumPy's random numbers nor the last bit of a QR factorization are the same in all
versions and on all machines. The file is written once, before run.h5. Runs of older versions lack it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from revgn.data.dataset import HostArray, ImageShape
from revgn.data.interface import Interface
from revgn.errors import RunError
from revgn.store import names
from revgn.store.attributes import text
from revgn.store.files import read_attributes, reading, write_hdf5
from revgn.store.migrate import check_version

_ARRAYS = {  # numerical fields of an interface, and their meaning
    "shift": "subtracted from the inputs",
    "scale": "factor of the inputs, after the shift",
    "target_shift": "subtracted from the targets",
    "target_scale": "factor of the targets, after the shift",
    "image_shape": "channels, height and width of the inputs, flattened channels first",
}
_NAMES = {  # fields of an interface that hold names, and their meaning
    "classes": "classes in the order of the outputs; for a regression the targets",
    "columns": "columns of the inputs, if the data had names",
    "target_names": "columns of the targets, if the data had names",
}
_FROZEN = "frozen"
_INTERFACE = "interface"


@dataclass(frozen=True, slots=True, eq=False)
class StoredNetwork:
    """Interface and frozen arrays of a network, and the size of its data file (0 if it has none)."""

    interface: Interface
    frozen: Mapping[str, HostArray]
    data_bytes: int = 0


def save_network(folder: Path, network: StoredNetwork) -> None:
    """Write network.h5 atomically.

    Notes
    -----
    Law: `load_network` returns the same values, bit by bit, or raises.
    """
    interface = network.interface

    def fill(file: h5py.File) -> None:
        file.attrs["format_version"] = names.FORMAT_VERSION
        file.attrs["name"], file.attrs["task"] = text(interface.name), interface.task
        file.attrs["data_bytes"] = network.data_bytes
        group = file.create_group(_INTERFACE)
        for name, meaning in _ARRAYS.items():
            if (array := getattr(interface, name)) is not None:
                group[name] = np.asarray(array)
                group[name].attrs["long_name"] = meaning
        for name, meaning in _NAMES.items():
            words = [text(word) for word in getattr(interface, name)]
            group.create_dataset(name, data=words, shape=(len(words),), dtype=h5py.string_dtype())
            group[name].attrs["long_name"] = meaning
        frozen = file.create_group(_FROZEN)
        for path, array in network.frozen.items():
            frozen[path] = array

    write_hdf5(folder / names.NETWORK_FILE, fill)


def has_network(folder: Path) -> bool:
    """Return whether a run has the file network.h5."""
    return (folder / names.NETWORK_FILE).exists()


def load_network(folder: Path) -> StoredNetwork | None:
    """Read network.h5; None if the run has none, `RunError` if it is damaged or has a newer format."""
    if not has_network(folder):
        return None
    path = folder / names.NETWORK_FILE
    with reading(path) as file:
        about, room = read_attributes(file), path.stat().st_size
        check_version(about["format_version"], path)

        def whole(node: h5py.Dataset) -> HostArray:
            if node.nbytes > room:  # a damaged shape must not exhaust the memory
                raise RunError(f"{path}: is damaged: {node.name} is larger than the file")
            return np.asarray(node[()])

        group = file[_INTERFACE]
        values: dict[str, Any] = {name: whole(group[name]) if name in group else None for name in _ARRAYS}
        for name in _NAMES:
            values[name] = tuple(group[name].asstr()[()].tolist())
        if (shape := values["image_shape"]) is not None:
            values["image_shape"] = ImageShape(*shape.tolist())
        frozen: dict[str, HostArray] = {}

        def collect(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset):
                frozen[name] = whole(node)

        file[_FROZEN].visititems(collect)
        interface = Interface(name=about["name"], task=about["task"], **values)
    return StoredNetwork(interface, frozen, int(about["data_bytes"]))
