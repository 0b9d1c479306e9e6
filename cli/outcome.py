"""Printing how training ended, and the command line that is stored in runs and files."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli.notes import say_note
from revgn_cli.options import print_json
from revgn_cli.progress import clock, evaluation_metrics

if TYPE_CHECKING:
    from revgn.launch import Outcome


@contextmanager
def json_if_diverged(folder: Path, as_json: bool) -> Iterator[None]:
    """If `as_json` is true, print the status of a diverged run as JSON; the error is raised in any case."""
    from revgn.training import DivergedError

    try:
        yield
    except DivergedError as error:
        if as_json:
            print_json({"run": str(folder), "status": "diverged", "message": str(error)})
        raise


def report(outcome: "Outcome", as_json: bool, stopped_by: int) -> None:
    """Print how training ended; after a signal, print the resume command and exit with its exit code."""
    resume = f"revgn resume {shlex.quote(str(outcome.folder))}"
    if as_json:
        shown = {"run": str(outcome.folder), "status": outcome.status, "step": outcome.step, "resume": resume}
        shown["seconds"] = outcome.seconds
        print_json(shown | {name: value for name, value in outcome.last.items() if name not in shown})
    else:
        last = outcome.last
        steps = f"{outcome.step} step{'' if outcome.step == 1 else 's'}"
        metrics = ", ".join(evaluation_metrics(last))
        if last and last["step"] != outcome.step:
            metrics = f"last evaluation at step {last['step']:.0f}: {metrics}"
        length = f"{outcome.status} after {steps}, {clock(outcome.seconds)} of training"
        click.echo(", ".join(filter(None, (length, metrics))))
        if averaged := evaluation_metrics(last, average=True):
            click.echo(f"averaged weights: {', '.join(averaged)}")
        _warn_if_loss_rose(outcome)
        click.echo(
            f"revgn show {shlex.quote(str(outcome.folder))}" if outcome.status == "finished" else resume
        )
    if outcome.status == "interrupted":
        from revgn_cli.interrupt import exit_code

        raise click.exceptions.Exit(exit_code(stopped_by))


def _warn_if_loss_rose(outcome: "Outcome") -> None:
    """Warn on standard error if the training loss is higher than before training."""
    from revgn.store import open_run

    losses = open_run(outcome.folder).epochs["train_loss"]
    if losses[-1] > losses[0]:
        advice = "a smaller --lr, or with gauss-newton a larger --damping, may help"
        say_note(f"the training loss rose from {losses[0]:.4g} to {losses[-1]:.4g}; {advice}")


def command_line() -> str:
    """Return the command line of this process, quoted for a shell."""
    return shlex.join(["revgn", *sys.argv[1:]])
