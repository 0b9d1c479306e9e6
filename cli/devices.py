"""`revgn devices`: which backends and devices there are."""

import click
from revgn_cli.options import json_option, print_json


@click.command("devices")
@json_option
def command(as_json: bool) -> None:
    """Say which backends work here, on which devices, and why one does not.

    \b
    revgn devices
    """
    from revgn.arrays import cupy_absence, device_name, select_backend

    missing = cupy_absence()
    found = {"numpy": device_name(select_backend("numpy"))}
    if missing is None:
        found["cupy"] = device_name(select_backend("cupy"))
    if as_json:
        print_json({"backends": found, "auto": select_backend().name, "cupy_absence": missing})
        return
    for name, device in found.items():
        click.echo(f"{name:<6} {device}{'  (auto)' if name == select_backend().name else ''}")
    if missing is not None:
        click.echo(f"cupy   {missing}")
