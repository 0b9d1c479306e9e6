"""`revgn analyse`: analysis of stored runs at their checkpoints."""

import json
import re

import numpy as np
import pytest

from revgn import open_run


def test_the_analysis_reproduces_the_values_recorded_in_training(train, invoke):
    """Values at checkpoints with an evaluation are the same; those of the next step are as if continued."""
    train("runs/a", "-q", "--analyse-rows", 12, "--eval-every", 1, "--checkpoint-every", 1)
    found = json.loads(invoke("analyse", "runs/a", "--rows", 12, "--json").stdout)["runs"]["runs/a"]
    run = open_run("runs/a")
    assert {int(step) for step in found} == set(run.checkpoints)
    assert 4 in run.checkpoints
    for step, record in found.items():
        at = list(run.epochs["step"]).index(int(step))
        assert {"kernel_rate", "step_overlap", "kernel_similarity"} <= record.keys()
        for name, value in record.items():
            recorded = run.epochs[name][at]
            if np.isfinite(recorded):
                assert value == pytest.approx(recorded, rel=1e-12), name


def test_kernels_of_many_rows_are_estimated(train, invoke):
    train("runs/a", "-q", "--analyse-rows", 100, "-s", "training.analyse_probes=8", "--checkpoint-every", 2)
    found = json.loads(invoke("analyse", "runs/a", "--rows", 100, "--probes", 8, "--json").stdout)
    exact = json.loads(invoke("analyse", "runs/a", "--rows", 100, "--json").stdout)
    run = open_run("runs/a")
    for step, record in found["runs"]["runs/a"].items():
        formed = exact["runs"]["runs/a"][step]
        for name in ("kernel_similarity", "kernel_alignment", "kernel_rate"):
            assert 0 < record[f"{name}_error"] < 0.2
            assert abs(record[name] - formed[name]) < 5 * record[f"{name}_error"]
        assert record["step_excess"] == formed["step_excess"]  # computed on a batch, which has fewer rows
    assert run.epochs["kernel_similarity_error"][-1] > 0
    last = found["runs"]["runs/a"][str(int(run.epochs["step"][-1]))]
    assert last["kernel_similarity"] == pytest.approx(run.epochs["kernel_similarity"][-1], rel=1e-6)


def test_a_test_set_with_fewer_rows_is_noted(train, invoke):
    train("runs/a", "-q")
    found = invoke("analyse", "runs/a", "--rows", 361, "--probes", 4)
    assert found.stderr == "revgn: runs/a: the test set has only 360 rows, which are all used\n"
    assert invoke("analyse", "runs/a", "--rows", 360, "--probes", 4).stderr == ""


def test_several_runs_are_compared(train, invoke):
    train("runs/a", "-q", "--checkpoint-every", 1)
    train("runs/b", "-q", "--seed", 1, "--checkpoint-every", 1)
    lines = invoke("analyse", "runs", "--rows", 20).stdout.splitlines()
    assert re.fullmatch(r"runs/a +step [03] +step 4", lines[0])  # on a slow machine, step 3 is not saved
    assert lines[1].split()[0] == "kernel_similarity"
    assert lines[-1].startswith("runs/a, runs/b: output CKA ")
    between = json.loads(invoke("analyse", "runs", "--rows", 20, "--json").stdout)["between"]
    assert between[0]["runs"] == ["runs/a", "runs/b"]
    assert 0 < between[0]["output_cka"] < 1


def test_a_run_that_cannot_be_compared_is_noted(train, invoke, tmp_path):
    """Runs on other data are measured, but form no pair; a run that cannot be measured is left out."""
    for name, k in (("a", 0), ("b", 1)):
        x = np.random.default_rng(k).standard_normal((60, 4))
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(60) % 2)
        options = ("--data", f"{name}.npz", "--epochs", 1, "--hidden", 8, "-q")
        assert invoke("train", *options, "--out", f"runs/{name}").exit_code == 0
    found = invoke("analyse", "runs", "--rows", 10)
    assert found.exit_code == 0
    assert [line.split()[0] for line in found.stdout.splitlines() if line[0] != " "] == ["runs/a", "runs/b"]
    assert found.stderr.splitlines() == [
        "revgn: the runs have different data; outputs are compared between runs on the same data only"
    ]
    (tmp_path / "b.npz").unlink()
    found = invoke("analyse", "runs", "--rows", 10)
    assert (found.exit_code, found.stdout.split()[0]) == (1, "runs/a")
    assert re.fullmatch(r"revgn: .*b\.npz: there is no such file; .*\n", found.stderr)
    assert "runs/b" not in found.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("runs/a", "--probes", -1), "probes: -1 is negative"),
        (("runs/a", "--rows", 3), "rows: 3 are too few"),
        (("nowhere",), "nowhere"),
        ((), "RUNS"),
    ],
)
def test_invalid_options(train, invoke, options, message):
    train("runs/a", "-q")
    found = invoke("analyse", *options)
    assert found.exit_code in (1, 2)
    assert message in found.stderr
