"""Help texts of the options that are settings: meaning, choices and default, each stated once in a struct.

Several kinds (optimizers, solvers, schedules) may have a setting of the same name, with different meanings
and defaults. `full_text` lists all of them; `short_text` describes the setting of the kind chosen by default.
"""

import re
from collections.abc import Iterable
from typing import Any, get_args

from revgn.settings import FAMILIES, fields_at, kind_of, named_settings, words_of
from revgn.structs import Setting, settings_of

COLUMN = 25  # characters of the column of flags
_TYPES = {"int": "INTEGER", "float": "NUMBER", "": "TEXT"}


def metavar_of(name: str) -> str:
    """Return the placeholder for the value of an option: its choices if they fit, else a word."""
    settings = named_settings()[name]
    of, words = settings[0], _words(settings)
    if not words:
        word = next(word for part, word in _TYPES.items() if part in str(of.type))
        return "SIZE" if of.size else f"{word}[,...]" if any(map(_has_list, settings)) else word
    without_words = re.sub(r"Literal\[[^]]*\]", "", str(of.type))
    is_number = not of.family and any(part in without_words for part in ("int", "float"))
    listed = f"[{'|'.join(['N', *words] if is_number else words)}]"
    fits = len(f"--{name} {listed}") <= COLUMN and not _has_list(of)
    if is_number and not fits and not _has_list(of):
        return "NUMBER"
    return listed if fits else "KIND" if of.family else "CHOICE"


def full_text(name: str, *, with_default: bool = True) -> str:
    """Return every meaning and default of a setting, each with the kinds that it belongs to."""
    settings, kinds = named_settings()[name], _by_kind(name)
    if not kinds:
        return _text(name, settings[0].meaning, [_shown(settings[0])] if with_default else [])
    meanings, defaults = _grouped(kinds, _meaning), _grouped(kinds, _shown)
    texts = [f"{meaning} ({', '.join(of)})." for meaning, of in meanings.items()]
    if len(meanings) == 1 and _is_of_all_kinds(kinds):
        texts = [f"{next(iter(meanings))}."]
    if len(defaults) == 1 or not with_default:
        return _text(name, " ".join(texts), [*defaults] if with_default else [])
    return _text(name, " ".join(texts), [f"{value} ({', '.join(of)})" for value, of in defaults.items()])


def short_text(name: str) -> str:
    """Return the first sentence of a setting's meaning, and its default, for the kind chosen by default.

    If the kind chosen by default does not have the setting, the first kinds that have it are named.
    """
    settings, kinds = named_settings()[name], _by_kind(name)
    chosen = next((one.of for path, one in fields_at({}).items() if path.endswith(f".{name}")), None)
    of = chosen or settings[0]
    meaning = re.split(r"(?<=\.)\s+(?=[A-Z])", of.meaning)[0].rstrip(".")
    if chosen is None and kinds:
        meaning += f" ({', '.join(_grouped(kinds, _meaning)[_meaning(of)])})"
    if of.chosen:
        return _text(name, f"{meaning}.", ["from the data"])
    is_one = len({_shown(each) for each in kinds.values()}) < 2
    kind = next((kind for kind, each in kinds.items() if each == of), "")
    return _text(name, f"{meaning}.", [_shown(of) if is_one else f"{_shown(of)} with {kind}"])


def _by_kind(name: str) -> dict[str, Setting]:
    """Return the settings called `name`, keyed by kind of struct; empty if it is a setting of a section."""
    return {
        kind: of
        for kinds in FAMILIES.values()
        for kind, struct in kinds.items()
        for of in settings_of(struct)
        if of.name == name and (of.family or not of.is_part)
    }


def _is_of_all_kinds(kinds: dict[str, Setting]) -> bool:
    """Whether `kinds` has all kinds of one family (all optimizers, for example), or all networks."""
    alternatives = [set(family) for family in FAMILIES.values() if len(family) > 1]
    return set(kinds) in [*alternatives, set(FAMILIES["network"])]


def _grouped(kinds: dict[str, Setting], key: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, of in kinds.items():
        found.setdefault(key(of), []).append(kind)
    return found


def _meaning(of: Setting) -> str:
    return of.meaning.rstrip(".")


def _shown(of: Setting) -> str:
    """Return the default of a setting as text."""
    if not of.chosen:
        return _plain(of)
    return "from the data" + ("" if of.default is None else f", else {_plain(of)}")


def _plain(of: Setting) -> str:
    if of.default is None:
        return "none"
    if of.family is not None:
        return kind_of(of.default)
    if isinstance(of.default, tuple):
        return ",".join(map(str, of.default))
    return {True: "yes", False: "no"}[of.default] if isinstance(of.default, bool) else str(of.default)


def _words(settings: Iterable[Setting]) -> list[str]:
    settings = list(settings)
    words = list(dict.fromkeys(word for of in settings for word in words_of(of)))
    has_none = any(
        of.family and type(None) in get_args(of.type) and "; by default" not in of.meaning for of in settings
    )
    return ["none", *words] if has_none else words


def _has_list(of: Setting) -> bool:
    return "tuple[" in str(of.type)


def _text(name: str, meaning: str, defaults: list[str]) -> str:
    """Return a meaning with the choices, unless the placeholder shows them, and with the defaults."""
    settings = named_settings()[name]
    words, default = _words(settings), "; ".join(defaults)
    notes = []
    if words and not metavar_of(name).startswith("["):
        listed = [f"{word} (default)" if word == default else word for word in words]
        notes = [", ".join(listed) + (", or numbers separated by commas" if _has_list(settings[0]) else "")]
    is_stated = (notes and default in words) or (default == "none" and "default" in meaning)
    if default and not is_stated:
        notes.append(f"default: {default}")
    return f"{meaning}  [{'; '.join(notes)}]" if notes else meaning
