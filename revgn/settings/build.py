"""Build configurations from nested dicts: merge the dicts, then build the structs.

Options override files, files override presets, presets override defaults. If one of them chooses another
kind, of optimizer for example, its table replaces the whole table that it overrides. Likewise, if one of them
sets `epochs`, the `steps` that it overrides are left out. An error suggests the nearest known name.
"""

import difflib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from revgn.errors import UsageError, nearest
from revgn.settings.config import Config, Own
from revgn.settings.presets import PRESETS
from revgn.settings.registry import FAMILIES, OWN, RENAMED_KINDS, family_of, holders, kind_of
from revgn.settings.renamed import renamed
from revgn.settings.text import config_dict, flat, parse_size
from revgn.structs import FieldError, Setting, choices_of, is_struct, settings_of

Table = dict[str, Any]


def build_config(*layers: Table) -> Config:
    """Return the configuration from nested dicts; earlier dicts override later ones, presets and defaults.

    Raises
    ------
    UsageError
        If a layer is not a dict, if a key is unknown, if a value has the wrong type or is out of bounds, or
        if the chosen structs do not have a setting. The message is one line with the dotted path, and
        suggests the nearest name.

    Examples
    --------
    >>> import revgn
    >>> config = revgn.build_config({"optimizer": {"kind": "adam", "lr": 0.01}})
    >>> config.optimizer.lr
    0.01
    """
    config: Config = _built(Config, with_preset(merge_settings(*layers)), "", Config())
    return config


def filled_settings(settings: Table) -> Table:
    """Return the settings of a run with defaults for newer settings; unchanged if a setting was removed."""
    try:
        return config_dict(build_config(settings))
    except UsageError:
        return settings


def merge_settings(*layers: Table) -> Table:
    """Return nested dicts merged into one; earlier dicts override later ones."""
    merged: Table = {}
    for layer in reversed(layers):
        if not isinstance(layer, Mapping):
            example = '{"optimizer": {"kind": "adam"}}'
            raise UsageError(f"settings: {layer!r} cannot be used; expected a dict, as in {example}")
        merged = _merged(Config, merged, layer)
    return merged


def with_preset(settings: Table) -> Table:
    """Return settings merged over their preset.

    The optimizer of the preset is left out if the settings choose another kind of optimizer or solver.
    """
    name = settings.get("preset")
    if name in (None, "none"):
        return settings
    if not isinstance(name, str) or name not in PRESETS:
        raise UsageError(f"preset: {unknown_word(name, PRESETS)}")
    preset = PRESETS[name]
    merged = _merged(Config, preset, settings)
    kinds = flat(merged), flat(preset)
    if any(kinds[0].get(path) != kinds[1].get(path) for path in ("optimizer.kind", "optimizer.solver.kind")):
        merged = _merged(Config, {k: v for k, v in preset.items() if k != "optimizer"}, settings)
    return merged


class FieldAt(NamedTuple):
    """A setting in a tree of settings: its value (a table for a struct), and the class of that struct."""

    of: Setting
    value: Any
    struct: type | None


def fields_at(settings: Table) -> dict[str, FieldAt]:
    """Return all settings of the structs that `settings` chooses, by dotted path."""
    return dict(_fields(Config, settings, Config(), ""))


def _fields(cls: type, table: Table, default: Any, prefix: str) -> Iterator[tuple[str, FieldAt]]:
    for of in settings_of(cls):
        own = of.default if default is None else getattr(default, of.name)
        value = _normal(of, table.get(of.name, {} if own is not None else None))
        member = _class_of(of, value, own)
        yield f"{prefix}{of.name}", FieldAt(of, value, member)
        if member is not None:
            yield from _fields(member, value, own if type(own) is member else None, f"{prefix}{of.name}.")


def _merged(cls: type | None, weak: Table, strong: Table) -> Table:
    fields = {of.name: of for of in settings_of(cls)} if cls is not None else {}
    merged = dict(weak)
    for key, value in strong.items():
        of = fields.get(key)
        if of is not None and of.replaces is not None and of.replaces not in strong:
            merged.pop(of.replaces, None)
        new, old = _normal(of, value), _normal(of, weak.get(key))
        if not (isinstance(new, dict) and isinstance(old, dict)):
            is_none = new is None and of is not None and of.family is not None
            merged[key] = "none" if is_none else new  # TOML has no null
            continue
        default = None if of is None else of.default
        before, after = _class_of(of, old, default), _class_of(of, old | new, default)
        merged[key] = new if "kind" in new and before is not after else _merged(after, old, new)
    return merged


def _class_of(of: Setting | None, table: Any, default: Any) -> type | None:
    """Return the class of the struct that a table describes; None for a plain value or an unknown kind."""
    if of is None or not isinstance(table, dict):
        return None
    if of.family is None:
        return of.type if is_struct(of.type) else None
    if "kind" not in table:
        return None if default is None else type(default)
    kind = table["kind"]
    return Own if kind == OWN else FAMILIES[of.family].get(kind) if isinstance(kind, str) else None


