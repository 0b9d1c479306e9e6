"""Start, stop, resume, extend, evaluate: what a run folder promises, with training in it."""

import json
import shutil
import weakref
from dataclasses import replace
from itertools import cycle

import h5py
import numpy as np
import pytest
from repeats import repeats

from revgn.data import Part, load_dataset
from revgn.errors import MemoryShortageError, RunError, UsageError
from revgn.launch import evaluate_run, resume_run, start_run
from revgn.launch.evaluate import matched_classes
from revgn.settings import build_config, merge_settings, nested, settings_by_name
from revgn.solvers import minimum_norm, tiled_kernel
from revgn.store import RunWriter, latest_checkpoint, load_checkpoint, open_run
from revgn.store.checkpoint import best_checkpoint
from revgn.training import DivergedError, Evaluated, build_problem, load_data
from revgn.views import labels, summarize

TINY = {
    "data": {"subset": 200},
    "network": {"hidden": 32},
    "training": {"batch_size": 64, "steps": 9, "measure_every": 2, "checkpoint_every": 2},
}
OPTIMIZERS = {
    "minimum-norm": {},
    "block": {"solver": "block", "block_weights": (0.5, 0.5)},
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
    "muon": {"optimizer": "muon"},
    "momentum": {"momentum": 0.9, "damping": 0.1, "outputs": "centered-logits"},
    "rows": {"momentum": 0.9, "damping": 0.1, "rows": 2},
    "metric": {
        "metric": "features",
        "every": 4,
        "damping": 0.1,
        "momentum": 0.9,
        "first_block": "identity",
    },
    "orthogonalized": {
        "optimizer": "orthogonalized",
        "damping": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
    },
    "levenberg-marquardt": {"optimizer": "levenberg-marquardt", "curvature": "exact", "momentum": 0.5},
    "kfac": {"optimizer": "kfac", "every": 3, "first_block": "identity"},
    "lbfgs": {"optimizer": "lbfgs", "history": 3},
    "paced": {
        "optimizer": "paced",
        "inner": "sgd",
        "lr": 8.0,
        "weight_decay": 0.01,
        "length": "backtracking",
        "trust_radius": 0.5,
    },
    "switch": {"optimizer": "switch", "momentum": 0.5, "damping": 0.1, "switch_at": 3},
    "patience": {
        "optimizer": "switch",
        "optimizer.first.lr": 0.1,
        "second": "lbfgs",
        "history": 2,
        "patience": 1,
    },
    "blend": {"optimizer": "blend", "damping": 0.1},
    "exponential": {"optimizer": "adam", "average": "exponential", "decay": 0.7, "label_smoothing": 0.1},
    "tail": {"optimizer": "adam", "average": "tail", "tail_start": 0.3},
}


def settings(changes):
    return merge_settings(settings_by_name(changes, TINY), TINY)


def config(**changes):
    return build_config(settings(changes))


def stop_after(step):
    """Arguments for `start_run` that stop it there."""
    seen = [0]
    return {
        "observe": lambda problem, event: seen.append(event.state.step),
        "should_stop": lambda: seen[-1] >= step,
    }


class Killed(BaseException):
    """Stands for kill -9 in one process: nothing of ours handles it."""


def kill_at(number):
    """An observer that stops everything at the event of that number, without a last word."""
    seen = []

    def observe(problem, event):
        seen.append(event)
        if len(seen) == number:
            raise Killed

    return observe


@pytest.mark.parametrize(("name", "step"), [*zip(OPTIMIZERS, cycle((3, 8, 1, 4)), strict=False)])
def test_stopped_after_any_step_and_resumed(name, step, tmp_path):
    """The same bits as a run that was never stopped; checkpoints are those of start, stop and end alone."""
    config = build_config(settings(OPTIMIZERS[name] | {"checkpoint_every": 100}))
    start_run(config, tmp_path / "whole")
    expected = repeats(tmp_path / "whole")
    assert (expected["status"], expected["step"]) == ("finished", 9)
    folder = tmp_path / "stopped"
    outcome = start_run(config, folder, **stop_after(step))
    assert (outcome.status, outcome.step) == ("interrupted", step)
    assert open_run(folder).attributes["message"] == f"stopped after step {step}"
    notes = []
    outcome = resume_run(folder, {}, note=notes.append)
    assert (outcome.status, outcome.step, notes) == ("finished", 9, [])
    assert repeats(folder) == expected


