"""The best weights of a run: kept, found again, evaluated."""

import numpy as np
import pytest
from launch_cases import Killed, config, kill_at, settings

from revgn.errors import RunError
from revgn.launch import evaluate_run, resume_run, start_run
from revgn.settings import build_config, merge_settings, nested
from revgn.store import RunWriter, load_checkpoint, open_run
from revgn.views import summarize


def test_the_best_checkpoint_is_kept_and_found(tmp_path):
    """Wherever a checkpoint and an evaluation fall on one step, the checkpoint knows its score."""
    settings = {"lr": 1e-3, "eval_every": 3, "checkpoint_every": 3}
    folder = tmp_path / "run"
    start_run(config(**settings, steps=12, optimizer="adam"), folder)
    run = open_run(folder)
    for path in (folder / "checkpoints").iterdir():
        checkpoint = load_checkpoint(path)
        row = run.epochs["step"].tolist().index(checkpoint.step)
        assert checkpoint.attributes["score"] == run.epochs["test_accuracy"][row]
    best = evaluate_run(folder, {}, best=True)
    assert best["test_accuracy"] == run.epochs["test_accuracy"].max()
    assert best["step"] in run.epochs["step"][run.epochs["test_accuracy"] == best["test_accuracy"]]


@pytest.fixture
def steps_written(monkeypatch):
    """Steps whose checkpoints are written, in that order, where time never lets a further one be due."""
    monkeypatch.setattr("revgn.launch.record.CHECKPOINT_SHARE", 1e-9)
    written, save = [], RunWriter.save_checkpoint

    def spy(writer, *, step, **rest):
        written.append(step)
        return save(writer, step=step, **rest)

    monkeypatch.setattr(RunWriter, "save_checkpoint", spy)
    return written


IMPROVING = {"optimizer": "adam", "lr": 1e-3, "eval_every": 1, "checkpoint_every": None, "steps": 12}


def best_step(folder):
    epochs = open_run(folder).epochs
    return int(epochs["step"][epochs["test_accuracy"].argmax()])


def test_the_best_weights_wait_until_a_checkpoint_is_due(tmp_path, steps_written):
    """Better epochs follow one another; only the first state, the best and the last are written."""
    folder = tmp_path / "run"
    start_run(config(**IMPROVING), folder)
    accuracy = open_run(folder).epochs["test_accuracy"]
    assert (accuracy[1:] > np.maximum.accumulate(accuracy)[:-1]).sum() > 3
    assert steps_written == sorted({0, best_step(folder), 12})
    assert evaluate_run(folder, {}, best=True)["test_accuracy"] == accuracy.max()


@pytest.mark.parametrize("average", ["raw", "average"])
def test_the_best_of_either_kind_of_weights_is_kept(average, tmp_path, steps_written):
    start_run(config(**IMPROVING, average="exponential", decay=0.7), tmp_path / "run")
    name = "test_accuracy" + ("_average" if average == "average" else "")
    best = evaluate_run(tmp_path / "run", {}, best=True, weights=average)
    assert best["test_accuracy"] == np.nanmax(open_run(tmp_path / "run").epochs[name])
    assert len(steps_written) <= 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunError])
def test_the_best_weights_are_written_where_training_breaks_off(error, tmp_path, steps_written):
    def observe(problem, event):
        if event.state.step == 9:
            raise error("enough")

    with pytest.raises(error):
        start_run(config(**IMPROVING), tmp_path / "run", observe=observe)
    assert steps_written == [0, best_step(tmp_path / "run")]


def test_the_best_weights_of_a_killed_run_are_found_again(tmp_path, steps_written, monkeypatch):
    """What was not written when it was killed comes again when the run goes on."""
    start_run(config(**IMPROVING), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "__exit__", lambda writer, *_: writer._release())
        with pytest.raises(Killed):
            start_run(config(**IMPROVING), tmp_path / "killed", observe=kill_at(25))  # the last evaluation
    assert open_run(tmp_path / "killed").checkpoints == [0]
    resume_run(tmp_path / "killed", {})
    whole, killed = (evaluate_run(tmp_path / name, {}, best=True) for name in ("whole", "killed"))
    assert whole | {"run": ""} == killed | {"run": ""}


def test_validation_rows_choose_the_best(tmp_path):
    settings = {"validation": 0.2, "eval_every": 3, "steps": 12}
    start_run(config(**settings, optimizer="adam", lr=1e-3), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.epochs["validation_accuracy"].max() > run.epochs["validation_accuracy"][0]
    found = evaluate_run(tmp_path / "run", {}, best=True)
    assert found["validation_rows"] == round(0.2 * 1437)
    assert found["validation_accuracy"] == run.epochs["validation_accuracy"].max()
    assert found["all_rows"] == found["train_rows"] + found["validation_rows"] + 360


def test_the_best_evaluation_is_always_a_checkpoint(tmp_path):
    """Though evaluations come faster than checkpoints are due."""
    folder = tmp_path / "run"
    fast = {"optimizer": "adam", "lr": 0.03, "eval_every": 1, "steps": 40}
    start_run(build_config(merge_settings(nested("training.checkpoint_every", None), settings(fast))), folder)
    best = summarize(open_run(folder))["best"]
    evaluated = evaluate_run(folder, {}, best=True)
    assert evaluated["test_accuracy"] == best["test_accuracy"]
    assert evaluated["step"] == best["step"]
