"""The output of the script for each of its parts, with a fake Python that returns fixed answers."""

import os
import sys
from pathlib import Path

import pytest
from processes import run

SCRIPT = Path(__file__).parent / "run.sh"
ANSWERS = """#!/bin/sh
case "$*" in
    *"check --math"*) echo all laws hold ;;
    *test_trajectories*) echo one is far; exit 1 ;;
    *test_resume*) exit 124 ;;  # by timeout
esac
"""


@pytest.fixture
def script(tmp_path):
    """Function that runs the script with an interpreter and returns its exit status, output and summary."""

    def start(*parts, python, **settings):
        settings |= {"PYTHON": str(python), "OUT": str(tmp_path / "out"), "WHEELS": str(tmp_path)}
        done = run([str(SCRIPT), *parts], env=os.environ | settings)
        assert not done.stderr
        return done.returncode, done.stdout, (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")

    return start


@pytest.fixture
def answers(tmp_path):
    python = tmp_path / "python"
    python.write_text(ANSWERS, encoding="utf-8")
    python.chmod(0o755)
    return python


def test_without_a_gpu_it_says_so(script):
    status, output, summary = script(python=sys.executable, CUDA_VISIBLE_DEVICES="")
    assert status == 3
    assert output == summary
    assert output.startswith("no GPU: ")


def test_each_part_has_its_verdict_and_its_file(script, answers, tmp_path):
    status, output, summary = script(python=answers)
    assert status == 1
    lines = summary.splitlines()
    verdicts = {line.partition(":")[0]: line.partition(": ")[2].rpartition(",")[0] for line in lines}
    assert verdicts == {
        "environment": "ok",
        "math": "ok",
        "tests": "ok",
        "trajectories": "failed with status 1",
        "resume": "stopped after its 120 s",
        "bench": "ok",
        "scale": "ok",
    }
    assert output.endswith(summary)
    assert (tmp_path / "out" / "math.log").read_text(encoding="utf-8") == "all laws hold\n"


def test_no_part_is_begun_without_time_for_it(script, answers):
    status, _, summary = script("math", "bench", python=answers, BUDGET="4")
    assert status == 1
    assert [*summary.splitlines()] == [f"{part}: left out, the time is over" for part in ("math", "bench")]


def test_parts_can_be_chosen(script, answers):
    status, _, summary = script("math", "bench", python=answers)
    assert (status, [line.split(":")[0] for line in summary.splitlines()]) == (0, ["math", "bench"])


def test_a_part_that_does_not_exist_is_named(answers, tmp_path):
    done = run([str(SCRIPT), "math", "enviroment"], env=os.environ | {"PYTHON": str(answers)}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("enviroment: there is no such part; expected environment math ")
    assert [*tmp_path.iterdir()] == [answers]