@pytest.mark.parametrize("kind", ["config", "problem"])
def test_a_kernel_without_room_is_factored_by_tiles_from_then_on(kind, tmp_path, monkeypatch):
    """The run goes on from its checkpoint as if resumed with that bound: killed again, to the same bits."""
    config = build_config(settings({"damping": 0.1, "seed": 3}))
    bound = 2 * 640**2  # half of the kernel's bytes

    def until_step(step, monkeypatch):
        """Let memory end in that step, for a kernel as a whole."""
        formed, calls = minimum_norm.lower_kernel, []

        def forming(*arguments):
            kernel = np.empty(1).view()
            calls.append(weakref.ref(kernel))
            if len(calls) >= step:
                raise MemoryError("the device is full")
            return formed(*arguments)

        monkeypatch.setattr(minimum_norm, "lower_kernel", forming)
        return calls

    expected, notes = tmp_path / "by hand", []
    start_run(config, expected, **stop_after(4))
    resume_run(expected, {"optimizer": {"solver": {"memory": bound}}})
    folder = tmp_path / "run"
    what = config if kind == "config" else build_problem(config, load_data(config))
    with monkeypatch.context() as patched:
        calls = until_step(6, patched)
        start_run(what, folder, note=lambda text: notes.append((text, calls[-1]())))
    told = f"kernel of order 640 as a whole, which takes {2 * bound:,} bytes; take memory={bound} "
    ((text, kept),) = notes
    assert told in text
    assert kept is None, "what had been allocated is still there"
    run = open_run(folder)
    assert told in run.attributes["history"]
    assert run.config["optimizer"]["solver"]["memory"] == bound
    assert repeats(folder) == repeats(expected)
    killed = tmp_path / "killed"
    with monkeypatch.context() as patched:
        until_step(6, patched)
        start_run(config, killed, **stop_after(7))
    resume_run(killed, {})  # with room for all, by tiles nevertheless
    assert repeats(killed) == repeats(expected)


def test_a_shortage_without_a_remedy_ends_the_run(tmp_path, monkeypatch):
    def failing(*_):
        raise MemoryError

    monkeypatch.setattr(minimum_norm, "lower_kernel", failing)
    monkeypatch.setattr(tiled_kernel, "cholesky_tiled", failing)
    with pytest.raises(MemoryShortageError, match="even by tiles"):
        start_run(build_config(settings({"damping": 0.1})), tmp_path / "run")
    assert open_run(tmp_path / "run").status == "failed"


def test_stopped_and_resumed_on_a_gpu(stand_in, tmp_path):
    """Batches are gathered and cropped there; what comes after a resumption has the same bits."""
    on_gpu = config(backend="cupy", crop=True, **OPTIMIZERS["exponential"])
    start_run(on_gpu, tmp_path / "whole")
    start_run(on_gpu, tmp_path / "stopped", **stop_after(4))
    resume_run(tmp_path / "stopped", {})
    assert repeats(tmp_path / "stopped") == repeats(tmp_path / "whole")
    assert open_run(tmp_path / "whole").attributes["device"].endswith("compute capability 9.0, no TF32")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run of Adam that was never stopped comes to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    start_run(build_config(settings(OPTIMIZERS["adam"])), folder)
    return repeats(folder)


