import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from processes import Process, Terminal
from revgn_cli.main import main

PYTHON = (sys.executable, "-m")
TINY = ("--subset", "200", "--hidden", "32", "--batch-size", "64")


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run `revgn` in this process, in an empty folder; the result has exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    runner = CliRunner(**apart)  # click 8.2 separates stdout and stderr by default

    def run(*arguments):
        result = runner.invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def train(invoke):
    """Train a small network for four steps in the folder `out`."""

    def run(out, *arguments):
        return invoke("train", *TINY, "--steps", 4, "--out", out, *arguments)

    return run


@pytest.fixture
def spawn(tmp_path):
    """Start `revgn` as a separate process in the test's folder; kill it after the test if still alive.

    The process may first run the Python statements `prepare`.
    """
    started = []

    def start(*arguments, program=None, prepare="", **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        revgn = [str(Path(sys.executable).with_name(program))] if program else [*PYTHON, "revgn_cli.main"]
        if prepare:
            revgn = [sys.executable, "-c", f"{prepare}; from revgn_cli.main import main; main()"]
        command = [*revgn, *map(str, arguments)]
        started.append(Process(command, cwd=tmp_path, **(pipes | options)))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def on_terminal(spawn):
    """Start `revgn` in a terminal, or with only stderr in one; return the process and the terminal."""
    terminals = []

    def start(*arguments, only_errors=False, term="xterm"):
        terminal = Terminal()
        terminals.append(terminal)
        streams = ("stderr",) if only_errors else ("stdin", "stdout", "stderr")
        process = spawn(*arguments, env=os.environ | {"TERM": term}, **dict.fromkeys(streams, terminal.end))
        os.close(terminal.end)
        return process, terminal

    yield start
    for terminal in terminals:
        terminal.close()
