"""Summaries of runs, and the labels that distinguish runs."""

import json

import pytest

from revgn.settings import build_config, config_dict, settings_by_name
from revgn.store import create_run, open_run
from revgn.views import labels, summarize
from revgn.views.groups import group_runs
from revgn.views.summary import short_names


@pytest.fixture
def make_run(tmp_path, provenance):
    """Make a run with the given settings, records of steps and records of evaluations."""
    from dataclasses import replace

    def make(name="run", settings=None, steps=(), epochs=(), status="finished"):
        config = config_dict(build_config(settings_by_name(settings or {})))
        writer = create_run(tmp_path / name, replace(provenance, config=config))
        for number, record in enumerate(steps, start=1):
            writer.record_step({"step": number, "epoch": number / 4, **record})
        for number, record in enumerate(epochs):
            writer.record_epoch({"epoch": number, "step": 4 * number, **record})
        if status == "killed":
            writer._release()
        elif status != "running":
            writer.close(status, "a word" if status == "failed" else "")
        return writer if status == "running" else open_run(tmp_path / name)

    return make


STEPS = [
    {"rho": 1e-5, "rung": 0, "seconds": 1.0, "seconds_forward": 0.25, "seconds_solve": 0.75, "memory": 5e6},
    {"rho": 3e-5, "rung": 0, "seconds": 2.0, "seconds_forward": 0.75, "seconds_solve": 1.25, "memory": 7e6},
    {"rho": 9e-5, "rung": 2, "seconds": 1.0, "seconds_forward": 1.0, "seconds_solve": 0.0, "memory": 6e6},
]
EPOCHS = [
    {"train_loss": 2.0, "test_loss": 2.5, "test_accuracy": 0.1, "seconds_outside": 2.0},
    {"train_loss": 1.0, "test_loss": 0.5, "test_accuracy": 0.9, "seconds_outside": 0.5},
    {"train_loss": 0.5, "test_loss": 1.5, "test_accuracy": 0.8, "seconds_outside": 0.5},
]


def test_summary_of_a_run(make_run):
    found = summarize(make_run(steps=STEPS, epochs=EPOCHS, settings={"network.hidden": 40}))
    assert (found["status"], found["step"], found["epoch"]) == ("finished", 8, 0.75)
    assert found["title"] == "exact steps on digits"
    assert found["settings"] == {"network.hidden": 40}
    assert found["last"] == {"epoch": 2, "step": 8, **EPOCHS[2]}
    assert found["best"] == {"epoch": 1, "step": 4, **EPOCHS[1]}
    assert found["best_by"] == "test_accuracy"
    assert found["rho"] == {"median": 3e-5, "largest": 9e-5}
    assert found["factorizations"] == {"cholesky": 2, "eigh": 1}
    assert found["seconds"] == 4.0
    assert found["seconds_outside"] == 3.0
    assert found["split"] == {"forward": 0.5, "solve": 0.5}
    assert found["memory_bytes"] == 7e6
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_epochs_without_effect_are_no_difference_between_runs(make_run):
    """Steps set the length of both runs, so that only the seeds differ."""
    runs = [make_run(f"run{k}", {"epochs": 5 + k, "steps": 4, "seed": k}) for k in range(2)]
    assert labels(runs) == ["seed 0", "seed 1"]
    assert "training.epochs" not in summarize(runs[1])["settings"]
    assert len(group_runs(runs)) == 1


def test_the_validation_accuracy_selects_the_best_evaluation(make_run):
    shares = [{**record, "validation_accuracy": 1 - k / 4} for k, record in enumerate(EPOCHS)]
    found = summarize(make_run(epochs=shares))
    assert (found["best"]["epoch"], found["best_by"]) == (0, "validation_accuracy")


def test_without_accuracy_the_lowest_loss_selects_the_best_evaluation(make_run):
    epochs = [{"test_loss": loss} for loss in (2.0, 0.5, float("nan"), 0.75)]
    assert summarize(make_run(epochs=epochs))["best"] == {"epoch": 1, "step": 4, "test_loss": 0.5}


@pytest.mark.parametrize(
    ("paths", "taken", "names"),
    [
        (["optimizer.lr", "optimizer.kind"], [], ["lr", "optimizer"]),
        (["optimizer.first.lr", "optimizer.second.lr"], [], ["first.lr", "second.lr"]),
        (["optimizer.lr", "optimizer.inner.lr"], [], ["optimizer.lr", "inner.lr"]),
        (["training.epochs", "training.steps"], ["epochs"], ["training.epochs", "steps"]),
        (["optimizer.solver.kind", "optimizer.inner.solver.kind"], [], ["optimizer.solver", "inner.solver"]),
    ],
)
def test_each_setting_has_a_short_name_of_its_own(paths, taken, names):
    assert short_names(paths, taken) == names


def test_a_run_without_measurements(make_run):
    found = summarize(make_run())
    assert (found["step"], found["last"], found["best"], found["rho"], found["split"]) == (
        0,
        {},
        {},
        None,
        {},
    )
    assert found["memory_bytes"] is None
    only_first_order = summarize(make_run("adam", steps=[{"seconds": 1.0, "loss": 2.0}]))
    assert (only_first_order["rho"], only_first_order["factorizations"]) == (None, {})


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed", "killed"])
def test_status(status, make_run):
    found = summarize(make_run(status=status))
    assert found["status"] == status
    assert found["message"] == ("a word" if status == "failed" else "")


def test_the_status_is_running_while_a_process_writes_the_run(make_run):
    with make_run(status="running") as writer:
        assert summarize(open_run(writer.folder))["status"] == "running"
    assert summarize(open_run(writer.folder))["status"] == "finished"


def test_infinite_values_are_reported(make_run):
    steps = [{"rho": 1.0}, {"rho": float("inf")}]
    assert summarize(make_run(steps=steps, status="failed"))["rho"]["largest"] == float("inf")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([{"optimizer": "adam"}, {"optimizer": "sgd"}], ["adam, lr 0.001", "sgd, lr 0.1"]),
        ([{"damping": 0.1}, {"damping": 1.0}], ["damping 0.1", "damping 1.0"]),
        ([{"solver": "block"}, {}], ["block", "minimum-norm"]),
        ([{}, {"network.hidden": 8}, {"network.hidden": 8}], ["a", "b", "c"]),
        ([{}, {}], ["a", "b"]),
        ([{}], ["a"]),
        ([{"training.steps": 5}, {"training.steps": 6}], ["steps 5", "steps 6"]),
    ],
)
def test_labels_contain_the_settings_that_differ(settings, expected, make_run):
    runs = [make_run("abc"[number], each) for number, each in enumerate(settings)]
    assert labels(runs) == expected