@pytest.mark.parametrize("event", range(1, 14))
def test_broken_off_at_any_event_and_resumed(event, whole, tmp_path, monkeypatch):
    """Also before the first checkpoint, and after the last step or evaluation but before the last words."""
    monkeypatch.setattr("revgn.store.writer.RunWriter.__exit__", lambda writer, *_: writer._release())
    config = build_config(settings(OPTIMIZERS["adam"]))
    with pytest.raises(Killed):
        start_run(config, tmp_path / "killed", observe=kill_at(event))
    assert summarize(open_run(tmp_path / "killed"))["status"] == "killed"
    monkeypatch.undo()
    resume_run(tmp_path / "killed", {})
    assert repeats(tmp_path / "killed") == whole


@pytest.mark.parametrize("steps", [9, 8])
def test_killed_between_the_last_checkpoint_and_the_last_words(steps, tmp_path, monkeypatch):
    config = build_config(settings({"steps": steps, "optimizer": "adam"}))
    start_run(config, tmp_path / "whole")

    def die(writer, *_):
        writer._release()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("revgn.store.writer.RunWriter.close", die)
        with pytest.raises(Killed):
            start_run(config, tmp_path / "killed")
    assert latest_checkpoint(tmp_path / "killed")[0].step == steps
    assert resume_run(tmp_path / "killed", {}).status == "finished"
    assert repeats(tmp_path / "killed") == repeats(tmp_path / "whole")


@pytest.mark.parametrize("name", ["momentum", "lbfgs", "patience", "exponential"])
def test_more_epochs_are_a_longer_run(name, tmp_path):
    changes = OPTIMIZERS[name] | {"steps": None}
    start_run(build_config(settings(changes | {"epochs": 2})), tmp_path / "short")
    start_run(build_config(settings(changes | {"epochs": 4})), tmp_path / "long")
    outcome = resume_run(tmp_path / "short", {"training": {"epochs": 4}}, command="revgn resume short")
    assert (outcome.status, outcome.step) == ("finished", 12)
    assert repeats(tmp_path / "short") == repeats(tmp_path / "long")
    run = open_run(tmp_path / "short")
    assert run.config["training"]["epochs"] == 4
    assert run.attributes["history"].endswith("revgn resume short")


def test_the_outcome_and_what_observers_see(tmp_path):
    seen = []

    def observe(problem, event):
        run = open_run(tmp_path / "run")  # journalled before anybody is told
        group = run.epochs if isinstance(event, Evaluated) else run.steps
        assert group["step"][-1] == event.state.step
        seen.append(event)

    outcome = start_run(config(), tmp_path / "run", command="revgn train x", observe=observe)
    evaluated = [event for event in seen if isinstance(event, Evaluated)]
    assert (outcome.folder, outcome.status, outcome.step) == (tmp_path / "run", "finished", 9)
    assert outcome.last == evaluated[-1].record
    attributes = open_run(tmp_path / "run").attributes
    assert attributes["command"] == "revgn train x"
    assert attributes["title"] == "gauss-newton on digits"
    assert attributes["data_sha256"] == load_dataset("digits").checksum
    assert attributes["version.numpy"] == np.__version__
    assert "2411.07979" in attributes["references"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"training": {"seed": 1}}, r"training\.seed: cannot change on resume \(it is 0\); start a new run"),
        ({"network": {"hidden": 16}}, r"network\.hidden: cannot change on resume \(it is 32\)"),
        ({"training": {"dtype": "float64"}}, r"training\.dtype: cannot change on resume"),
        ({"training": {"batch_size": 32}}, r"training\.batch_size: cannot change"),
        ({"optimizer": "adam"}, r"optimizer\.kind: cannot change on resume"),
        ({"data": {"subset": 100}}, r"data\.subset: cannot change on resume \(it is 200\)"),
        ({"preset": "paper-mnist"}, r"preset: cannot change on resume"),
        ({"optimizer": {"lr": -1}}, r"optimizer\.lr: -1\.0 cannot be used"),
        ({"optimizer": {"rate": 1}}, r"optimizer\.rate: unknown setting"),
        ({"training": {"steps": 9}}, r"has done its 9 steps; to go on, raise training\.steps"),
        ({"training": {"steps": 5}}, r"has done its 9 steps; to go on, raise training\.steps"),
        (
            {"training": {"steps": None, "epochs": 2}},
            r"has done its 9 steps; to go on, raise training\.epochs",
        ),
    ],
)
def test_what_a_resumption_may_not_change(changes, says, finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=says):
        resume_run(finished, changes)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run that nobody changes."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    start_run(config(), folder)
    return folder


