"""Evaluation of runs on their own and on other data, with raw and with averaged weights."""

import gzip
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from launch_cases import OPTIMIZERS, save_table, settings, stop_after

from revgn.data import Part, load_dataset
from revgn.errors import UsageError
from revgn.launch import evaluate_run, start_run
from revgn.launch.evaluate import matched_classes
from revgn.launch.problem import problem_of
from revgn.settings import build_config
from revgn.store import latest_checkpoint, open_run
from revgn.views import summarize


def test_evaluation_on_the_runs_own_data(finished):
    run = open_run(finished)
    result = evaluate_run(finished, {})
    assert (result["run"], result["step"], result["data"]) == (str(finished), 9, "digits")
    assert (result["train_rows"], result["test_rows"]) == (200, 360)
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert result[name] == run.epochs[name][-1]


def test_a_run_on_a_gpu_is_evaluated_without_one(finished, tmp_path):
    """Another backend may be chosen, with and without the data of the run."""
    folder = shutil.copytree(finished, tmp_path / "run")
    with h5py.File(folder / "run.h5", "r+") as file:
        settings = file.attrs["config_json"]
        file.attrs["config_json"] = settings.replace('"backend": "auto"', '"backend": "cupy"')
    for data in ({}, {"name": "digits", "subset": 200}):
        found = evaluate_run(folder, data, backend="numpy")
        assert found["test_loss"] == open_run(finished).epochs["test_loss"][-1]


def test_evaluation_on_other_data(finished, tmp_path):
    """Inputs are normalized as in training; data settings without a name refer to the run's own data."""
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
    with pytest.raises(UsageError, match=r"narrow\.npz: has 6 features, but the network has 64 inputs"):
        evaluate_run(finished, {"name": str(tmp_path / "narrow.npz")})


def test_images_of_another_shape_are_refused(finished, tmp_path):
    test = load_dataset("digits").test
    images, y = test.inputs.astype(np.uint8), test.targets.argmax(axis=1)
    for name, shape in (("right", (8, 8)), ("wrong", (4, 16))):
        np.savez(tmp_path / f"{name}.npz", x=images.reshape(-1, *shape), y=y)
    assert evaluate_run(finished, {"name": str(tmp_path / "right.npz")})["all_rows"] == 360
    with pytest.raises(UsageError, match=r"has images of 1 x 4 x 16, but the network expects 1 x 8 x 8"):
        evaluate_run(finished, {"name": str(tmp_path / "wrong.npz")})


def test_classes_are_matched_by_name(finished, tmp_path):
    """Exchanged class names lower the accuracy; a class that the run does not have is rejected."""
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
    assert right["all_accuracy"] > swapped["all_accuracy"] + 0.1
    assert "test_accuracy" not in right
    with pytest.raises(UsageError, match=r"words\.csv: has class 'eight', which is not a class of the run"):
        evaluate_run(finished, write("words.csv", {8: "eight"}))


def test_settings_of_a_table_apply_to_any_other_table(tmp_path):
    """Also if the table of the run is gone; arrays have other settings."""
    rows = [f"{k % 3},{k % 5},{k % 3}" for k in range(60)]
    text = "\n".join(["a,y,b", *rows])
    (tmp_path / "own.csv").write_text(text)
    (tmp_path / "other.tsv").write_text(text.replace(",", "\t"))
    (tmp_path / "other.csv.gz").write_bytes(gzip.compress(text.encode()))
    data = {"name": str(tmp_path / "own.csv"), "target": "y", "task": "classification"}
    start_run(build_config({"data": data, "training": {"steps": 1, "batch_size": 20}}), tmp_path / "run")
    expected = evaluate_run(tmp_path / "run", {"name": str(tmp_path / "own.csv")})["all_loss"]
    for is_gone in (False, True):
        for name in ("other.tsv", "other.csv.gz"):
            found = evaluate_run(tmp_path / "run", {"name": str(tmp_path / name)})
            assert found["all_loss"] == pytest.approx(expected)
        if not is_gone:
            (tmp_path / "own.csv").unlink()
    np.savez(tmp_path / "other.npz", x=[[k % 3, k % 3] for k in range(60)], y=[k % 5 for k in range(60)])
    assert evaluate_run(tmp_path / "run", {"name": str(tmp_path / "other.npz")})["all_rows"] == 60


def test_columns_beside_those_of_the_run_are_not_read(tmp_path):
    """As in predict: a column of text, and one that the settings of the run leave out."""

    def write(name, head, extra):
        rows = [f"{extra(k)}{k % 3},{k % 5},{k % 3}" for k in range(60)]
        (tmp_path / name).write_text("\n".join([f"{head}a,b,y", *rows]))
        return {"name": str(tmp_path / name), "target": "y"}

    own = write("own.csv", "id,", lambda k: f"{k},") | {"columns": "-id"}
    made = {"data": own, "optimizer": "adam", "training": {"steps": 2, "batch_size": 20}}
    start_run(build_config(made), tmp_path / "run")
    found = [
        evaluate_run(tmp_path / "run", write(*new))["all_loss"]
        for new in (("text.csv", "name,", lambda k: f"n{k},"), ("none.csv", "", lambda k: ""))
    ]
    assert found[0] == found[1] == evaluate_run(tmp_path / "run", own)["all_loss"]
    lacks = write("lacks.csv", "name,", lambda k: "n,")
    (tmp_path / "lacks.csv").write_text((tmp_path / "lacks.csv").read_text().replace("a,b", "a,c"))
    with pytest.raises(UsageError, match="lacks input columns of the run: b; it has name, a, c, y"):
        evaluate_run(tmp_path / "run", lacks)


