"""`revgn resume`: continue a run from its newest intact checkpoint."""

from pathlib import Path
from typing import Any

import click
from revgn_cli import options
from revgn_cli.interrupt import stop_when_asked
from revgn_cli.notes import say_note
from revgn_cli.outcome import command_line, json_if_diverged, report
from revgn_cli.progress import show_progress


@click.command("resume")
@options.run_argument
@options.setting_options(options.RESUME_OPTIONS, with_defaults=False)
@options.set_option
@options.quiet_option
@options.json_option
def command(run: Path, assignments: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Continue RUN, which was killed, interrupted or finished, from its newest intact checkpoint.

    Settings without an option keep their value in the run. To continue a finished run, raise --epochs or
    --steps.

    \b
    revgn resume runs/digits-gauss-newton-20260101-120000
    revgn resume runs/digits-gauss-newton-20260101-120000 --epochs 20
    """
    from revgn.launch import resume_run
    from revgn.store import open_run

    changes = options.chosen_settings(values, assignments, open_run(run).config)
    with (
        json_if_diverged(run, as_json),
        stop_when_asked() as should_stop,
        show_progress(quiet, f"run {run}") as observe,
    ):
        outcome = resume_run(
            run, changes, command=command_line(), observe=observe, should_stop=should_stop, note=say_note
        )
    report(outcome, as_json, should_stop.number)
