"""Options that are settings: one per field of the structs that a configuration may contain."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from revgn_cli import completion
from revgn_cli.option_text import full_text, metavar_of

from revgn.data import DataSettings
from revgn.errors import UsageError
from revgn.settings import flat, merge_settings, named_settings, parse_value, renamed, settings_by_name
from revgn.settings.build import Table
from revgn.settings.text import parse_assignment
from revgn.structs import Setting, settings_of

F = TypeVar("F", bound=Callable[..., Any])

_FOR_TRAINING = ("name", "test_fraction", "standardize_targets", "augmentation")
DATA_OPTIONS = ("data", *(of.name for of in settings_of(DataSettings) if of.name not in _FOR_TRAINING))
RESUME_OPTIONS = tuple(name for name, found in named_settings().items() if any(of.resumable for of in found))


class SettingValue(click.types.StringParamType):
    """The value of a setting: parsed as TOML if possible, else text; the structs validate it."""

    def __init__(self, name: str, settings: tuple[Setting, ...], metavar: str) -> None:
        self._setting, self._settings = name, settings
        self.name = metavar
        self.is_text = settings[0].type in (str, str | None)

    def get_metavar(self, param: Any, ctx: Any = None) -> str:
        """Return the placeholder that the help shows for the value."""
        return self.name

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Parse a value; comma-separated numbers give a list. "none" stays text: None means "not given"."""
        if not isinstance(value, str) or self.is_text or value.lower() == "none":
            return value
        found = parse_value(value)
        listed = parse_value(f"[{found}]") if isinstance(found, str) and "," in found else found
        return found if isinstance(listed, str) else listed

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Return the choices of the setting that begin with `incomplete`."""
        if self._setting == "data":
            return completion.data_names(ctx, param, incomplete)
        return completion.starting(completion.values_of(self._setting, self._settings), incomplete)


set_option = click.option(
    "-s",
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any setting, such as optimizer.lr=0.1.",
    shell_complete=completion.setting_pairs,
)


def _existing(ctx: click.Context, param: click.Parameter, run: Path | None) -> Path | None:
    if run is not None and not run.exists() and not ctx.resilient_parsing:
        raise UsageError(f"{run}: there is no such folder")
    return run


run_argument = click.argument("run", type=click.Path(path_type=Path), callback=_existing)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Do not show progress.")
workers_option = click.option(
    "--workers",
    type=int,
    metavar="N",
    help="Number of concurrent trials.  [default: 1; with --dask: all workers of the cluster]",
)
dask_option = click.option(
    "--dask",
    metavar="ADDRESS|local",
    shell_complete=completion.among(lambda: ["local"]),
    help="Run the trials on the dask cluster at ADDRESS, or on a new local one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def refuse_given(names: Iterable[str], reason: str) -> None:
    """Raise `UsageError` for an option of the current command that was given, but has no effect."""
    context = click.get_current_context()
    flags = {param.name: max(param.opts, key=len) for param in context.command.params}
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"{flags[name]}: has no effect {reason}")


@contextmanager
def errors_of_file(file: Path | None, names: Iterable[str], use: Callable[[], object]) -> Iterator[None]:
    """Name a file of settings in an error of the block that `use`, which uses the file alone, raises as well.

    A name at the top of the file that is an option of the current command is an error, too.
    """
    flags = {flag for param in click.get_current_context().command.params for flag in param.opts}
    for name in names:
        if name not in named_settings() and (flag := f"--{name.replace('_', '-')}") in flags:
            raise UsageError(f"{file}: {name}: is an option of the command ({flag}), not a setting")
    try:
        yield
    except UsageError as error:
        message = str(error)
        try:
            if file is not None:
                use()
        except UsageError as of_file:
            if str(of_file) == message:
                raise UsageError(f"{file}: {message}") from None
        raise


def print_json(value: Any) -> None:
    """Print a value as strict JSON; infinity and NaN become null."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=float), indent=0))


def setting_options(names: tuple[str, ...] | None = None, *, with_defaults: bool = True) -> Callable[[F], F]:
    """Return a decorator that adds the options of the named settings, by default of all settings.

    The help leaves the defaults out for commands that keep the settings of a run (`with_defaults` false).
    """

    def decorate(command: F) -> F:
        known = named_settings()
        for name in reversed(names or tuple(known)):
            word = name.replace("_", "-")
            flag = f"--{word}/--no-{word}" if known[name][0].type is bool else f"--{word}"
            command = click.option(flag, name, **_attributes(name, known[name], with_defaults))(command)
        return command

    return decorate


def chosen_settings(values: Mapping[str, Any], assignments: tuple[str, ...] = (), *weaker: Table) -> Table:
    """Return the nested settings of the options and of the `--set` assignments.

    Tables in `weaker`, such as the settings of a file, help to determine the structs of the options.
    """
    given = {
        name: None if str(value).lower() == "none" else value
        for name, value in values.items()
        if value is not None
    }
    shown = {name: f"--{name.replace('_', '-')}" for name in given}
    for text in assignments:
        path, value = parse_assignment(text)
        if path in given and given[path] != value:
            raise UsageError(f"{shown[path]} and -s {text}: both set {path}; use only one of them")
        given[path] = value
        shown.setdefault(path, f"-s {text}")
    settings = settings_by_name(given, *weaker, shown=shown.__getitem__)
    lengths = {
        of: shown[name]
        for of in ("epochs", "steps")
        for name in (of, f"training.{of}")
        if given.get(name) is not None
    }
    if len(lengths) == 2:
        void, length = lengths["epochs"], lengths["steps"]
        raise UsageError(f"{void}: has no effect with {length}, which sets the length of the training")
    return settings


def over_file(settings: Table, of_file: Table) -> Table:
    """Return the settings of options over those of a file, without its `epochs` if options set `steps`."""
    merged, given = merge_settings(settings, of_file), flat(settings)
    if given.get("training.steps") is not None and "training.epochs" not in given:
        merged["training"].pop("epochs", None)
    return merged


def old_option(flag: str) -> str:
    """Return the hint for an option of version 0.1, or a common name; "" for any other option."""
    hint = renamed(flag.lstrip("-").replace("-", "_"))
    found = re.fullmatch(r"(is now|is called) ([\w.]*)\.(\w+)(.*)", hint)
    if found is None:
        return hint
    if "second" in found[2]:  # the name alone is ambiguous
        return f"is now -s {found[2]}.{found[3]}=..."
    return f"{found[1]} --{found[3].replace('_', '-')}{found[4]}"


def _attributes(name: str, settings: tuple[Setting, ...], with_default: bool) -> dict[str, Any]:
    """Return the attributes of the click option of one setting."""
    found: dict[str, Any] = {"default": None, "help": full_text(name, with_default=with_default)}
    return (
        found
        if settings[0].type is bool
        else found | {"type": SettingValue(name, settings, metavar_of(name))}
    )
