"""The trials of a sweep before it runs: their names, their number, and the estimated time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli.options import print_json
from revgn_cli.progress import clock

if TYPE_CHECKING:
    from revgn.sweeps.plan import Trial
    from revgn.sweeps.tune import Tuned


def print_forecast(
    trials: "Sequence[Trial]", tuned: "Tuned | None", folder: Path, workers: int, as_json: bool = False
) -> None:
    """Print the names of the first trials, how many there are, and the time that they take at least."""
    from revgn.errors import RevgnError, UsageError
    from revgn.sweeps.forecast import forecast

    if workers < 1:
        raise UsageError(f"workers: {workers} is not at least 1")
    found, unknown = None, ""
    try:
        found = forecast(trials, tuned, workers)
    except RevgnError as error:
        unknown = str(error)
    if as_json:
        seconds = {} if found is None else found.first
        print_json(
            [{"trial": each.name, "seconds": seconds.get(each.name), **each.choices} for each in trials]
        )
        return
    for trial in trials:
        click.echo(trial.name)
    of_most = "" if found is None or found.most == len(trials) else f", at most {found.most} in all"
    begin = " to begin with" if tuned else ""
    click.echo(f"{len(trials)} trial{'' if len(trials) == 1 else 's'}{begin}{of_most} in {folder}")
    if found is None:
        click.echo(f"time unknown: {unknown}")
        return
    by = "1 worker" if workers == 1 else f"{workers} workers"
    least = f"at least {clock(found.least_time(workers))}"
    if of_most:
        least += f" for these, about {clock(found.most_time(workers))} for all of them"
    click.echo(f"time {least}, with {by} on this machine")
