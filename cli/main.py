"""The group `revgn`: commands are loaded when they are called, errors become one line."""

import importlib
import sys
from io import TextIOWrapper
from typing import Any

import click

COMMANDS = {
    "train": "Train a network into a new run folder.",
    "sweep": "Train many, by a grid or drawn, on one machine or several.",
    "study": "A question of the field, answered by a sweep, with verdicts.",
    "resume": "Go on with a run, killed, interrupted or finished.",
    "show": "Settings, figures, exactness and time split of a run.",
    "ls": "List the runs in a folder.",
    "watch": "Watch a run, or all in a folder, as they go on.",
    "compare": "What differs between runs, and what came out, over seeds.",
    "plot": "Draw training and test curves of runs.",
    "report": "One page about runs, which works offline.",
    "export": "Write runs for other tools: CSV, Parquet, NetCDF, TensorBoard.",
    "eval": "Evaluate a run's network.",
    "analyse": "How far runs have moved, and what their steps are like.",
    "check": "Whether a run, or the mathematics on this machine, can be trusted.",
    "data": "List, fetch and describe data sets.",
    "devices": "Which backends and devices there are.",
    "reference": "All commands, options, settings and series on one page.",
}


class LazyGroup(click.Group):
    """Group that imports a command's module only when the command is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Commands in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `revgn_cli.<name>`."""
        if cmd_name not in COMMANDS:
            return None
        module = "list_runs" if cmd_name == "ls" else cmd_name
        command: click.Command = importlib.import_module(f"revgn_cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command; an unknown one gets the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean {near[0]}?" if near else "revgn --help lists the commands"
            ctx.fail(f"no such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def main(self, args: Any = None, *more: Any, **extra: Any) -> Any:
        """Run and exit; a usage error is one line."""
        extra["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # where the encoding has no such character
        try:
            code = super().main(args, *more, **extra)
        except click.Abort:
            sys.exit(130)
        except click.ClickException as error:
            ctx = getattr(error, "ctx", None)
            name = ctx.command_path if ctx else "revgn"
            if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
                error.show()
            else:
                message = _old_name(error) or " ".join(error.format_message().split()).rstrip(".")
                click.echo(f"{name}: {message}; see {name} --help", err=True)
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a mistake of the user's is one line, exit code 2 for usage and 1 for failure."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            click.echo("revgn: stopped", err=True)
            ctx.exit(130)
        except Exception as error:
            from revgn.errors import BackendError, RevgnError, ShapeError, UsageError

            if not isinstance(error, RevgnError | OSError | MemoryError):
                raise
            message = str(error)
            if isinstance(error, MemoryError) and not isinstance(error, RevgnError):
                message = f"not enough memory: {message or 'no detail'}; try a smaller batch"
            click.echo(f"revgn: {message}", err=True)
            ctx.exit(2 if isinstance(error, UsageError | ShapeError | BackendError) else 1)


def _old_name(error: click.ClickException) -> str:
    """Say what became of an option of an earlier version; "" for any other error."""
    if not isinstance(error, click.NoSuchOption):
        return ""
    from revgn_cli.options import old_option

    hint = old_option(error.option_name)
    return f"{error.option_name}: {hint}" if hint else ""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="revgn", prog_name="revgn")
def main() -> None:
    """Train reversible networks by exact Gauss-Newton steps, beside SGD and Adam.

    \b
    revgn train                              digits, exact Gauss-Newton, a few seconds
    revgn train --data fashion-mnist --damping 0.1
    revgn show runs/...                      what came out
    eval "$(_REVGN_COMPLETE=bash_source revgn)"    completion in this shell (zsh_source, fish_source)
    """


if __name__ == "__main__":
    sys.exit(main())
