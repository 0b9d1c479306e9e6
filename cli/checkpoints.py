"""Options that choose the checkpoint and the weights of a run."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class CheckpointType(click.types.StringParamType):
    """The words best and last, or the step of a checkpoint."""

    name = "best|last|STEP"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the word, or the step as a number."""
        if value in ("best", "last") or isinstance(value, int):
            return value
        if not str(value).isdecimal():
            self.fail(f"{value!r} is not best, last or a step", param, ctx)
        return int(value)

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        """Return the words that begin with `incomplete`."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in ("best", "last") if word.startswith(incomplete)]


def checkpoint_options(default: str | None) -> Callable[[F], F]:
    """Return a decorator that adds --checkpoint, --best and --weights, which has the given default."""
    automatic = "" if default else "  [default: averaged weights if the run has them, else raw]"

    def decorate(command: F) -> F:
        for option in (
            click.option(
                "--weights",
                type=click.Choice(["raw", "average"]),
                default=default,
                show_default=default is not None,
                help="Raw weights, or averaged weights (only for runs trained with --average)." + automatic,
            ),
            click.option(
                "--best",
                "checkpoint",
                flag_value="best",
                type=CheckpointType(),
                help="Short for --checkpoint best.",
            ),
            click.option(
                "--checkpoint",
                type=CheckpointType(),
                default="last",
                show_default=True,
                metavar="best|last|STEP",
                help="best: checkpoint with the best score; last: the newest; STEP: the one at this step.",
            ),
        ):
            command = option(command)
        return command

    return decorate