def test_another_rate_may_be_resumed_with(tmp_path):
    start_run(config(), tmp_path / "run", **stop_after(4))
    resume_run(tmp_path / "run", {"optimizer": {"lr": 0.125}})
    assert open_run(tmp_path / "run").steps["lr"].tolist() == [1.0] * 4 + [0.125] * 5


def save_table(path, seed=0, rows=60):
    rng = np.random.default_rng(seed)
    np.savez(path, x=rng.standard_normal((rows, 6)), y=np.arange(rows) % 3)


def test_data_that_changed_are_refused(tmp_path):
    save_table(tmp_path / "own.npz")
    own = {"data": str(tmp_path / "own.npz"), "subset": None, "batch_size": 16}
    start_run(config(**own), tmp_path / "run", **stop_after(4))
    save_table(tmp_path / "own.npz", seed=1)
    for use in (lambda: resume_run(tmp_path / "run", {}), lambda: evaluate_run(tmp_path / "run", {})):
        with pytest.raises(
            RunError, match=r"own\.npz: the data are not those of the run \(SHA-256 \w{12}\.\.\."
        ):
            use()
    save_table(tmp_path / "own.npz")
    assert resume_run(tmp_path / "run", {}).status == "finished"


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    start_run(config(), tmp_path / "whole")
    start_run(config(), tmp_path / "run", **stop_after(5))
    newest, before = (tmp_path / "run" / "checkpoints" / f"step_{step:08d}.h5" for step in (5, 4))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    notes = []
    resume_run(tmp_path / "run", {}, note=notes.append)
    assert len(notes) == 1
    assert "passed over" in notes[0]
    assert str(newest) in notes[0]
    assert repeats(tmp_path / "run") == repeats(tmp_path / "whole")
    start_run(config(), tmp_path / "none", **stop_after(1))
    for path in (tmp_path / "none" / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunError, match="has no checkpoint to go on from") as caught:
        resume_run(tmp_path / "none", {})
    assert "\n" not in str(caught.value)
    assert before.name == "step_00000004.h5"


def test_divergence_keeps_what_was_good(tmp_path):
    wild = config(optimizer="sgd", lr=1e30, eval_every=100)
    with pytest.raises(DivergedError, match="step 2: the loss is nan"):
        start_run(wild, tmp_path / "step")
    run = open_run(tmp_path / "step")
    assert run.status == "failed"
    assert run.attributes["message"].startswith("step 2: the loss is nan")
    assert run.steps["step"].tolist() == [1, 2]
    assert latest_checkpoint(tmp_path / "step")[0].step == 0
    with pytest.raises(DivergedError, match="step 1: the training loss is"):
        start_run(config(lr=1e30, steps=1), tmp_path / "evaluation")
    assert open_run(tmp_path / "evaluation").status == "failed"
    assert latest_checkpoint(tmp_path / "evaluation")[0].step == 0
    resume_run(tmp_path / "step", {"optimizer": {"lr": 0.1}})
    again = open_run(tmp_path / "step")
    assert (again.status, again.attributes["message"]) == ("finished", "")
    assert np.isfinite(again.steps["loss"]).all()


