"""The best weights of a run: storing, finding and evaluating them."""

import pytest
from launch_cases import Killed, config, kill_at, settings

from revgn.errors import RunError
from revgn.launch import evaluate_run, resume_run, start_run
from revgn.settings import build_config, merge_settings, nested
from revgn.store import RunWriter, load_checkpoint, open_run
from revgn.store.checkpoint import best_checkpoint
from revgn.views import summarize


def test_the_best_checkpoint_is_kept_and_found(tmp_path):
    """A checkpoint at a step with an evaluation contains the score of the evaluation."""
    settings = {"lr": 1e-3, "eval_every": 3, "checkpoint_every": 3}
    folder = tmp_path / "run"
    start_run(config(**settings, steps=12, optimizer="adam"), folder)
    run = open_run(folder)
    for path in (folder / "checkpoints").iterdir():
        checkpoint = load_checkpoint(path)
        row = run.epochs["step"].tolist().index(checkpoint.step)
        assert checkpoint.attributes["score"] == run.epochs["test_accuracy"][row]
    best = evaluate_run(folder, {}, checkpoint="best")
    assert best["test_accuracy"] == run.epochs["test_accuracy"].max()
    assert best["step"] in run.epochs["step"][run.epochs["test_accuracy"] == best["test_accuracy"]]


@pytest.fixture
def steps_written(monkeypatch):
    """Record the steps of the checkpoints that are written, in their order, when none is due by time.

    Scores of raw weights increase up to step 7, and scores of averaged weights up to step 4.
    """
    monkeypatch.setattr("revgn.launch.record.CHECKPOINT_SHARE", 1e-9)
    monkeypatch.setattr(
        "revgn.launch.record._scores",
        lambda record: {"raw": -abs(record["step"] - 7), "average": -abs(record["step"] - 4)},
    )
    written, save = [], RunWriter.save_checkpoint

    def spy(writer, *, step, **rest):
        written.append(step)
        return save(writer, step=step, **rest)

    monkeypatch.setattr(RunWriter, "save_checkpoint", spy)
    return written


EACH_STEP = {"optimizer": "adam", "eval_every": 1, "checkpoint_every": None, "steps": 12}


def best_steps(folder):
    return [best_checkpoint(folder, weights).step for weights in ("raw", "average")]


def test_the_best_state_is_written_before_a_checkpoint_that_is_due(tmp_path, steps_written):
    start_run(config(**EACH_STEP | {"checkpoint_every": 5}), tmp_path / "run")
    assert steps_written == [0, 4, 5, 7, 10, 12]
    assert best_steps(tmp_path / "run") == [7, 4]


def test_the_best_weights_wait_until_a_checkpoint_is_due(tmp_path, steps_written):
    """Of a sequence of improving states, only the first, the best and the last are written."""
    start_run(config(**EACH_STEP), tmp_path / "run")
    assert steps_written == [0, 4, 7, 12]
    assert best_steps(tmp_path / "run") == [7, 4]
    assert open_run(tmp_path / "run").checkpoints == [4, 7, 12]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunError])
def test_the_best_weights_are_written_when_training_raises_an_error(error, tmp_path, steps_written):
    def observe(problem, event):
        if event.state.step == 9:
            raise error("enough")

    with pytest.raises(error):
        start_run(config(**EACH_STEP), tmp_path / "run", observe=observe)
    assert steps_written == [0, 4, 7]


def test_the_best_weights_of_a_killed_run_are_recovered(tmp_path, steps_written, monkeypatch):
    """States that were not written before the kill are computed again after resumption."""
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "__exit__", lambda writer, *_: writer._release())
        with pytest.raises(Killed):
            start_run(config(**EACH_STEP), tmp_path / "run", observe=kill_at(25))  # the last evaluation
    assert open_run(tmp_path / "run").checkpoints == [0]
    resume_run(tmp_path / "run", {})
    assert best_steps(tmp_path / "run") == [7, 4]


def test_the_validation_set_selects_the_best_weights(tmp_path):
    settings = {"validation": 0.2, "eval_every": 3, "steps": 12}
    start_run(config(**settings, optimizer="adam", lr=1e-3), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.epochs["validation_accuracy"].max() > run.epochs["validation_accuracy"][0]
    found = evaluate_run(tmp_path / "run", {}, checkpoint="best")
    assert found["validation_rows"] == round(0.2 * 1437)
    assert found["validation_accuracy"] == run.epochs["validation_accuracy"].max()
    assert found["all_rows"] == found["train_rows"] + found["validation_rows"] + 360


def test_the_best_evaluation_is_always_a_checkpoint(tmp_path):
    """This holds even if evaluations are more frequent than checkpoints."""
    folder = tmp_path / "run"
    fast = {"optimizer": "adam", "lr": 0.03, "eval_every": 1, "steps": 40}
    start_run(build_config(merge_settings(nested("training.checkpoint_every", None), settings(fast))), folder)
    best = summarize(open_run(folder))["best"]
    evaluated = evaluate_run(folder, {}, checkpoint="best")
    assert evaluated["test_accuracy"] == best["test_accuracy"]
    assert evaluated["step"] == best["step"]
