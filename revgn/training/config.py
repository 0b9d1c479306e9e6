"""Configurations from dicts, TOML and assignments: strict, with the nearest known name for an unknown one.

Precedence: option, file, preset, default.
"""

import difflib
import re
from typing import Any, get_args

import msgspec
from msgspec import Struct

from revgn.errors import UsageError
from revgn.training.relevance import USED, check_relevance
from revgn.training.settings import (
    DEFAULT_LR,
    DEFAULTS,
    PRESETS,
    Config,
    OptimizerSettings,
    config_dict,
    default_lr,
    flat,
)


def build_config(*layers: dict[str, Any]) -> Config:
    """Settings from nested dicts, the earlier of them stronger, over the preset and the defaults.

    Raises
    ------
    UsageError
        For an unknown key (with the nearest known one), a value of the wrong type or out of its range,
        a setting that the chosen optimizer does not use. One line that names the dotted path.
    """
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        _check_keys(layer, Config, "")
        merged = _merge(merged, layer)
    name = merged.get("preset")
    if name is not None:
        if not isinstance(name, str) or name not in PRESETS:
            raise UsageError(f"preset: {_unknown(str(name), list(PRESETS))}")
        merged = _merge(_preset_for(PRESETS[name], merged.get("optimizer", {})), merged)
    merged = _merge({"optimizer": _own_defaults(merged.get("optimizer", {}))}, merged)
    memory = merged["optimizer"].get("memory")
    if isinstance(memory, str):
        merged = _merge(merged, nested("optimizer.memory", parse_size(memory, "optimizer.memory")))
    try:
        config = msgspec.convert(merged, Config)
    except msgspec.ValidationError as error:
        raise UsageError(_readable(str(error), merged)) from None
    check_relevance(config)
    optimizer = config.optimizer
    rates = {"lr": optimizer.lr or default_lr(optimizer)}
    if optimizer.second is not None:
        rates["second_lr"] = optimizer.second_lr or DEFAULT_LR[optimizer.second]
    return msgspec.structs.replace(config, optimizer=msgspec.structs.replace(optimizer, **rates))


def config_toml(config: Config) -> str:
    """TOML text that `build_config` reads back; settings that are None are left out."""
    import tomli_w

    return tomli_w.dumps(without_none(config_dict(config)))


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Nested dict of a TOML text; `UsageError` naming `source` and the line where it is not TOML."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise UsageError(f"{source}: nests deeper than any settings do") from None


def parse_assignment(text: str) -> dict[str, Any]:
    """Nested dict of `section.key=value`; the value as TOML reads it, else a string.

    Raises
    ------
    UsageError
        If there is no "=".
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {text}: expected key=value, such as optimizer.lr=0.5")
    return nested(path.strip(), parse_value(value.strip()))


def parse_value(value: str) -> Any:
    """Value of a setting as TOML reads it, else the text itself; "none" is None."""
    import tomllib

    if value.lower() == "none":
        return None
    try:
        return tomllib.loads(f"x = {value}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return value


def parse_size(text: str, name: str = "size") -> int:
    """Bytes that "4GB", "500 MB", "1.5GiB" or "65536" stand for; `name` opens the message where it is none.

    Raises
    ------
    UsageError
        If it is not a number with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(?:([kmgt]?)(i?)b)?\s*", text, re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"{name}: {text!r} is not a size; expected bytes, or such as 500MB, 4GB, 1.5GiB")
    power = " kmgt".index((found[2] or " ").lower())
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def nested(path: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def merge_settings(*layers: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts merged, the earlier of them stronger."""
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = _merge(merged, layer)
    return merged


def _merge(weak: dict[str, Any], strong: dict[str, Any]) -> dict[str, Any]:
    merged = dict(weak)
    for key, value in strong.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _own_defaults(optimizer: dict[str, Any]) -> dict[str, Any]:
    """Defaults of the optimizer asked for, and of its second where the first does not use the setting."""
    first, second = str(optimizer.get("name", OptimizerSettings().name)), str(optimizer.get("second"))
    used = USED.get(first, ())
    of_second = {name: value for name, value in DEFAULTS.get(second, {}).items() if name not in used}
    return of_second | DEFAULTS.get(first, {})


def _preset_for(preset: dict[str, Any], optimizer: dict[str, Any]) -> dict[str, Any]:
    own = preset["optimizer"]
    if all(optimizer.get(name, own[name]) == own[name] for name in ("name", "inverse")):
        return preset
    return {section: settings for section, settings in preset.items() if section != "optimizer"}


def _check_keys(settings: dict[str, Any], struct: type[Struct], prefix: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in settings.items():
        if key not in fields:
            raise UsageError(f"{prefix}{key}: {_unknown_setting(key, list(fields), prefix)}")
        kind = fields[key]
        if isinstance(kind, type) and issubclass(kind, Struct):
            if not isinstance(value, dict):
                raise UsageError(f"{prefix}{key}: a section is expected here, such as {key}.{_first(kind)}")
            _check_keys(value, kind, f"{prefix}{key}.")


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"unknown name {name!r}; " + (
        f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    )


def _unknown_setting(name: str, beside: list[str], prefix: str) -> str:
    """Say that a setting is unknown, with the nearest known one here, else in another section."""
    near = [f"{prefix}{match}" for match in difflib.get_close_matches(name, beside, 1)]
    if not near:
        paths = list(flat(config_dict(Config())))
        near = [path for path in paths if path.rpartition(".")[2] == name]
        near = near or difflib.get_close_matches(name, paths, 1)
    hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(beside)}"
    return f"unknown setting; {hint}"


def _first(struct: type[Struct]) -> str:
    return msgspec.structs.fields(struct)[0].name


def _readable(message: str, settings: dict[str, Any]) -> str:
    """Turn msgspec's "... - at `$.a.b`" into "a.b: ...", naming the value and the choices."""
    text, _, where = message.partition(" - at `$.")
    path = where.rstrip("`").partition("[")[0]
    value = flat(settings).get(path)
    choices = choices_of(path)
    if choices and isinstance(value, str):
        near = difflib.get_close_matches(value, choices, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{path}: {value!r} is not one of {', '.join(choices)}{hint}"
    shown = "" if value is None else f"{value!r} "
    return f"{path}: {shown}cannot be used: {text[0].lower()}{text[1:]}"


def choices_of(path: str) -> list[str]:
    """Words that the setting of that dotted path takes; none where it takes others."""
    section, _, field = path.partition(".")
    struct = {f.name: f.type for f in msgspec.structs.fields(Config)}.get(section)
    if not (isinstance(struct, type) and issubclass(struct, Struct)):
        return []
    return _choices({f.name: f.type for f in msgspec.structs.fields(struct)}.get(field))


def _choices(kind: Any) -> list[str]:
    own = [choice for choice in get_args(kind) if isinstance(choice, str)]
    return own + [choice for part in get_args(kind) if not isinstance(part, str) for choice in _choices(part)]


def without_none(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings without those that are None, for which TOML has no word."""
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None
    }
