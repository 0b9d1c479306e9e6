"""Migration of runs in older formats, which happens when a run is read.

    1   before the first release: the settings contain the unused default `optimizer.directions` = 1000
    2   without this default; run.h5 states how much of the journal it holds (`journal_bytes`)
    3   settings are a tree of structs, booleans are stored as 0 and 1, series have the new names in
        `names.RENAMED_SERIES`, and every series exists from the first snapshot
    4   `data.augmentation` replaces the boolean `data.crop`; the attribute `data_image_shape`

A run is migrated in memory. If it is written later, the original run.h5 is kept beside the new one, for
instance as run.v1.h5.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from revgn.errors import RunError
from revgn.store.files import reading, replacing
from revgn.store.names import FORMAT_VERSION, RUN_FILE
from revgn.store.settings import Table, migrated_settings


def migrated(attributes: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return root attributes in the present format; an unknown format raises `RunError`."""
    version = attributes["format_version"]
    check_version(version, path)
    if version == FORMAT_VERSION:
        return attributes
    config = json.loads(attributes["config_json"])
    for number in range(version, FORMAT_VERSION):
        config = _STEPS[number](config)
    new = {"format_version": FORMAT_VERSION, "config_json": json.dumps(config)}
    return {"data_image_shape": "null"} | attributes | new


def check_version(version: Any, path: Path) -> None:
    """Raise `RunError` for a format that cannot be read."""
    if not isinstance(version, int) or version < 1:
        raise RunError(f"{path}: is damaged: its format is {version!r}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: has format {version}, which requires a newer revgn; "
            f"this version reads formats up to {FORMAT_VERSION}"
        )


def keep_original(folder: Path) -> None:
    """Copy a run.h5 of an older format to a name with its version, unless such a copy exists."""
    path = folder / RUN_FILE
    with reading(path) as file:
        version = int(file.attrs["format_version"])
    kept = path.with_suffix(f".v{version}.h5")
    if version < FORMAT_VERSION and not kept.exists():
        with replacing(kept) as partial:
            shutil.copy2(path, partial)


def _without_idle_directions(config: Table) -> Table:
    optimizer = config.get("optimizer", {})
    if optimizer.get("directions") == 1000 and optimizer.get("solver") != "cg":
        optimizer["directions"] = None
    return config


def _with_augmentation(config: Table) -> Table:
    data = config.get("data", {})
    if "crop" in data:
        data["augmentation"] = "resized-crop" if data.pop("crop") else "none"
    return config


_STEPS: dict[int, Callable[[Table], Table]] = {
    1: _without_idle_directions,
    2: migrated_settings,
    3: _with_augmentation,
}