def test_a_mistake_leaves_no_folder(tmp_path):
    wrong = config(solver="block", block_weights=(0.5, 0.25, 0.25))
    with pytest.raises(UsageError):
        start_run(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten(finished):
    before = (finished / "run.h5").read_bytes()
    with pytest.raises(RunError, match="is not empty, and a run is never overwritten; choose another folder"):
        start_run(config(), finished)
    assert (finished / "run.h5").read_bytes() == before


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
    """Steps whose checkpoints are written, in that order, where time never lets a further one be due.

    Raw weights are best at step 7, averaged ones at step 4, and better at each evaluation until then.
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


def test_the_best_weights_wait_until_a_checkpoint_is_due(tmp_path, steps_written):
    """Of the better and better ones only the first, the best and the last are written."""
    start_run(config(**EACH_STEP), tmp_path / "run")
    assert steps_written == [0, 4, 7, 12]
    assert best_steps(tmp_path / "run") == [7, 4]
    assert open_run(tmp_path / "run").checkpoints == [4, 7, 12]


def test_a_checkpoint_that_is_due_comes_after_the_best(tmp_path, steps_written):
    start_run(config(**EACH_STEP | {"checkpoint_every": 5}), tmp_path / "run")
    assert steps_written == [0, 4, 5, 7, 10, 12]
    assert best_steps(tmp_path / "run") == [7, 4]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunError])
def test_the_best_weights_are_written_where_training_breaks_off(error, tmp_path, steps_written):
    def observe(problem, event):
        if event.state.step == 9:
            raise error("enough")

    with pytest.raises(error):
        start_run(config(**EACH_STEP), tmp_path / "run", observe=observe)
    assert steps_written == [0, 4, 7]


def test_the_best_weights_of_a_killed_run_are_found_again(tmp_path, steps_written, monkeypatch):
    """What was not written when it was killed comes again when the run goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "__exit__", lambda writer, *_: writer._release())
        with pytest.raises(Killed):
            start_run(config(**EACH_STEP), tmp_path / "run", observe=kill_at(25))  # the last evaluation
    assert open_run(tmp_path / "run").checkpoints == [0]
    resume_run(tmp_path / "run", {})
    assert best_steps(tmp_path / "run") == [7, 4]


