"""`revgn data`: list, download and describe data sets."""

from typing import Any

import click
from revgn_cli import completion
from revgn_cli.options import DATA_OPTIONS, chosen_settings, json_option, print_json, setting_options

_folder_option = click.option(
    "--folder",
    metavar="DIR",
    help="Data folder.  [default: $REVGN_DATA, else revgn in the user's cache folder]",
)


@click.group("data", invoke_without_command=True, help="List, download and describe data sets.")
@click.pass_context
def command(context: click.Context) -> None:
    """List the data sets if no subcommand is given."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@command.command("list", help="List the known data sets and their folders.")
@_folder_option
@json_option
def list_(folder: str | None = None, as_json: bool = False) -> None:
    """Print one line per known data set."""
    from revgn.data import list_datasets

    listed = list_datasets(folder)
    if as_json:
        print_json(listed)
        return
    for entry in listed:
        size = f"{entry['bytes'] / 1e6:.2f} MB" if entry["place"] else ""
        click.echo(f"{entry['name']:<14} {size:>10}  {entry['place'] or 'not downloaded'}")


@command.command("fetch", help="Download the data set NAME into the data folder, unless it is there already.")
@click.argument("name", shell_complete=completion.data_names)
@_folder_option
@json_option
def fetch_(name: str, folder: str | None, as_json: bool) -> None:
    """Print the paths of the files of a data set."""
    from revgn.data import fetch

    paths = [str(path) for path in fetch(name, folder)]
    if as_json:
        print_json(paths)
    else:
        click.echo("\n".join(paths))


@command.command("describe", help="Load the data set NAME_OR_PATH and describe its contents.")
@click.argument("name_or_path", shell_complete=completion.data_names)
@_folder_option
@setting_options((*(name for name in DATA_OPTIONS if name not in ("data", "folder")), "test_fraction"))
@click.option(
    "--download/--no-download",
    default=True,
    show_default=True,
    help="Download a known data set that is not in the data folder.",
)
@json_option
def describe_(name_or_path: str, download: bool, as_json: bool, **values: Any) -> None:
    """Print one line per property of a data set."""
    from revgn.data import describe
    from revgn.settings import build_config

    settings = chosen_settings(values).get("data", {})
    build_config({"data": settings | {"name": name_or_path}})  # names a wrong value as all commands do
    described = describe(name_or_path, download=download, **settings)
    if as_json:
        print_json(described)
        return
    for key, value in described.items():
        listed = value if isinstance(value, list) else ["-" if value is None else value]
        for number, text in enumerate(listed if key == "warnings" else [", ".join(map(str, listed))]):
            click.echo(f"{'' if number else key:<15} {text}")
