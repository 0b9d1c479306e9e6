"""Options that are settings: one for each field of the structs that a configuration may hold."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from revgn.data import DataSettings
from revgn.settings import kind_of, named_settings, parse_value, renamed, settings_by_name, words_of
from revgn.settings.build import Table
from revgn.settings.text import parse_assignment
from revgn.structs import Setting, settings_of

_LISTED = 50  # characters of a list of words that an option shows itself
F = TypeVar("F", bound=Callable[..., Any])

_FOR_TRAINING = ("name", "test_fraction", "standardize_targets", "crop")
DATA_OPTIONS = ("data", *(of.name for of in settings_of(DataSettings) if of.name not in _FOR_TRAINING))
RESUME_OPTIONS = tuple(name for name, found in named_settings().items() if any(of.resumable for of in found))


class SettingValue(click.types.StringParamType):
    """A value of a setting: read as TOML does, else text; the structs check it."""

    def __init__(self, settings: tuple[Setting, ...]) -> None:
        self.words = tuple(dict.fromkeys(word for of in settings for word in words_of(of)))
        kinds = {"int": "INTEGER", "float": "NUMBER", "": "TEXT"}
        kind = next(word for part, word in kinds.items() if part in str(settings[0].type))
        listed = "|".join(self.words)
        self.is_long = len(listed) > _LISTED  # then the help lists them
        self.name = "KIND" if self.is_long else listed or ("SIZE" if settings[0].size else kind)
        self.is_text = settings[0].type in (str, str | None)

    def get_metavar(self, param: Any, ctx: Any = None) -> str:
        """Return the words as they are to be written."""
        return f"[{self.name}]" if self.words and not self.is_long else self.name

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read a value; numbers with commas are a list. "none" stays a word: None is an option not given."""
        if not isinstance(value, str) or self.is_text or value.lower() == "none":
            return value
        found = parse_value(value)
        listed = parse_value(f"[{found}]") if isinstance(found, str) and "," in found else found
        return found if isinstance(listed, str) else listed

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Complete the words that the setting takes."""
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


set_option = click.option(
    "-s", "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting, by its dotted path."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress.")
workers_option = click.option(
    "--workers", type=int, metavar="N", help="Jobs at a time (1; with --dask all its workers)."
)
dask_option = click.option(
    "--dask", metavar="ADDRESS|local", help="Run the jobs on a dask cluster, or on one made here."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """Print strict JSON; infinity and NaN become null."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=float), indent=0))


def setting_options(names: tuple[str, ...] | None = None) -> Callable[[F], F]:
    """Decorate a command with the options of these settings, by default of all."""

    def decorate(command: F) -> F:
        known = named_settings()
        for name in reversed(names or tuple(known)):
            word = name.replace("_", "-")
            flag = f"--{word}/--no-{word}" if known[name][0].type is bool else f"--{word}"
            command = click.option(flag, name, **_about(known[name]))(command)
        return command

    return decorate


def chosen_settings(values: Mapping[str, Any], assignments: tuple[str, ...] = (), *weaker: Table) -> Table:
    """Nested settings of the options given and of the `--set` assignments, which are stronger.

    `weaker` layers, such as a file, say which structs are chosen.
    """
    given = {
        name: None if str(value).lower() == "none" else value
        for name, value in values.items()
        if value is not None
    }
    for text in assignments:
        path, value = parse_assignment(text)
        given |= {path: value}
    return settings_by_name(given, *weaker, prefix="--")


def old_option(flag: str) -> str:
    """Return the hint for an option of version 0.1; "" for others."""
    hint = renamed(flag.lstrip("-").replace("-", "_"))
    found = re.fullmatch(r"is now ([\w.]*)\.(\w+)(.*)", hint)
    if found is None:
        return hint
    if "second" in found[1]:  # the name alone would set both
        return f"is now -s {found[1]}.{found[2]}=..."
    return f"is now --{found[2].replace('_', '-')}{found[3]}"


def _about(settings: tuple[Setting, ...]) -> dict[str, Any]:
    """Return the attributes of the option of one name: type, meaning, default."""
    texts = list(dict.fromkeys(of.meaning for of in settings))
    defaults = {
        str(of.default if of.family is None else of.default and kind_of(of.default)) for of in settings
    }
    value = SettingValue(settings)
    help_text = " ".join(texts)
    if value.is_long:
        help_text = f"{help_text.rstrip('.')}: {', '.join(value.words)}."
    if len(defaults) == 1 and not defaults & {"None", "False"}:
        help_text += f"  [{defaults.pop()}]"
    if settings[0].type is bool:
        return {"default": None, "help": help_text}
    return {"type": value, "default": None, "help": help_text}
