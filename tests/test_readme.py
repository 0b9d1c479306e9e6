"""Commands and Python of the README and the manual run, page by page; training takes few rows."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from processes import run
from revgn_cli.main import main

from revgn.sweeps import parse_plan, plan_trials

ROOT = Path(__file__).parent.parent
GUIDE = sorted((ROOT / "examples" / "guide").glob("*.md"))
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
README = (ROOT / "README.md").read_text(encoding="utf-8")
FEW = ("--subset", "64", "--batch-size", "32")


def is_setup(text):
    """Set-up commands are run by .ci/run itself."""
    return text.startswith("python3 -m venv")


def run_command(line):
    """Run a command in this process, its output redirected where it says so; other programs are started."""
    line, _, file = line.partition(" > ")
    program, *arguments = shlex.split(line)
    if program == "python":
        done = run([sys.executable, *arguments])
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), f"{line}\n{done.stderr}"
        return
    assert program == "revgn"
    command, *options = arguments
    trains = command == "train" or (command == "sweep" and len(options) > 1)
    few = () if "--batch-size" in options or not trains else FEW
    result = CliRunner().invoke(main, [command, *options, *few])
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    if file:
        Path(file).write_text(result.output, encoding="utf-8")


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDE], ids=lambda page: page.stem)
def test_the_blocks_of_a_page(page, tmp_path, monkeypatch, few_laws, in_process):
    monkeypatch.chdir(tmp_path)
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, text.splitlines()[0], "exec"), {"__name__": "__main__"})
        elif not is_setup(text):
            for line in text.splitlines():
                run_command(line)


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDE], ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_page_of_the_manual_is_listed():
    index = (ROOT / "examples" / "guide" / "README.md").read_text(encoding="utf-8")
    assert {f"({page.name})" for page in GUIDE if page.name != "README.md"} <= set(
        re.findall(r"\(\S+\.md\)", index)
    )


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_sweep_of_the_manual_is_a_plan():
    text = (ROOT / "examples" / "guide" / "sweeps.md").read_text(encoding="utf-8")
    (plan,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(plan_trials(parse_plan(plan, "sweeps.md"))) == 2 * 4 * 3


def test_there_are_exactly_two_setup_commands():
    assert sum(is_setup(text) for _, text in BLOCK.findall(README)) == 2


def test_one_step_is_exact(capsys):
    """The ten lines print a rho at rounding."""
    exec(next(text for kind, text in BLOCK.findall(README) if kind == "python" and "rho" in text), {})
    assert float(capsys.readouterr().out.rpartition("=")[2]) < 1e-12
