"""Checkpoints: named arrays and a few numbers, with a checksum over all of it.

Damage of any kind, in names, numbers, arrays or the file's own structure, is found when it is loaded.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from revgn.errors import RunError, UsageError
from revgn.store import names
from revgn.store.files import read_attributes, reading, write_hdf5, writing
from revgn.store.migrate import check_version
from revgn.store.names import Weights, checkpoint_paths, of_weights

Attribute = int | float | str


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a run needs to go on after `step` steps; arrays are sorted by name."""

    path: Path
    step: int
    arrays: dict[str, NDArray[Any]]
    attributes: dict[str, Attribute]


def save_checkpoint(
    path: Path, step: int, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Attribute]
) -> None:
    """Write a checkpoint, whole or not at all; parts of an array's name ("params/3/weight") are HDF5 groups.

    Notes
    -----
    Law: `load_checkpoint` returns the same names, dtypes, shapes, bytes and attributes, or raises.
    """
    for name in arrays:
        if {"", "."} & set(name.split("/")):
            raise UsageError(f"save_checkpoint: the name {name!r} has an empty part")

    def fill(file: h5py.File) -> None:
        file.attrs["format_version"] = names.FORMAT_VERSION
        file.attrs["step"] = step
        file.attrs["sha256"] = _digest(step, arrays, attributes)
        state = file.create_group(names.STATE_GROUP)
        for name, value in attributes.items():
            state.attrs[name] = value
        for name, array in arrays.items():
            state[name] = array

    write_hdf5(path, fill)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; `RunError` if it is missing, damaged, or of an unknown format."""
    with reading(path) as file:
        root = read_attributes(file)
        check_version(root["format_version"], path)  # of all formats there were, checkpoints are alike
        room = path.stat().st_size
        state = file[names.STATE_GROUP]
        arrays: dict[str, NDArray[Any]] = {}

        def collect(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset):
                if node.nbytes > room:  # a damaged shape must not fill the memory
                    raise RunError(f"{path}: is damaged: {name} is larger than the file")
                arrays[name] = node[...]

        state.visititems(collect)
        attributes = read_attributes(state)
        if _digest(root["step"], arrays, attributes) != root["sha256"]:
            raise RunError(f"{path}: is damaged: the checksum differs")
    return Checkpoint(path, root["step"], arrays, attributes)


def latest_checkpoint(folder: Path) -> tuple[Checkpoint, list[str]]:
    """Load the newest checkpoint of the run in `folder` that is not damaged; `RunError` if there is none.

    Returns
    -------
    checkpoint : Checkpoint
    passed_over : list of str
        One line for each newer one that could not be used.
    """
    passed_over: list[str] = []
    for path in reversed(checkpoint_paths(folder)):
        try:
            return load_checkpoint(path), passed_over
        except RunError as error:
            passed_over.append(f"passed over: {error}")
    raise RunError("; ".join([f"{folder}: has no checkpoint to go on from", *passed_over]))


def best_checkpoint(folder: Path, weights: Weights = "raw") -> Checkpoint:
    """Load the undamaged checkpoint of highest score of the run in `folder`; `RunError` if there is none."""
    name = of_weights("score", weights)
    for path in sorted(checkpoint_paths(folder), key=lambda path: _score(path, name), reverse=True):
        with suppress(RunError):
            checkpoint = load_checkpoint(path)
            if name in checkpoint.attributes:
                return checkpoint
    raise RunError(f"{folder}: has no checkpoint with a score of its {weights} weights")


def prune_checkpoints(newest: Path) -> None:
    """Delete the checkpoints beside `newest`, save the one before it and those of highest score.

    Raw and averaged weights have a score each. Those of later steps go as well: the run has passed them
    over and makes them again.
    """
    paths = checkpoint_paths(newest.parent.parent)
    valid = paths[: paths.index(newest) + 1]
    kept = set(valid[-2:])
    for weights in names.WEIGHTS:
        scores = {path: _score(path, of_weights("score", weights)) for path in valid}
        scored = [path for path in valid if scores[path] > -math.inf]
        kept |= {max(scored, key=scores.__getitem__)} if scored else set()
    for path in set(paths) - kept:
        with writing(path):
            path.unlink()


def _score(path: Path, name: str) -> float:
    try:
        with h5py.File(path, "r") as file:  # a header alone: the seal would take reading all of the file
            return float(file[names.STATE_GROUP].attrs.get(name, -math.inf))
    except Exception:
        return -math.inf


def _digest(step: int, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Attribute]) -> str:
    ordered = sorted(arrays)
    head = {
        "step": step,
        "attributes": dict(attributes),
        "arrays": [(name, arrays[name].dtype.str, arrays[name].shape) for name in ordered],
    }
    sha256 = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in ordered:
        sha256.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return sha256.hexdigest()
