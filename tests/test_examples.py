"""Every example runs, in a folder of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_first_figure_is_a_sweep_that_can_be_run():
    from revgn.sweeps import load_plan, plan_jobs

    jobs = plan_jobs(load_plan(Path(__file__).parent.parent / "examples" / "fashion.toml"))
    assert len(jobs) == 12
    assert len({job.choices["variant"] for job in jobs}) == 4