def test_validation_rows_choose_the_best(tmp_path):
    settings = {"validation": 0.2, "eval_every": 3, "steps": 12}
    start_run(config(**settings, optimizer="adam", lr=1e-3), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.epochs["validation_accuracy"].max() > run.epochs["validation_accuracy"][0]
    found = evaluate_run(tmp_path / "run", {}, best=True)
    assert found["validation_rows"] == round(0.2 * 1437)
    assert found["validation_accuracy"] == run.epochs["validation_accuracy"].max()
    assert found["all_rows"] == found["train_rows"] + found["validation_rows"] + 360


def test_evaluation_on_the_runs_own_data(finished):
    run = open_run(finished)
    result = evaluate_run(finished, {})
    assert (result["run"], result["step"], result["data"]) == (str(finished), 9, "digits")
    assert (result["train_rows"], result["test_rows"]) == (200, 360)
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert result[name] == run.epochs[name][-1]


def test_evaluation_on_other_data(finished, tmp_path):
    """Normalized as the network was trained; a data option without a name is of the run's own data."""
    digits = load_dataset("digits")
    path = tmp_path / "other.npz"
    x, y = digits.test.inputs.astype(np.uint8), digits.test.targets.argmax(axis=1)
    np.savez(path, x=x[:90], y=y[:90], x_test=x, y_test=y)
    other = evaluate_run(finished, {"name": str(path)})
    own = evaluate_run(finished, {})
    assert (other["data"], other["train_rows"], other["test_rows"]) == ("other.npz", 90, 360)
    assert other["test_accuracy"] == own["test_accuracy"]
    assert other["test_loss"] == pytest.approx(own["test_loss"], rel=1e-6)
    assert evaluate_run(finished, {"subset": 70})["train_rows"] == 70
    assert evaluate_run(finished, {"name": "digits"})["train_rows"] == 1437
    save_table(tmp_path / "narrow.npz")
    with pytest.raises(UsageError, match=r"narrow\.npz: has 6 features where the network has 64"):
        evaluate_run(finished, {"name": str(tmp_path / "narrow.npz")})


def test_classes_are_matched_by_name(finished, tmp_path):
    """Exchanged labels are wrong labels; a class that the run does not know is refused."""
    digits = load_dataset("digits")
    labels = digits.test.targets.argmax(axis=1)
    header = ",".join([f"p{i}" for i in range(64)] + ["digit"])

    def write(name, rename):
        pairs = zip(digits.test.inputs, labels, strict=True)
        rows = [",".join([*map(str, x), rename.get(y, str(y))]) for x, y in pairs]
        (tmp_path / name).write_text("\n".join([header, *rows]))
        return {"name": str(tmp_path / name), "target": "digit", "task": "classification"}

    right = evaluate_run(finished, write("right.csv", {}))
    swapped = evaluate_run(finished, write("swapped.csv", {8: "3", 3: "8"}))
    assert right["test_accuracy"] > swapped["test_accuracy"] + 0.1
    with pytest.raises(UsageError, match=r"words\.csv: has class 'eight', which the run does not know"):
        evaluate_run(finished, write("words.csv", {8: "eight"}))


def test_classes_take_the_run_s_order(digits_of):
    """Columns go where the run has the class of that name; a class that the other lacks stays empty."""
    own, other = digits_of("a", "b", "c"), digits_of("c", "a")
    targets = matched_classes(other, own).test.targets
    np.testing.assert_array_equal(targets[:, 2], other.test.targets[:, 0])
    np.testing.assert_array_equal(targets[:, 0], other.test.targets[:, 1])
    assert not targets[:, 1].any()


@pytest.fixture
def digits_of():
    """Digits cut down to as many classes as there are names."""
    digits = load_dataset("digits")

    def make(*names):
        parts = []
        for part in (digits.train, digits.test):
            rows = part.targets[:, : len(names)].any(axis=1)
            parts.append(Part(part.inputs[rows], part.targets[rows, : len(names)]))
        return replace(digits, train=parts[0], test=parts[1], classes=names)

    return make


AVERAGED = {
    "average": "exponential",
    "decay": 0.5,
    "eval_every": 1,
    "optimizer": "adam",
    "lr": 0.03,
}


def test_evaluation_of_the_averaged_weights(tmp_path):
    """As recorded beside the raw ones; the best checkpoint is that of the weights asked for."""
    folder = tmp_path / "run"
    start_run(build_config(settings(AVERAGED | {"steps": 30})), folder)
    epochs = open_run(folder).epochs
    for weights, suffix, best in (("raw", "", "best"), ("average", "_average", "best_average")):
        result = evaluate_run(folder, {}, weights=weights)
        assert result["weights"] == weights
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            assert result[name] == epochs[f"{name}{suffix}"][-1]
        expected = summarize(open_run(folder))[best]
        result = evaluate_run(folder, {}, weights=weights, best=True)
        assert (result["step"], result["test_accuracy"]) == (
            expected["step"],
            expected[f"test_accuracy{suffix}"],
        )
        assert result["test_accuracy"] == np.nanmax(epochs[f"test_accuracy{suffix}"])


def test_what_is_not_there_is_not_evaluated(finished, tmp_path):
    assert not any(name.endswith("_average") for name in open_run(finished).epochs)
    assert "score_average" not in latest_checkpoint(finished)[0].attributes
    assert not any(name.startswith("average") for name in latest_checkpoint(finished)[0].arrays)
    with pytest.raises(
        UsageError, match=r"has no averaged weights; it was trained without training\.average"
    ):
        evaluate_run(finished, {}, weights="average")
    start_run(build_config(settings(OPTIMIZERS["tail"])), tmp_path / "tail", **stop_after(2))
    with pytest.raises(UsageError, match="at step 2 there are no averaged weights"):
        evaluate_run(tmp_path / "tail", {}, weights="average")


def test_the_tail_of_a_run_made_longer_begins_again(tmp_path):
    """Where it now begins later than the steps taken, they count no more."""
    tail = settings(OPTIMIZERS["tail"] | {"tail_start": 0.5, "steps": 6})
    start_run(build_config(tail), tmp_path / "run")
    resume_run(tmp_path / "run", nested("training.steps", 16))
    steps = [latest_checkpoint(tmp_path / "run")[0].arrays["average/steps"]]
    resume_run(tmp_path / "run", nested("training.steps", 18))  # goes on: the mean of one stretch of steps
    steps.append(latest_checkpoint(tmp_path / "run")[0].arrays["average/steps"])
    assert steps == [8, 10]


def test_a_run_from_before_a_setting_was_there(tmp_path):
    """Its settings lack it: what the run did is the default."""
    start_run(config(), tmp_path / "whole")
    start_run(config(), tmp_path / "run", **stop_after(4))
    with h5py.File(tmp_path / "run" / "run.h5", "r+") as file:
        old = json.loads(file.attrs["config_json"])
        for name in ("average", "label_smoothing"):
            del old["training"][name], file.attrs[f"config.training.{name}"]
        file.attrs["config_json"] = json.dumps(old)
    run = open_run(tmp_path / "run")
    assert "average" not in run.config["training"]
    assert summarize(run)["best_average"] == {}
    assert labels([run, open_run(tmp_path / "whole")]) == ["run", "whole"]
    assert resume_run(tmp_path / "run", {}).status == "finished"
    assert repeats(tmp_path / "run") == repeats(tmp_path / "whole")
    assert open_run(tmp_path / "run").config["training"]["average"] is None


def test_going_back_to_a_checkpoint_drops_what_came_after(tmp_path):
    """After a resume with another rate and fewer steps nothing of the first attempt is left in the series."""
    folder, early = tmp_path / "run", tmp_path / "early.h5"
    start_run(config(optimizer="adam"), folder, **stop_after(4))
    shutil.copy(folder / "checkpoints" / "step_00000004.h5", early)
    resume_run(folder, {})
    for late in (folder / "checkpoints").iterdir():
        late.unlink()
    shutil.copy(early, folder / "checkpoints" / "step_00000004.h5")
    changes = merge_settings(nested("training.steps", 8), nested("optimizer.lr", 1e-4))
    resume_run(folder, changes)
    run = open_run(folder)
    assert run.steps["step"].tolist() == list(range(1, 9))
    assert run.epochs["step"].max() == 8
    assert set(run.steps["lr"][4:]) == {1e-4}


def test_a_state_with_an_infinite_loss_is_no_checkpoint(tmp_path):
    """Adam at an absurd rate keeps finite weights for one step; the checkpoint before it stays the newest."""
    folder = tmp_path / "run"
    absurd = config(optimizer="adam", lr=1e30, checkpoint_every=1)
    with pytest.raises(DivergedError, match="step 2"):
        start_run(absurd, folder)
    assert latest_checkpoint(folder)[0].step == 0
    assert resume_run(folder, nested("optimizer.lr", 1e-3)).status == "finished"


def test_the_best_evaluation_is_always_a_checkpoint(tmp_path):
    """Though evaluations come faster than checkpoints are due."""
    folder = tmp_path / "run"
    fast = {"optimizer": "adam", "lr": 0.03, "eval_every": 1, "steps": 40}
    start_run(build_config(merge_settings(nested("training.checkpoint_every", None), settings(fast))), folder)
    best = summarize(open_run(folder))["best"]
    evaluated = evaluate_run(folder, {}, best=True)
    assert evaluated["test_accuracy"] == best["test_accuracy"]
    assert evaluated["step"] == best["step"]


def test_a_folder_that_a_killed_start_left_is_taken(tmp_path):
    """Before the first record there is nothing to lose."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").touch()
    (folder / "config.toml").touch()
    assert start_run(config(), folder).status == "finished"
    with pytest.raises(RunError, match="never overwritten"):
        start_run(config(), folder)
