"""Configurations as nested dicts of TOML's types, and as text."""

import re
import textwrap
from typing import Any

from revgn.errors import UsageError
from revgn.settings.config import Config
from revgn.settings.registry import FAMILIES, kind_of
from revgn.structs import Setting, choices_of, is_struct, settings_of

_WIDTH = 100


def config_dict(part: Any) -> dict[str, Any]:
    """Nested dict of all settings of a struct; None where not set, lists for tuples.

    A struct that is absent where the default is one is "none", since TOML has no null.
    """
    return {of.name: _plain(of, getattr(part, of.name)) for of in settings_of(type(part))}


def changed_settings(part: Any, default: Any = None, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted path that differ from the defaults of the chosen structs."""
    changed: dict[str, Any] = {}
    for of in settings_of(type(part)):
        value, path = getattr(part, of.name), f"{prefix}{of.name}"
        own = getattr(default, of.name) if type(default) is type(part) else of.default
        if of.family is not None and type(value) is not type(own):
            changed[f"{path}.kind"] = None if value is None else kind_of(value)
        if of.is_part and is_struct(type(value)):
            changed |= changed_settings(value, own, f"{path}.")
        elif of.family is None and value != own:
            changed[path] = _plain(of, value)
    return changed


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of {"a": {"b": value}}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def nested(path: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def without_none(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings without those that are None, for which TOML has no word."""
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None
    }


def config_toml(config: Config) -> str:
    """TOML text that `build_config` reads back; settings that are None are left out."""
    import tomli_w

    return tomli_w.dumps(without_none(config_dict(config)))


def config_template(config: Config) -> str:
    """TOML text of every setting with a comment: meaning, choices, default. `build_config` reads it back."""
    return "\n".join(_lines(config, "")).lstrip("\n") + "\n"


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Nested dict of a TOML text; `UsageError` naming `source` and the line where it is not TOML."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise UsageError(f"{source}: nests deeper than any settings do") from None


def parse_assignment(text: str) -> tuple[str, Any]:
    """Path and value of `section.key=value`; the value as TOML reads it, else a string.

    Raises
    ------
    UsageError
        If there is no "=".
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {text}: expected key=value, such as optimizer.lr=0.5")
    return path.strip(), parse_value(value.strip())


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
    """Bytes that "4GB", "500 MB", "1.5GiB" or "65536" stand for; `name` opens the message of an error.

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


def words_of(of: Setting) -> tuple[str, ...]:
    """Return the words that a setting takes: the kinds of its family, or its choices."""
    return tuple(FAMILIES[of.family]) if of.family else choices_of(of.type)


def _plain(of: Setting, value: Any) -> Any:
    if of.family is not None and value is None:
        return None if of.default is None else "none"
    if of.is_part:
        return ({"kind": kind_of(value)} if of.family else {}) | config_dict(value)
    return list(value) if isinstance(value, tuple) else value


def _lines(part: Any, path: str) -> list[str]:
    """Lines of a struct's own settings, then of the structs within it, each a table."""
    lines: list[str] = []
    for of in settings_of(type(part)):
        value = getattr(part, of.name)
        if not of.is_part:
            text = "..." if value is None else _toml(_plain(of, value))
            lines += ["", *_comment(of), f"{'# ' if value is None else ''}{of.name} = {text}"]
        elif value is None:
            text = f'# {of.name} = {{kind = "..."}}' if of.default is None else f'{of.name} = "none"'
            lines += ["", *_comment(of), text]
    for of in settings_of(type(part)):
        value = getattr(part, of.name)
        if of.is_part and value is not None:
            where = f"{path}.{of.name}".lstrip(".")
            lines += ["", *_comment(of), f"[{where}]"]
            lines += [f"kind = {_toml(kind_of(value))}"] if of.family else []
            lines += _lines(value, where)
    return lines


def _comment(of: Setting) -> list[str]:
    text = of.meaning.rstrip(".")
    text += f"; one of {', '.join(words)}" if (words := words_of(of)) else ""
    default = None if of.is_part else of.default
    text += "." if default is None else f" (default {_toml(_plain(of, default))})."
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _toml(value: Any) -> str:
    import tomli_w

    return tomli_w.dumps({"x": value}).removeprefix("x = ").replace("\n", "").strip()