def test_classes_are_reordered_as_in_the_run(digits_of):
    """Each column moves to the class with the same name; the column of a missing class is zero."""
    own, other = digits_of("a", "b", "c"), digits_of("c", "a")
    targets = matched_classes(other, own).test.targets
    np.testing.assert_array_equal(targets[:, 2], other.test.targets[:, 0])
    np.testing.assert_array_equal(targets[:, 0], other.test.targets[:, 1])
    assert not targets[:, 1].any()


@pytest.fixture
def digits_of():
    """Make a subset of the digits with the given class names."""
    digits = load_dataset("digits")

    def make(*names):
        parts = []
        for part in (digits.train, digits.test):
            rows = part.targets[:, : len(names)].any(axis=1)
            parts.append(Part(part.inputs[rows], part.targets[rows, : len(names)]))
        return replace(digits, train=parts[0], test=parts[1], classes=names)

    return make


@pytest.fixture
def whole_floats(tmp_path):
    """Return a regression run on targets 0.0, 1.0, ..., and its settings with the task "auto"."""
    path = tmp_path / "own.npz"
    x = np.random.default_rng(3).standard_normal((40, 4))
    np.savez(path, x=x, y=np.arange(40) % 4 / 1.0)
    made = settings({"name": str(path), "task": "regression", "steps": 2, "batch_size": 8, "subset": None})
    start_run(build_config(made), tmp_path / "run")
    made["data"]["task"] = "auto"
    return tmp_path / "run", build_config(made)


@pytest.mark.parametrize("has_interface", [True, False])
def test_the_data_of_a_run_are_interpreted_as_when_it_started(whole_floats, has_interface):
    """A run before 0.2 does not store the task; both tasks are then tried."""
    folder, config = whole_floats
    assert load_dataset(config.data.name).task == "classification"
    if not has_interface:
        (folder / "network.h5").unlink()
    dataset = problem_of(open_run(folder), config).dataset
    assert (dataset.task, dataset.checksum) == ("regression", open_run(folder).attributes["data_sha256"])


def test_rows_from_which_nothing_can_be_learned_can_be_evaluated(tmp_path):
    """Labels of one class, too few to look like labels, a single row, and constant inputs."""
    rng = np.random.default_rng(3)
    np.savez(tmp_path / "own.npz", x=rng.standard_normal((40, 4)), y=np.arange(40) % 4 + 1)
    made = settings({"name": str(tmp_path / "own.npz"), "steps": 2, "batch_size": 8, "subset": None})
    start_run(build_config(made), tmp_path / "run")
    for labels in ([3, 3, 3, 3], [1, 2, 4, 3], [1.0, 2.0, 3.0], [4]):
        np.savez(tmp_path / "new.npz", x=np.ones((len(labels), 4)), y=labels)
        found = evaluate_run(tmp_path / "run", {"name": str(tmp_path / "new.npz"), "validation": 0.1})
        assert (found["all_rows"], found["task"]) == (len(labels), "classification")
        assert "train_rows" not in found
        np.testing.assert_array_equal(
            np.sum(found["all_confusion"], axis=1), np.bincount(np.int64(labels), minlength=5)[1:]
        )


AVERAGED = {
    "average": "exponential",
    "decay": 0.5,
    "eval_every": 1,
    "optimizer": "adam",
    "lr": 0.03,
}


def test_evaluation_of_the_averaged_weights(tmp_path):
    """The metrics equal the recorded ones; the best checkpoint depends on the kind of weights."""
    folder = tmp_path / "run"
    start_run(build_config(settings(AVERAGED | {"steps": 30})), folder)
    epochs = open_run(folder).epochs
    for weights, suffix, best in (("raw", "", "best"), ("average", "_average", "best_average")):
        result = evaluate_run(folder, {}, weights=weights)
        assert result["weights"] == weights
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            assert result[name] == epochs[f"{name}{suffix}"][-1]
        expected = summarize(open_run(folder))[best]
        result = evaluate_run(folder, {}, weights=weights, checkpoint="best")
        assert (result["step"], result["test_accuracy"]) == (
            expected["step"],
            expected[f"test_accuracy{suffix}"],
        )
        assert result["test_accuracy"] == np.nanmax(epochs[f"test_accuracy{suffix}"])


def test_missing_averaged_weights_are_reported(finished, tmp_path):
    assert not any(name.endswith("_average") for name in open_run(finished).epochs)
    assert "score_average" not in latest_checkpoint(finished)[0].attributes
    assert not any(name.startswith("average") for name in latest_checkpoint(finished)[0].arrays)
    with pytest.raises(
        UsageError, match=r"has no averaged weights, since it was trained without training\.average"
    ):
        evaluate_run(finished, {}, weights="average")
    start_run(build_config(settings(OPTIMIZERS["tail"])), tmp_path / "tail", **stop_after(2))
    with pytest.raises(UsageError, match="the checkpoint of step 2 has no averaged weights"):
        evaluate_run(tmp_path / "tail", {}, weights="average")


def test_a_set_without_rows_is_reported(finished):
    with pytest.raises(UsageError, match="digits: has no validation rows to evaluate; choose other parts"):
        evaluate_run(finished, parts=["validation"])
