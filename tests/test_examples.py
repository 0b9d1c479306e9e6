"""Every example runs, in a folder of its own."""

import re
import sys
from pathlib import Path

import pytest
from processes import run

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9]*.py"))
SWEEPS = sorted((Path(__file__).parent.parent / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    done = run([sys.executable, "-W", "error", str(path)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_examples_import_only_from_the_top_of_the_package():
    """So does the README."""
    root = Path(__file__).parent.parent
    texts = [path.read_text(encoding="utf-8") for path in (*root.glob("examples/*.py"), root / "README.md")]
    imports = [line for text in texts for line in re.findall(r"^(?:from|import) revgn.*", text, re.MULTILINE)]
    assert len(imports) > 10
    assert {line.split()[1] for line in imports} == {"revgn"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_file_of_a_sweep_is_a_plan(path):
    from revgn.sweeps import load_plan, plan_trials

    assert len(plan_trials(load_plan(path))) >= 2


def test_the_first_figure_is_a_sweep_that_can_be_run():
    from revgn.sweeps import load_plan, plan_trials

    trials = plan_trials(load_plan(Path(__file__).parent.parent / "examples" / "fashion.toml"))
    assert len(trials) == 12
    assert len({trial.choices["variant"] for trial in trials}) == 4


def test_the_first_figure_is_drawn(tmp_path):
    """Its sweep is reduced to one seed and two steps on the digits."""
    from dataclasses import replace

    from sweep_cases import Here

    from revgn.settings import merge_settings
    from revgn.sweeps import load_plan, parse_axis, run_sweep

    examples = Path(__file__).parent.parent / "examples"
    plan = load_plan(examples / "fashion.toml")
    tiny = {
        "data": {"name": "digits", "subset": 200},
        "training": {"steps": 2, "batch_size": 50, "eval_every": 1},
    }
    plan = replace(
        plan, settings=merge_settings(tiny, dict(plan.settings)), axes=(parse_axis("training.seed", [0]),)
    )
    run_sweep(plan, tmp_path / "runs", executor=Here())
    done = run(
        [sys.executable, str(examples / "draw_variants.py"), "runs", "fashion"],
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fashion-epoch.png", "fashion-seconds.png"]
    assert all((tmp_path / name).stat().st_size > 5000 for name in done.stdout.split())
