"""Conversion of configurations to nested dicts and to TOML text, and parsing of values."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from revgn.errors import UsageError
from revgn.settings.config import Config
from revgn.settings.presets import PRESETS
from revgn.settings.registry import FAMILIES, kind_of
from revgn.structs import Setting, choices_of, is_struct, settings_of

_WIDTH = 100
_DATA = (".npz", ".npy", ".h5", ".hdf5", ".csv", ".tsv")  # endings of files that hold no settings


def config_dict(part: Any) -> dict[str, Any]:
    """Return all settings of a struct as a nested dict, with lists for tuples and None for unset values.

    "none" marks an absent struct whose default is not None, since TOML has no null.
    """
    return {of.name: _plain(of, getattr(part, of.name)) for of in settings_of(type(part))}


def changed_settings(part: Any, default: Any = None, prefix: str = "") -> dict[str, Any]:
    """Return the settings that differ from the defaults of the chosen structs, by dotted path."""
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
    """Return nested settings by dotted path: {"a.b": value} for {"a": {"b": value}}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return the nested settings of one dotted path: {"a": {"b": value}} for "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def without_none(settings: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings without values that are None, since TOML has no null."""
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None
    }


def config_toml(config: Config) -> str:
    """Return a configuration as TOML text, which `build_config` reads back.

    A setting that is None is left out, or written as "none" if its default or its value in the preset is not
    None.
    """
    import tomli_w

    return tomli_w.dumps(without_none(_with_none(config, Config(), _preset_of(config))))


def config_template(config: Config) -> str:
    """Return all settings as TOML text, each with its meaning, choices and default as a comment."""
    return "\n".join(_lines(config, Config(), _preset_of(config), "")).lstrip("\n") + "\n"


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return the nested dict of a TOML text; a `UsageError` names `source` and the line of a mistake.

    A byte order mark at the beginning is ignored.
    """
    import tomllib

    text = text.removeprefix("\ufeff")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        if source.lower().endswith(_DATA):
            raise UsageError(f"{source}: holds data, not settings in TOML; use --data {source}") from None
        place = re.search(r"at line (\d+), column (\d+)", str(error))
        if str(error).startswith(("Cannot", "Duplicate")):
            number = int(place[1]) if place else text.count("\n") + 1
            line = _line(text, number)
            raise UsageError(
                f"{source}: line {number}: {line!r}: the setting or table is given twice"
            ) from None
        if place is None:
            raise UsageError(f"{source}: not TOML: the file ends within a value or a name") from None
        line = _line(text, int(place[1]))
        raise UsageError(
            f"{source}: not TOML: line {place[1]}, column {place[2]}: {line!r}; expected key = value, with "
            "text in quotation marks, or a table such as [training]"
        ) from None
    except RecursionError:
        raise UsageError(f"{source}: tables are nested too deeply") from None


def _line(text: str, number: int) -> str:
    return " ".join(text.split("\n")[number - 1].split())[:60]


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return path and value of `section.key=value`; the value is parsed as TOML, else it is a string.

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
    """Return the value of a setting, parsed as TOML, else the text itself; "none" is None, and .5 is 0.5."""
    import tomllib

    if value.lower() == "none":
        return None
    if re.fullmatch(r"[-+]?(?:\.\d+|\d+\.)(?:[eE][-+]?\d+)?", value):
        return float(value)
    try:
        return tomllib.loads(f"x = {value}")["x"]
    except (ValueError, RecursionError):  # also a number of too many digits
        return value


def parse_size(text: str, name: str = "size") -> int:
    """Return the number of bytes given as "4GB", "500 MB", "1.5GiB" or "65536"; `name` is for errors.

    Raises
    ------
    UsageError
        If it is not a number with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(?:([kmgt]?)(i?)b)?\s*", text, re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"{name}: {text!r} is not a size; expected bytes, as in 65536, 500MB, 4GB or 1.5GiB")
    power = " kmgt".index((found[2] or " ").lower())
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def words_of(of: Setting) -> tuple[str, ...]:
    """Return the choices of a setting: the kinds of its family, or its literals."""
    return tuple(FAMILIES[of.family]) if of.family else choices_of(of.type)


def _plain(of: Setting, value: Any) -> Any:
    if of.family is not None and value is None:
        return None if of.default is None else "none"
    if of.is_part:
        return ({"kind": kind_of(value)} if of.family else {}) | config_dict(value)
    return list(value) if isinstance(value, tuple) else value


def _preset_of(config: Config) -> dict[str, Any]:
    return PRESETS[config.preset] if config.preset else {}


def _with_none(part: Any, base: Any, preset: Any) -> dict[str, Any]:
    """Return the settings of a struct as `config_dict` does, with "none" where None must be written."""
    found: dict[str, Any] = {}
    for of, value, own, of_preset in _members(part, base, preset):
        if value is None:
            found[of.name] = None if own is None and of_preset is None else "none"
        elif of.is_part:
            found[of.name] = {"kind": kind_of(value)} if of.family else {}
            found[of.name] |= _with_none(value, own, of_preset)
        else:
            found[of.name] = _plain(of, value)
    return found


def _members(part: Any, base: Any, preset: Any) -> Iterator[tuple[Setting, Any, Any, Any]]:
    """Yield each setting of a struct with its value, its default, and its value in the preset or None.

    The defaults are those of `base` if it is a struct of the same kind.
    """
    for of in settings_of(type(part)):
        own = getattr(base, of.name) if type(base) is type(part) else of.default
        yield of, getattr(part, of.name), own, preset.get(of.name) if isinstance(preset, dict) else None


def _lines(part: Any, base: Any, preset: Any, path: str) -> list[str]:
    """Return the lines of the plain settings of a struct, then a table for each struct nested in it."""
    lines, tables = [], []
    for of, value, own, of_preset in _members(part, base, preset):
        where = f"{path}.{of.name}".lstrip(".")
        if value is None:
            example = '{kind = "..."}' if of.is_part else "..."
            text = f"# {of.name} = {example}" if own is None and of_preset is None else f'{of.name} = "none"'
            lines += ["", *_comment(of), text]
        elif of.is_part:
            tables += ["", *_comment(of), f"[{where}]"]
            tables += [f"kind = {_toml(kind_of(value))}"] if of.family else []
            tables += _lines(value, own, of_preset, where)
        else:
            lines += ["", *_comment(of), f"{of.name} = {_toml(_plain(of, value))}"]
    return lines + tables


def _comment(of: Setting) -> list[str]:
    text = of.meaning.rstrip(".")
    text += f"; one of {', '.join(words)}" if (words := words_of(of)) else ""
    default = None if of.is_part else of.default
    text += "." if default is None else f" (default {_toml(_plain(of, default))})."
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _toml(value: Any) -> str:
    import tomli_w

    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()
