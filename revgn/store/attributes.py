"""The attributes of run.h5: the settings, origin, machine and times of a run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from revgn.errors import UsageError
from revgn.store.names import CONVENTIONS, FORMAT_VERSION, STEPS

ATTRIBUTE_BYTES = 60_000


@dataclass(frozen=True, slots=True)
class Provenance:
    """Description of a run at its start.

    `config` holds the settings as nested dicts, `config_toml` the same settings as TOML text.
    """

    title: str
    command: str
    config: dict[str, Any]
    config_toml: str
    seed: int
    backend: str
    device: str
    dtype: str
    data_name: str
    data_sha256: str
    versions: dict[str, str]
    references: str
    image_shape: tuple[int, int, int] | None = None  # channels, height, width


def first_attributes(provenance: Provenance) -> dict[str, Any]:
    """Return the attributes of a run that starts now."""
    start = now()
    kept = ("title", "references", "command", "dtype", "data_name", "data_sha256")
    return {
        "NX_class": "NXroot",
        "default": STEPS.group,
        "Conventions": CONVENTIONS,
        "format_version": FORMAT_VERSION,
        "source": text(f"revgn {provenance.versions.get('revgn', '')}".rstrip()),
        "history": text(f"{start} {provenance.command}"),
        "status": "running",
        "message": "",
        "seed": provenance.seed,
        "start": start,
        "end": "",
        **{name: text(getattr(provenance, name)) for name in kept},
        "data_image_shape": json.dumps(provenance.image_shape),
        **machine_attributes(provenance),
    }


def machine_attributes(provenance: Provenance) -> dict[str, str | int | float]:
    """Return the attributes that may change when a run is resumed: machine, versions, settings."""
    return {
        "backend": provenance.backend,
        "device": text(provenance.device),
        **{f"version.{name}": text(version) for name, version in provenance.versions.items()},
        **config_attributes(provenance.config),
    }


def machine_changes(attributes: dict[str, Any], provenance: Provenance) -> list[str]:
    """Return the changes from the machine and versions of a run, such as "numpy 2.1.0 -> 2.2.0"."""
    now = machine_attributes(provenance)
    names = [name for name in now if name.startswith("version.") or name in ("backend", "device")]
    return [
        f"{name.removeprefix('version.')} {attributes[name]} -> {now[name]}"
        for name in names
        if name in attributes and attributes[name] != now[name]
    ]


def config_attributes(config: dict[str, Any]) -> dict[str, str | int | float]:
    """Return the settings as attributes of run.h5: all of them as JSON, and each under its dotted path."""
    settings = json.dumps(config)
    if len(settings) > ATTRIBUTE_BYTES:
        raise UsageError(
            f"the settings take {len(settings)} bytes as JSON; a run can store at most {ATTRIBUTE_BYTES}"
        )
    return {"config_json": settings, **dict(_flat("config", config))}


def _flat(path: str, value: Any) -> Iterator[tuple[str, str | int | float]]:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _flat(f"{path}.{name}", child)
    elif isinstance(value, str):
        yield path, text(value)
    elif isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
        yield path, int(value) if isinstance(value, bool) else value
    else:
        yield path, json.dumps(value)


def text(text: str) -> str:
    """Return `text` in a form that HDF5 can store: UTF-8, without NUL, of limited length."""
    return text.replace("\0", "").encode("utf-8", "replace")[:ATTRIBUTE_BYTES].decode("utf-8", "ignore")


def now() -> str:
    """Return the current time in ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
