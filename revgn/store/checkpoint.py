"""Checkpoints: named arrays and a few numbers, with a checksum over their whole content.

Loading a checkpoint detects damage of any kind: in names, numbers, arrays or the structure of the file.
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
    """State from which a run can be resumed after `step` steps; arrays are sorted by name."""

    path: Path
    step: int
    arrays: dict[str, NDArray[Any]]
    attributes: dict[str, Attribute]


def save_checkpoint(
    path: Path, step: int, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Attribute]
) -> None:
    """Write a checkpoint atomically.

    Slashes in the name of an array, as in "params/3/weight", separate HDF5 groups.

    Notes
    -----
    Law: `load_checkpoint` returns the same names, dtypes, shapes, bytes and attributes, or raises.
    """
    for name in arrays:
        if {"", "."} & set(name.split("/")):
            raise UsageError(f"save_checkpoint: the array name {name!r} has a part that is empty or '.'")

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
    """Read a checkpoint; a missing or damaged file or an unknown format raises `RunError`."""
    with reading(path) as file:
        root = read_attributes(file)
        check_version(root["format_version"], path)  # checkpoints are the same in all formats so far
        room = path.stat().st_size
        state = file[names.STATE_GROUP]
        arrays: dict[str, NDArray[Any]] = {}

        def collect(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset):
                if node.nbytes > room:  # a damaged shape must not exhaust the memory
                    raise RunError(f"{path}: is damaged: {name} is larger than the file")
                arrays[name] = node[...]

        state.visititems(collect)
        attributes = read_attributes(state)
        if _digest(root["step"], arrays, attributes) != root["sha256"]:
            raise RunError(f"{path}: is damaged: the checksum differs")
    return Checkpoint(path, root["step"], arrays, attributes)


def latest_checkpoint(folder: Path) -> tuple[Checkpoint, list[str]]:
    """Load the newest undamaged checkpoint of the run in `folder`; `RunError` if there is none.

    Returns
    -------
    checkpoint : Checkpoint
    passed_over : list of str
        One line for each newer checkpoint that could not be used.
    """
    passed_over: list[str] = []
    for path in reversed(checkpoint_paths(folder)):
        try:
            return load_checkpoint(path), passed_over
        except RunError as error:
            passed_over.append(f"skipped a checkpoint: {error}")
    advice = f"revgn train {folder / names.CONFIG_FILE} trains again with the settings of the run"
    raise RunError("; ".join([f"{folder}: has no usable checkpoint", *passed_over, advice]))


def best_checkpoint(folder: Path, weights: Weights = "raw") -> Checkpoint:
    """Load the undamaged checkpoint with the highest score; `RunError` if there is none."""
    name = of_weights("score", weights)
    for path in sorted(checkpoint_paths(folder), key=lambda path: _score(path, name), reverse=True):
        with suppress(RunError):
            checkpoint = load_checkpoint(path)
            if name in checkpoint.attributes:
                return checkpoint
    raise RunError(f"{folder}: has no checkpoint with a score for {weights} weights")


def prune_checkpoints(newest: Path) -> None:
    """Delete all checkpoints except `newest`, its predecessor, and those with the highest scores.

    Raw and averaged weights have one score each. Checkpoints of later steps are deleted as well: they could
    not be used when the run was resumed, and the run will write them again.
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
        with h5py.File(path, "r") as file:  # only the header; checking the seal would read the whole file
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
