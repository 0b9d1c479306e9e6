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
from revgn.store.settings import migrated_settings

Attributes = dict[str, Any]


def migrated(attributes: Attributes, path: Path) -> Attributes:
    """Return root attributes as the present format has them.

    Raises
    ------
    RunError
        If the format is newer than ours, or none that there was.
    """
    version = attributes["format_version"]
    check_version(version, path)
    for number in range(version, FORMAT_VERSION):
        attributes = {**_STEPS[number](attributes), "format_version": number + 1}
    return attributes


def check_version(version: Any, path: Path) -> None:
    """Raise a `RunError` for a format that cannot be read."""
    if not isinstance(version, int) or version < 1:
        raise RunError(f"{path}: is damaged: its format is {version!r}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: has format {version}, of a newer revgn; this one reads up to {FORMAT_VERSION}"
        )


def keep_original(folder: Path) -> None:
    """Keep run.h5 of an older format beside the one that will be written, unless it is kept already.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    path = folder / RUN_FILE
    with reading(path) as file:
        version = int(file.attrs["format_version"])
    kept = path.with_suffix(f".v{version}.h5")
    if version < FORMAT_VERSION and not kept.exists():
        partial = kept.with_name(f".{kept.name}")
        with writing(kept):
            shutil.copy2(path, partial)
            partial.replace(kept)


def _without_idle_directions(attributes: Attributes) -> Attributes:
    config = json.loads(attributes["config_json"])
    optimizer = config.get("optimizer", {})
    if optimizer.get("directions") == 1000 and optimizer.get("solver") != "cg":
        optimizer["directions"] = None
    return {**attributes, "config_json": json.dumps(config)}


def _with_settings_of_format_3(attributes: Attributes) -> Attributes:
    config = migrated_settings(json.loads(attributes["config_json"]))
    return {**attributes, "config_json": json.dumps(config)}


_STEPS: dict[int, Callable[[Attributes], Attributes]] = {
    1: _without_idle_directions,
    2: _with_settings_of_format_3,
}
