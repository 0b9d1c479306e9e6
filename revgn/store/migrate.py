"""Older formats of a run, brought up to date when it is read.

    1   before the first release: the settings hold `optimizer.directions` 1000 wherever none were given
    2   without these; run.h5 states how much of the journal it holds (`journal_bytes`)
    3   settings as a tree of structs, booleans as 0 and 1, series named as in `names.RENAMED_SERIES`; every
        series exists from the first snapshot

A run is migrated in memory. Where it is then written, its run.h5 stays beside the new one, as run.v1.h5.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from revgn.errors import RunError
from revgn.store.files import reading, writing
from revgn.store.names import FORMAT_VERSION, RUN_FILE
from revgn.store.settings import Table, migrated_settings


def migrated(attributes: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return root attributes as the present format has them, or raise `RunError` for an unknown format."""
    version = attributes["format_version"]
    check_version(version, path)
    if version == FORMAT_VERSION:
        return attributes
    config = json.loads(attributes["config_json"])
    for number in range(version, FORMAT_VERSION):
        config = _STEPS[number](config)
    return {**attributes, "format_version": FORMAT_VERSION, "config_json": json.dumps(config)}


def check_version(version: Any, path: Path) -> None:
    """Raise a `RunError` for a format that cannot be read."""
    if not isinstance(version, int) or version < 1:
        raise RunError(f"{path}: is damaged: its format is {version!r}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: has format {version}, of a newer revgn; this one reads up to {FORMAT_VERSION}"
        )


def keep_original(folder: Path) -> None:
    """Keep run.h5 of an older format beside the one that will be written, unless it is kept already."""
    path = folder / RUN_FILE
    with reading(path) as file:
        version = int(file.attrs["format_version"])
    kept = path.with_suffix(f".v{version}.h5")
    if version < FORMAT_VERSION and not kept.exists():
        partial = kept.with_name(f".{kept.name}")
        with writing(kept):
            shutil.copy2(path, partial)
            partial.replace(kept)


def _without_idle_directions(config: Table) -> Table:
    optimizer = config.get("optimizer", {})
    if optimizer.get("directions") == 1000 and optimizer.get("solver") != "cg":
        optimizer["directions"] = None
    return config


_STEPS: dict[int, Callable[[Table], Table]] = {1: _without_idle_directions, 2: migrated_settings}
