"""The command group `revgn`: each command is imported when it is called; an error is printed as one line."""

import errno
import importlib
import sys
from io import TextIOWrapper
from typing import Any

import click
from click.shell_completion import add_completion_class
from revgn_cli.completion import Bash
from revgn_cli.notes import say, say_note

GROUPS = {
    "Train": {
        "train": "Train a network and record the run in a new folder.",
        "resume": "Continue a run that was interrupted, killed or finished.",
        "sweep": "Run many trials: a grid, random points, tuning, a search.",
        "study": "Run a study: a question, its sweep, and verdicts on claims.",
    },
    "Look at runs": {
        "ls": "List the runs in a folder.",
        "show": "Show a run: settings, results, relative residuals, time.",
        "watch": "Follow runs while they are being written.",
        "compare": "Compare runs: differing settings, mean and standard deviation.",
        "plot": "Plot series of runs.",
        "report": "Write one HTML page about runs that works offline.",
        "export": "Write runs as CSV, Parquet, NetCDF or TensorBoard files.",
    },
    "Examine": {
        "eval": "Evaluate the network of a checkpoint.",
        "predict": "Predict with a trained network for the inputs of a file.",
        "analyse": "Measure kernels, features and steps of finished runs.",
        "check": "Check run folders, or the mathematics on this machine.",
    },
    "About": {
        "data": "List, download and describe data sets.",
        "devices": "List the array libraries and devices that work here.",
        "reference": "Print all commands, options, settings and series.",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


class LazyGroup(click.Group):
    """Group that imports the module of a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `revgn_cli.<name>`."""
        if cmd_name not in COMMANDS:
            return None
        module = "list_runs" if cmd_name == "ls" else cmd_name
        command: click.Command = importlib.import_module(f"revgn_cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by purpose, without importing their modules."""
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command; the error for an unknown command suggests the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from revgn.errors import nearest

            hint = nearest(args[0], COMMANDS, "")  # the message names --help in any case
            ctx.fail("; ".join(filter(None, (f"no such command {args[0]!r}", hint))))
        return super().resolve_command(ctx, args)

    def main(self, args: Any = None, *more: Any, **extra: Any) -> Any:
        """Run and exit; a usage error is printed as one line."""
        extra["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # for encodings that lack a character
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
                say(f"{name}: {message}; see {name} --help")
            sys.exit(error.exit_code)
        except OSError as error:  # from the help, the version or the completion, printed before any command
            say_note(_file_error(error))
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error is one line, with exit code 2 for wrong usage and 1 for a failure."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if error.ctx is None and (command := self.get_command(ctx, ctx.invoked_subcommand or "")):
                error.ctx = click.Context(command, parent=ctx, info_name=ctx.invoked_subcommand)
            raise
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt as interrupt:
            from revgn_cli.interrupt import exit_code

            say_note("stopped")
            ctx.exit(exit_code(getattr(interrupt, "number", 0)))
        except Exception as error:
            from revgn.arrays import is_out_of_memory
            from revgn.errors import BackendError, RevgnError, ShapeError, UsageError

            if not isinstance(error, RevgnError | OSError) and not is_out_of_memory(error):
                raise
            message = _file_error(error) if isinstance(error, OSError) else str(error)
            if is_out_of_memory(error) and not isinstance(error, RevgnError):
                advice = "use a smaller batch or network (revgn train --dry-run estimates the memory)"
                message = f"not enough memory: {message or 'no detail'}; {advice}"
            say_note(message)
            ctx.exit(2 if isinstance(error, UsageError | ShapeError | BackendError) else 1)


def _file_error(error: OSError) -> str:
    """Return which file could not be used, and why."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # files are named elsewhere
    return f"standard output: cannot be written: {error.strerror}" if is_full else str(error)


def _old_name(error: click.ClickException) -> str:
    """Return the hint for an option of an earlier version; "" for any other error."""
    if not isinstance(error, click.NoSuchOption):
        return ""
    from revgn_cli.options import old_option

    hint = old_option(error.option_name)
    return f"{error.option_name}: {hint}" if hint else ""


add_completion_class(Bash)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="revgn", prog_name="revgn")
def main() -> None:
    """Train reversible networks with exact Gauss-Newton steps, or with SGD, Adam and other baselines.

    \b
    revgn train                                  train on handwritten digits (seconds)
    revgn train --data fashion-mnist --damping 0.1
    revgn show runs/...                          show the results of a run
    eval "$(_REVGN_COMPLETE=bash_source revgn)"  completion (zsh_source, fish_source)
    """


if __name__ == "__main__":
    sys.exit(main())
