"""Settings by the name of their field alone: the options of commands, the axes of sweeps.

`--damping 0.1` sets the field `damping` of the chosen structs: `optimizer.solver.damping` with gauss-newton,
`optimizer.damping` with kfac. Options that choose a kind come first.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from revgn.errors import UsageError
from revgn.settings.build import (
    Table,
    fields_at,
    merge_settings,
    missing_setting,
    with_preset,
)
from revgn.settings.config import Config
from revgn.settings.registry import FAMILIES
from revgn.settings.renamed import renamed
from revgn.settings.text import nested
from revgn.structs import Setting, is_struct, settings_of

SHORT = {"data": "data.name"}  # an option that is named after its section


@cache
def named_settings() -> Mapping[str, tuple[Setting, ...]]:
    """Return all settings of all structs by the name of their field."""
    found: dict[str, list[Setting]] = {}
    for of in _every(Config):
        if of.family is not None or not is_struct(of.type):
            found.setdefault("data" if of.name == "name" else of.name, []).append(of)
    return {name: tuple(dict.fromkeys(all_of)) for name, all_of in found.items()}


def path_of(name: str, settings: Table) -> str:
    """Return the dotted path of the one setting of that name, or path, that the chosen structs have.

    Raises
    ------
    UsageError
        If none of the chosen structs has it, or several have.
    """
    name = SHORT.get(name, name)
    chosen = [*fields_at(with_preset(settings))]
    found = [path for path, _, _ in chosen if name in (path, path.rpartition(".")[2])]
    found = [name] if name in found else found
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"could be {' or '.join(found)}; give the path, as in -s {found[0]}=...")
    outer = {"optimizer", *(path for path, _, _ in chosen if path.startswith("training."))}
    members = [cls for path, of, cls in chosen if of.family and cls and path in outer]
    hints = [hint for cls in members if (hint := missing_setting(name, cls))]
    raise UsageError("; ".join(hints) or renamed(name) or "there is no such setting")


def canonical(name: str) -> str:
    """Return the dotted path of a setting that every configuration has, else the name itself.

    Raises
    ------
    UsageError
        If no struct has a setting of that name.
    """
    fixed = {path.rpartition(".")[2]: path for path, _, _ in fields_at({}) if path.count(".") == 1}
    path = SHORT.get(name) or fixed.get(name, name)
    if path != name and not path.startswith("optimizer."):
        return path
    if "." not in name and name not in named_settings():
        near = difflib.get_close_matches(name, named_settings(), 1)
        hint = f"did you mean {near[0]}?" if near else "revgn reference lists all settings"
        raise UsageError(f"{name}: {renamed(name) or f'unknown setting; {hint}'}")
    return name


def value_of(name: str, settings: Mapping[str, Any]) -> Any:
    """Return the value of a setting by its path or last name from flat settings; None unless there is one."""
    found = [value for path, value in settings.items() if name in (path, path.rpartition(".")[2])]
    return settings.get(name, found[0] if len(found) == 1 else None)


def settings_by_name(options: Mapping[str, Any], *weaker: Table, prefix: str = "") -> Table:
    """Return nested settings of options by name or path; `weaker` layers say which structs are chosen.

    Raises
    ------
    UsageError
        If an option has no place; it is named.
    """
    result: Table = {}
    names = sorted(options, key=lambda name: _order(name))
    for name in names:
        try:
            path = path_of(name, merge_settings(result, *weaker))
        except UsageError as error:
            shown = f"{prefix}{name.replace('_', '-')}" if prefix else name
            raise UsageError(f"{shown}: {error}") from None
        result = merge_settings(nested(path, options[name]), result)
    return result


def _order(name: str) -> tuple[int, int]:
    """Kinds first, those of the outer structs before those within them."""
    families = [of.family for of in named_settings().get(name, ())]
    depth = ("preset", "optimizer", "inner", "first", "second")
    is_kind = any(family is not None for family in families) or name == "preset"
    return (0 if is_kind else 1, depth.index(name) if name in depth else len(depth))


def _every(cls: type, seen: frozenset[type] = frozenset()) -> Iterator[Setting]:
    for of in settings_of(cls):
        yield of
        members = FAMILIES[of.family].values() if of.family else [of.type] if is_struct(of.type) else []
        for member in members:
            if member not in seen:
                yield from _every(member, seen | {cls, member})
