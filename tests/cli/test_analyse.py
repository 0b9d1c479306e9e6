"""`revgn analyse`: finished runs measured at their checkpoints."""

import json

import numpy as np
import pytest

from revgn import open_run


def test_it_measures_what_training_records(train, invoke):
    """At checkpoints that fall on evaluations, the same numbers; ahead of the last one as though to go on."""
    train("runs/a", "-q", "--analyse", 12, "--eval-every", 1, "--checkpoint-every", 1)
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


def test_several_runs_are_held_against_each_other(train, invoke):
    train("runs/a", "-q")
    train("runs/b", "-q", "--seed", 1)
    lines = invoke("analyse", "runs", "--rows", 20).stdout.splitlines()
    assert lines[0].split() == ["runs/a", "step", "3", "step", "4"]
    assert lines[1].split()[0] == "kernel_similarity"
    assert lines[-1].startswith("runs/a, runs/b: output CKA ")
    between = json.loads(invoke("analyse", "runs", "--rows", 20, "--json").stdout)["between"]
    assert between[0]["runs"] == ["runs/a", "runs/b"]
    assert 0 < between[0]["output_cka"] < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [(("runs/a", "--rows", 3), "rows: 3 are too few"), (("nowhere",), "nowhere"), ((), "RUNS")],
)
def test_mistakes(train, invoke, options, message):
    train("runs/a", "-q")
    found = invoke("analyse", *options)
    assert found.exit_code in (1, 2)
    assert message in found.stderr
