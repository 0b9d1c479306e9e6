"""`revgn reference`: every command, option, setting, series and attribute on one page of Markdown."""

from collections.abc import Iterator
from inspect import cleandoc

import click


@click.command("reference")
def command() -> None:
    """Print a reference of all commands with their options, all settings, and all that a run folder names.

    \b
    revgn reference | less
    """
    from revgn_cli.main import COMMANDS

    root = click.get_current_context().find_root()
    assert isinstance(root.command, click.Group)
    lines = ["# revgn: reference", "", "Made by `revgn reference`.", "", "## Commands"]
    for name in COMMANDS:
        found = root.command.get_command(root, name)
        assert found is not None
        lines += _command(name, found)
    lines += [*_settings(), *_run_folder()]
    click.echo("\n".join(lines))


def _command(name: str, found: click.Command) -> Iterator[str]:
    """Head, meaning, examples and options of a command; of a group those of its subcommands."""
    if isinstance(found, click.Group):
        for sub, child in found.commands.items():
            yield from _command(f"{name} {sub}", child)
        return
    context = click.Context(found, info_name=f"revgn {name}")
    about, _, examples = cleandoc(found.help or "").partition("\b\n")
    yield from ["", f"### {' '.join([f'revgn {name}', *found.collect_usage_pieces(context)])}"]
    yield from ["", " ".join(about.split())]
    if examples.strip():
        yield from ["", "```sh", *examples.strip().splitlines(), "```"]
    options = [param for param in found.params if isinstance(param, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    if records:
        yield from ["", "| option | what |", "|---|---|"]
        yield from (f"| `{_cell(flag)}` | {_cell(text)} |" for flag, text in records)


def _settings() -> Iterator[str]:
    """Tables of all structs that a configuration may hold: sections, then kinds by family."""
    from revgn.settings import FAMILIES, Config

    yield from ["", "## Settings"]
    for section in ("data", "network", "training"):
        yield from _struct(f"[{section}]", type(getattr(Config(), section)))
    for family, kinds in FAMILIES.items():
        for kind, struct in kinds.items():
            yield from _struct(f'{family}: kind = "{kind}"', struct)


def _struct(head: str, struct: type) -> Iterator[str]:
    from revgn.settings import kind_of, words_of
    from revgn.structs import described, is_struct, settings_of

    settings = settings_of(struct)
    if not settings:
        return
    yield from ["", f"### {head}", "", "| setting | default | values | meaning |", "|---|---|---|---|"]
    for of in settings:
        default = "" if of.default is None or of.family or is_struct(of.type) else f"`{of.default}`"
        values = ", ".join(words_of(of)) or (
            kind_of(of.type) if is_struct(of.type) else described(of.type, of.bounds)
        )
        yield f"| `{of.name}` | {default} | {_cell(values)} | {_cell(of.meaning)} |"


def _run_folder() -> Iterator[str]:
    from revgn.store.names import CADENCES, ROOT_ATTRIBUTES

    for cadence in CADENCES:
        yield from ["", f"## Series of run.h5: group `{cadence.group}`"]
        yield from ["", "| series | unit | what |", "|---|---|---|"]
        for series in (cadence.scale, *cadence.series, *cadence.by_coupling):
            words = f" ({', '.join(f'{k} {word}' for k, word in enumerate(series.meanings))})"
            meaning = series.long_name + (words if series.meanings else "")
            yield f"| `{series.name}` | {series.units} | {_cell(meaning)} |"
    yield from ["", "## Attributes of run.h5", "", "| attribute | what |", "|---|---|"]
    yield from (f"| `{name}` | {_cell(meaning)} |" for name, meaning in ROOT_ATTRIBUTES.items())
    yield "| `config.<setting>`, `version.<package>` | each setting and version by its name |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