def _normal(of: Setting | None, value: Any) -> Any:
    """Return a value in its normal form: {kind = "adam"} for "adam", and None for "none".

    A kind that was renamed gets its new name. Files have no None, and options read every "none" as None;
    None is therefore converted back to "none" for a setting that has this choice and cannot be None.
    """
    if of is not None and not of.is_part and value in (None, "none"):
        if type(None) in typing.get_args(of.type):
            return None if "none" not in choices_of(of.type) else value
        return "none" if "none" in choices_of(of.type) else value
    if of is None or of.family is None or not isinstance(value, str | dict):
        return value
    if value == "none":
        return None
    table = {"kind": value} if isinstance(value, str) else value
    kind = table.get("kind")
    new = RENAMED_KINDS.get((of.family, kind)) if isinstance(kind, str) else None
    return table if new is None else table | {"kind": new}


def _built(cls: type, table: Table, path: str, base: Any) -> Any:
    """Build a struct from a table; missing values are taken from `base`, else from the defaults."""
    fields = {of.name: of for of in settings_of(cls)}
    for key in table:
        if key not in fields:
            raise UsageError(_unknown_setting(key, cls, path))
    values = {
        name: _member(fields[name], value, f"{path}{name}", getattr(base, name, fields[name].default))
        for name, value in table.items()
    }
    try:
        return cls(**values) if base is None else replace(base, **values)
    except FieldError as error:
        raise UsageError(f"{path}{error.field}: {error.reason}") from None
    except UsageError as error:
        raise UsageError(f"{path.rstrip('.')}: {error}" if path else str(error)) from None


def _member(of: Setting, value: Any, path: str, default: Any) -> Any:
    """Return the value of one field; build it from its table if it is a struct. "none" stands for None."""
    value = _normal(of, value)
    if of.size and isinstance(value, str):
        return parse_size(value, path)
    if not of.is_part:
        return value
    if value is None and of.family and (of.default is None or type(None) in typing.get_args(of.type)):
        return None
    if not isinstance(value, dict):
        example = f'{path} = {{kind = "..."}}' if of.family else f"[{path}]"
        raise UsageError(f"{path}: {value!r} cannot be used; expected a table of settings, as in {example}")
    cls = _class_of(of, value, default)
    if cls is None:
        kinds = FAMILIES[of.family or ""]
        if "kind" in value:
            raise UsageError(f"{path}.kind: {unknown_word(value['kind'], kinds)}")
        raise UsageError(f"{path}.kind: is missing; expected one of {', '.join(kinds)}")
    if of.family is None and family_of(cls) and value.get("kind", kind_of(cls)) != kind_of(cls):
        raise UsageError(f"{path}.kind: {value['kind']!r} cannot be used; it is always {kind_of(cls)}")
    if of.family is not None or family_of(cls):
        value = {key: part for key, part in value.items() if key != "kind"}
    return _built(cls, value, f"{path}.", default if type(default) is cls else None)


def unknown_word(name: Any, known: Any) -> str:
    """Return the message for an unknown name, with the nearest known name."""
    return f"unknown name {name!r}; {nearest(name, known)}"


def _unknown_setting(name: str, cls: type, path: str) -> str:
    """Return the message for an unknown field: its new name, structs that have it, or the nearest name."""
    if hint := renamed(f"{path}{name}"):
        return f"{path}{name}: {hint}"
    if cls is Own:
        return f"{path}{name}: is not a setting of a user-defined {path.rstrip('.').rpartition('.')[2]}"
    if inside := [of for of in dict(_fields(cls, {}, None, path)) if of.endswith(f".{name}")]:
        return f"{path}{name}: unknown setting; did you mean {min(inside, key=len)}?"
    if (family := family_of(cls)) and (hint := missing(name, family, kind_of(cls))):
        return f"{path}{name}: {hint}"
    beside = [of.name for of in settings_of(cls)]
    places = {known.rpartition(".")[2]: known for known in fields_at({})}
    places |= {known: f"{path}{known}" for known in beside}
    near = (difflib.get_close_matches(name, known, 1) for known in (beside, places))
    found = [places[names[0]] for names in near if names]
    hint = f"did you mean {found[0]}?" if found else f"the settings here are {', '.join(beside)}"
    return f"{path}{name}: unknown setting; {hint}"


def missing(name: str, family: str, kind: str) -> str:
    """Return which other structs have a field ("adam has no damping; kfac has"), or "" if none has it."""
    found = holders(family, name)
    is_plural = len(found) > 1 or any("'s " in one and one.endswith("s") for one in found)
    others = " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))
    return f"{kind} has no {name}; {others} {'have' if is_plural else 'has'}" if found else ""
