"""The attributes of run.h5: what was run, with which settings, where and when."""

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
    """What is known of a run when it starts; `config` nests, `config_toml` is the same as text."""

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


def first_attributes(provenance: Provenance) -> dict[str, Any]:
    """Return the attributes of a run that begins now."""
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
        **machine_attributes(provenance),
    }


def machine_attributes(provenance: Provenance) -> dict[str, str | int | float]:
    """Return the attributes that may change when a run is continued: machine, versions, settings."""
    return {
        "backend": provenance.backend,
        "device": text(provenance.device),
        **{f"version.{name}": text(version) for name, version in provenance.versions.items()},
        **config_attributes(provenance.config),
    }


def config_attributes(config: dict[str, Any]) -> dict[str, str | int | float]:
    """Return the attributes of run.h5 that hold the settings: as JSON, and each by its dotted path."""
    settings = json.dumps(config)
    if len(settings) > ATTRIBUTE_BYTES:
        raise UsageError(
            f"the settings take {len(settings)} bytes as JSON; a run stores {ATTRIBUTE_BYTES} at most"
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
    """Return `text` as HDF5 can hold it: UTF-8, without NUL, of limited length."""
    return text.replace("\0", "").encode("utf-8", "replace")[:ATTRIBUTE_BYTES].decode("utf-8", "ignore")


def now() -> str:
    """Return the time as in the attributes: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
