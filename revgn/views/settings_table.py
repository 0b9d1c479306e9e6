"""Table of the settings of runs: one row per run, one column per setting or property."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from revgn.store.reader import Run, status
from revgn.views.summary import all_settings

Row = dict[str, Any]
_PROPERTIES = ("seed", "start", "end", "backend", "device", "dtype", "data_name", "data_sha256")
_VERSION = "version."


def settings_rows(runs: Mapping[str, Run]) -> list[Row]:
    """Return one row per run: its name, folder, title, status, seed, versions, and all settings by path.

    Settings that a run does not use are missing in its row.
    """
    rows = []
    for name, run in runs.items():
        about = run.attributes
        versions = {key: value for key, value in about.items() if key.startswith(_VERSION)}
        row = {"run": name, "folder": str(run.folder), "title": about["title"], "status": status(run)}
        row |= {key: about[key] for key in _PROPERTIES}
        rows.append(row | versions | {path: plain(value) for path, value in all_settings(run).items()})
    return rows


def columns_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the rows as columns, None where a row lacks the column; the values of a column have one type.

    The type is bool, int or float if all values have it (int is float beside float), else text.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _of_one_type([row.get(name) for row in rows]) for name in names}


def plain(value: Any) -> Any:
    """Return the value of a setting as a number, a truth value, text or None; others become JSON."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def kind_of(values: Sequence[Any]) -> type:
    """Return the one type of all values that are not None: bool, int, float or str."""
    found = {type(value) for value in values if value is not None}
    if len(found) == 1:
        return found.pop()
    return float if found == {int, float} else str


def _of_one_type(values: list[Any]) -> list[Any]:
    kind = kind_of(values)
    return [None if value is None else kind(value) for value in values]
