"""Completion in shells: settings and their values, series, data sets and studies."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem

if TYPE_CHECKING:
    from revgn.structs import Setting

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class Bash(BashComplete):
    """Completion in bash, which splits words at "="; a completed key is not followed by a space."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace"
    )
    _key = ""  # the part of the incomplete word that bash does not replace

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the complete words and the incomplete one."""
        args, incomplete = super().get_completion_args()
        if incomplete == "=":
            args, incomplete = [*args, "="], ""
        if args[-1:] == ["="] and len(args) > 1:
            *args, key, _ = args
            self._key = f"{key}="
        return args, f"{self._key}{incomplete}"

    def format_completion(self, item: CompletionItem) -> str:
        """Return type and value of a completion, without the key that precedes it on the command line."""
        return f"{item.type},{str(item.value).removeprefix(self._key)}"


def starting(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the words that begin with `incomplete`, without repetition."""
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(incomplete)]


def among(words: Callable[[], Iterable[str]]) -> Complete:
    """Return the completion of a parameter whose values are listed when they are needed."""
    return lambda context, parameter, incomplete: starting(words(), incomplete)


def data_names(context: Any, parameter: Any, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a known data set, or else the path of a file."""
    from revgn.data import dataset_names

    return [CompletionItem(incomplete, type="file"), *starting(dataset_names(), incomplete)]


def setting_keys(context: click.Context, parameter: Any, incomplete: str) -> list[CompletionItem]:
    """Complete the name or path of a setting that the chosen structs have."""
    from revgn.settings import named_settings

    return starting([*_paths(context), *named_settings()], incomplete)


def setting_pairs(context: click.Context, parameter: Any, incomplete: str) -> list[CompletionItem]:
    """Complete `KEY=VALUE`: first the key, then a value of this setting."""
    key, equals, value = incomplete.partition("=")
    if not equals:
        return [CompletionItem(f"{item.value}=") for item in setting_keys(context, parameter, incomplete)]
    done, _, last = value.rpartition(",")  # a list of values, as in --grid
    before = f"{key}={done}," if done else f"{key}="
    return [CompletionItem(f"{before}{word}") for word in _values(context, key) if word.startswith(last)]


def values_of(path: str, settings: Sequence["Setting"]) -> tuple[str, ...]:
    """Return the values of a setting that are words: choices, kinds, presets, data sets, truth values."""
    from revgn.data import dataset_names
    from revgn.settings import PRESETS, words_of

    if path == "preset":
        return tuple(PRESETS)
    if path in ("data", "data.name"):
        return tuple(dataset_names())
    if settings and settings[0].type is bool:
        return ("true", "false")
    return tuple(dict.fromkeys(word for of in settings for word in words_of(of)))


def series_names(context: click.Context, parameter: Any, incomplete: str) -> list[CompletionItem]:
    """Complete a series, or with --against a metric of `revgn compare`."""
    from revgn.store import EPOCH_SERIES, STEP_SERIES
    from revgn.views.compare import METRICS

    if context.params.get("against"):
        return starting(METRICS, incomplete)
    series = (each.name for each in (*STEP_SERIES, *EPOCH_SERIES))
    return starting(["loss", "accuracy", "spectrum", *series], incomplete)


def _paths(context: click.Context) -> dict[str, "Setting"]:
    """Return the settings, by dotted path, of the structs that the command line chooses so far."""
    from revgn.errors import UsageError
    from revgn.settings import fields_at, named_settings, parse_assignment, settings_by_name

    params = context.params
    given = {name: params[name] for name in named_settings() if params.get(name) is not None}
    try:
        given |= dict(map(parse_assignment, params.get("assignments") or ()))
        fields = fields_at(settings_by_name(given))
    except UsageError:  # the command line is not complete yet
        fields = fields_at({})
    found = {path: chosen.of for path, chosen in fields.items()}
    return found | {f"{path}.kind": of for path, of in found.items() if of.family}


def _values(context: click.Context, key: str) -> tuple[str, ...]:
    """Return the words that are values of a setting, given by name or path."""
    from revgn.settings import named_settings

    chosen = _paths(context)
    return values_of(key, [chosen[key]] if key in chosen else named_settings().get(key, ()))
