"""Settings by the name of their field, as in the options of commands and the axes of sweeps.

`--damping 0.1` sets the field `damping` of the chosen structs: `optimizer.solver.damping` for gauss-newton,
`optimizer.damping` for kfac. Options that choose a kind are therefore applied first.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from revgn.errors import UsageError, nearest
from revgn.settings.build import FieldAt, Table, fields_at, merge_settings, missing, unknown_word, with_preset
from revgn.settings.config import Config
from revgn.settings.registry import FAMILIES, holders, kind_of
from revgn.settings.renamed import renamed
from revgn.settings.text import flat, nested
from revgn.structs import Setting, settings_of

SHORT = {"data": "data.name"}  # options with a name other than their field


def named_settings() -> Mapping[str, tuple[Setting, ...]]:
    """Return all settings of all structs, by the name of their field."""
    return _named_settings(tuple(struct for kinds in FAMILIES.values() for struct in kinds.values()))


@cache
def _named_settings(registered: tuple[type, ...]) -> Mapping[str, tuple[Setting, ...]]:
    """Return `named_settings`; the registered structs are the key of the cache, since users can add some."""
    found: dict[str, list[Setting]] = {}
    for of in _every(Config, set()):
        if of.family or not of.is_part:
            found.setdefault("data" if of.name == "name" else of.name, []).append(of)
    return {name: tuple(dict.fromkeys(all_of)) for name, all_of in found.items()}


def names_within(*structs: type) -> list[str]:
    """Return the names of all settings of structs and of the structs that they may contain."""
    return list(dict.fromkeys(of.name for struct in structs for of in _every(struct, set())))


def path_of(name: str, settings: Table, *, of_first: bool = False) -> str:
    """Return the dotted path of the setting with the given name or path in the chosen structs.

    A wrapper's own setting comes before that of its inner optimizer. If two optimizers have the setting,
    `of_first` selects the first one.

    Raises
    ------
    UsageError
        If none of the chosen structs has the setting, or if several have it.
    """
    chosen = fields_at(with_preset(settings))
    name = SHORT.get(name, name)
    found = [name] if name in chosen else [path for path in chosen if path.endswith(f".{name}")]
    if of_first and len(found) > 1:
        found = [path for path in found if ".second." not in path]
    wrapping = [path for path in found if path == "optimizer." + name]
    if len(found) == 1 or wrapping:
        return (wrapping or found)[0]
    if found:
        raise UsageError(f"could be {' or '.join(found)}; give the path, as in -s {found[0]}=...")
    raise UsageError(_absent(name, chosen))


def canonical(name: str) -> str:
    """Return the dotted path of a setting that is part of every configuration; for others, the name itself.

    Raises
    ------
    UsageError
        If no struct has a setting of that name.
    """
    everywhere = fields_at({})
    for section in ("data", "network", "training"):
        if (path := SHORT.get(name, f"{section}.{name}")) in everywhere:
            return path
    if "." not in name and name not in named_settings():
        raise UsageError(f"{name}: {_unknown(name)}")
    return name


def value_of(name: str, settings: Mapping[str, Any]) -> Any:
    """Return a setting from flat settings, by path or last name; None unless there is exactly one."""
    found = [value for path, value in settings.items() if path.endswith(f".{name}")]
    return settings.get(name, found[0] if len(found) == 1 else None)


def settings_by_name(
    options: Mapping[str, Any],
    *weaker: Table,
    shown: Callable[[str], str] = str,
    of_first: bool = False,
) -> Table:
    """Return nested settings from options by name or path.

    Settings in `weaker` determine which structs are chosen. Dotted paths are used unchanged. `shown` returns
    the name of an option in an error.

    Raises
    ------
    UsageError
        If no chosen struct has the setting of an option, or several have it, or if two options give one
        setting different values.
    """
    result: Table = {}
    given: dict[str, tuple[str, Any]] = {}  # option and value of each path
    for name in sorted(options, key=_order):
        try:
            path = name if "." in name else path_of(name, merge_settings(result, *weaker), of_first=of_first)
        except UsageError as error:
            raise UsageError(f"{shown(name)}: {error}") from None
        new = nested(path, options[name])
        for of, value in flat(new).items():
            other, before = given.setdefault(of.removesuffix(".kind"), (name, value))
            if other != name and before != value:
                raise UsageError(f"{shown(other)} and {shown(name)}: both set {of}; use only one of them")
        result = merge_settings(new, result)
    return result


def _order(name: str) -> tuple[int, int, int]:
    """Return the key that sorts options: kinds first, outer structs before inner ones."""
    last = name.removesuffix(".kind").rpartition(".")[2]
    depth = ("preset", "optimizer", "inner", "first", "second", "solver")
    is_kind = last in depth or any(of.family for of in named_settings().get(last, ()))
    return (not is_kind, name.count("."), depth.index(last) if last in depth else len(depth))


def _absent(name: str, chosen: Mapping[str, FieldAt]) -> str:
    """Return the message for a field that no chosen struct has: the kinds that have it."""
    hints: dict[str, str] = {}
    needed: list[str] = []
    for path, (of, value, struct) in chosen.items():
        if of.family is None:
            continue
        if struct is None and value is not None:
            kind = value.get("kind") if isinstance(value, dict) else value
            raise UsageError(f"{path}.kind: {unknown_word(kind, FAMILIES[of.family])}")
        if not (kinds := holders(of.family, name)):
            continue
        hints = {outer: text for outer, text in hints.items() if not path.startswith(f"{outer}.")}
        if struct is None:
            needed.append(f"{of.name} {' or '.join(kinds)}")
        else:
            hints[path] = missing(name, of.family, kind_of(struct))
    needs = [f"needs {' or '.join(needed)}"] if needed else []
    if found := [*dict.fromkeys(hints.values()), *needs]:
        return "; ".join(found)
    return _unknown(name)


def _unknown(name: str) -> str:
    """Return the hint for a name that no struct has: its new name, or the nearest name."""
    hint = nearest(name, named_settings(), "revgn reference lists all settings")
    return renamed(name) or f"unknown setting; {hint}"


def _every(cls: type, seen: set[type]) -> Iterator[Setting]:
    seen.add(cls)
    for of in settings_of(cls):
        yield of
        for member in FAMILIES[of.family].values() if of.family else (of.type,):
            if member not in seen:
                yield from _every(member, seen)
