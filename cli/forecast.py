"""The trials of a sweep before it runs: their names, their number, and the estimated time."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli.options import print_json
from revgn_cli.progress import clock

if TYPE_CHECKING:
    from revgn.sweeps import Plan
    from revgn.sweeps.drive import Source


def print_forecast(
    source: "Source",
    plan: "Plan",
    folder: Path,
    workers: int,
    as_json: bool = False,
    most: int | None = None,
) -> None:
    """Print the names and number of the first trials, a lower bound on their time, and the time of all.

    `most` is an upper bound on the number of trials, for a source whose later trials cannot be timed.
    Unknown data and a backend that cannot be used are errors, as they are without a dry run.
    """
    from contextlib import suppress

    from revgn.errors import DataError, RevgnError, UsageError
    from revgn.sweeps import first_data
    from revgn.sweeps.forecast import forecast
    from revgn.sweeps.tune import Tuned

    if workers < 1:
        raise UsageError(f"workers: {workers} is not at least 1")
    with suppress(DataError):  # the data are not on this machine yet
        first_data(source, plan, folder, download=False)
    trials = list(source.more({}, 0))
    later = source.later() if isinstance(source, Tuned) else []
    most = most or len(trials) + sum(count for _, count in later)
    try:
        found, unknown = forecast(trials, later, workers), ""
    except RevgnError as error:
        found, unknown = None, str(error)
    if as_json:
        seconds = {} if found is None else found.first
        print_json(
            [{"trial": each.name, "seconds": seconds.get(each.name), **each.choices} for each in trials]
        )
        return
    for trial in trials:
        click.echo(trial.name)
    more = f" to begin with, at most {most} in all," if most > len(trials) else ""
    click.echo(f"{len(trials)} trial{'' if len(trials) == 1 else 's'}{more} in {folder}")
    if found is None:
        click.echo(f"time unknown: {unknown}")
        return
    time = f"at least {clock(found.least(workers))}"
    if most > len(trials):
        others = f"about {clock(found.most(workers))} for all" if later else "unknown for the others"
        time += f" for these, {others}"
    click.echo(f"time {time}, with {workers} worker{'' if workers == 1 else 's'} on this machine")
