"""The README's commands and Python run in one folder, in order; what trains does so on few rows."""

import re
import shlex
import sys
from pathlib import Path

from click.testing import CliRunner
from processes import run
from revgn_cli.main import main

from revgn.sweeps import parse_plan, plan_jobs

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
FASHION = Path("/usr/share/datasets/fashion-mnist")
FEW = ("--subset", "128", "--batch-size", "64")


def is_setup(text):
    """Set-up commands are run by .ci/run itself."""
    return text.startswith("python3 -m venv")


def run_command(line):
    """Run a line of the README in this process; only other programs are started."""
    program, *arguments = shlex.split(line)
    if program == "python":
        done = run([sys.executable, *arguments])
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), f"{line}\n{done.stderr}"
        return
    assert program == "revgn"
    command, *options = arguments
    trains = command == "train" or (command == "sweep" and len(options) > 1)
    few = () if "--subset" in options or not trains else FEW
    result = CliRunner().invoke(main, [command, *options, *few])
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


def test_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind, text in BLOCKS:
        if is_setup(text) or ("fashion-mnist" in text and not FASHION.exists()):
            continue
        if kind == "python":
            exec(compile(text, text.splitlines()[0], "exec"), {"__name__": "__main__"})
            continue
        for line in text.splitlines():
            run_command(line)


def test_the_sweeps_file_is_a_plan():
    (text,) = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(plan_jobs(parse_plan(text, "README"))) == 2 * 4 * 3


def test_there_are_exactly_two_setup_commands():
    assert sum(is_setup(text) for _, text in BLOCKS) == 2


def test_one_step_is_exact(capsys):
    """The ten lines print a rho at rounding."""
    exec(next(text for kind, text in BLOCKS if kind == "python" and "rho" in text), {})
    assert float(capsys.readouterr().out.rpartition("=")[2]) < 1e-12
