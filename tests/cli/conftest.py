import inspect
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from revgn_cli.main import main

TINY = ("--subset", "200", "--hidden", "32", "--batch-size", "64")


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run `revgn` in this process, in an empty folder; the result has exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    runner = CliRunner(**apart)  # click 8.2 keeps the two apart by itself

    def run(*arguments):
        result = runner.invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def train(invoke):
    """Train a tiny network for four steps into the folder of that name."""

    def run(out, *arguments):
        return invoke("train", *TINY, "--steps", 4, "--out", out, *arguments)

    return run


@pytest.fixture
def spawn(tmp_path):
    """Start `revgn` as a process of its own, in the test's folder; killed at the end if still alive."""
    started = []

    def start(*arguments, program=None, **options):
        options = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "cwd": tmp_path,
        } | options
        own = (
            [str(Path(sys.executable).with_name(program))]
            if program
            else [sys.executable, "-m", "revgn_cli.main"]
        )
        command = [*own, *map(str, arguments)]
        started.append(subprocess.Popen(command, env=dict(os.environ), **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def on_terminal(spawn):
    """Start `revgn` in a terminal; gives the process and a function that reads all that it writes."""

    def start(*arguments):
        leader, follower = pty.openpty()
        process = spawn(*arguments, stdout=follower, stderr=follower, stdin=follower)
        os.close(follower)

        def read():
            content = b""
            try:
                while chunk := os.read(leader, 65536):
                    content += chunk
            except OSError:
                pass
            os.close(leader)
            return content.decode(errors="replace")

        return process, read

    return start
