"""The README's commands and Python run as they stand, in one folder, in order."""

import os
import re
import sys
from pathlib import Path

import pytest
from processes import run

from revgn.sweeps import parse_plan, plan_jobs

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def is_setup(text):
    """Set-up commands are run by .ci/run itself."""
    return text.startswith("python3 -m venv")


@pytest.mark.parametrize(
    ("kind", "text"), [pytest.param(k, t, id=t.splitlines()[0][:60]) for k, t in BLOCKS if not is_setup(t)]
)
def test_block(kind, text, folder):
    if "fashion-mnist" in text and not FASHION.exists():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
    done = run(command, cwd=folder, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_sweeps_file_is_a_plan():
    (text,) = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(plan_jobs(parse_plan(text, "README"))) == 2 * 4 * 3


def test_there_are_exactly_two_setup_commands():
    assert sum(is_setup(text) for _, text in BLOCKS) == 2


def test_one_step_is_exact():
    """The ten lines print a rho at rounding."""
    text = next(text for kind, text in BLOCKS if kind == "python" and "rho" in text)
    done = run([sys.executable, "-c", text])
    assert float(done.stdout.rpartition("=")[2]) < 1e-12
