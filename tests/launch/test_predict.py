"""Predictions for new inputs: their values, their files, and files that are complete or absent."""

import csv
from dataclasses import replace

import h5py
import numpy as np
import pytest
from launch_cases import OPTIMIZERS, config

import revgn
from revgn.errors import DataError, RunError, UsageError
from revgn.launch import (
    evaluate_run,
    open_predictions,
    open_predictor,
    predict,
    predict_file,
    rebuild,
    start_run,
)
from revgn.launch.predict import Predictions, true_classes, true_values
from revgn.settings import build_config
from revgn.store import open_run

DIGITS = revgn.load_dataset("digits").test


def outputs(run, x, **options):
    rebuilt = rebuild(run, **options)
    return revgn.forward(rebuilt.network, rebuilt.params, ((x - rebuilt.shift) * rebuilt.scale).astype("f4"))


def test_probabilities_are_the_softmax_of_the_outputs(finished):
    found = predict(finished, DIGITS.inputs)
    z = outputs(open_run(finished), DIGITS.inputs).astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found.values, p / p.sum(axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(found.values.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(found.predicted, z.argmax(axis=1))
    assert (found.kind, found.names) == ("probability", tuple(map(str, range(10))))
    assert found.labels.tolist() == [str(k) for k in z.argmax(axis=1)]


def test_pieces_give_what_all_rows_give(finished, monkeypatch):
    whole = predict(finished, DIGITS.inputs)
    monkeypatch.setattr("revgn.training.model.EVAL_ROWS", 7)
    pieces = predict(finished, DIGITS.inputs)
    np.testing.assert_allclose(pieces.values, whole.values, rtol=1e-5, atol=1e-9)
    assert predict(finished, DIGITS.inputs[:1]).values.shape == (1, 10)


def test_a_loss_that_is_not_cross_entropy_gives_outputs(tmp_path):
    start_run(config(loss="squared-error", steps=2), tmp_path / "run")
    found = predict(tmp_path / "run", DIGITS.inputs)
    assert found.kind == "output"
    np.testing.assert_allclose(found.values, outputs(open_run(tmp_path / "run"), DIGITS.inputs), atol=1e-5)


def test_checkpoints_and_weights(tmp_path):
    """Averaged weights by default where the run has them; any checkpoint by its step."""
    start_run(config(**OPTIMIZERS["exponential"], lr=0.1, eval_every=1), tmp_path / "run")
    run, x = open_run(tmp_path / "run"), DIGITS.inputs

    def same(found, **options):
        return np.array_equal(found.predicted, outputs(run, x, **options).argmax(axis=1))

    assert same(predict(run, x), weights="average")
    assert not np.array_equal(predict(run, x).values, predict(run, x, weights="raw").values)
    assert same(predict(run, x, weights="raw"), weights="raw")
    for step in (*run.checkpoints, "best", "last"):
        assert same(predict(run, x, checkpoint=step, weights="raw"), step=step)
    with pytest.raises(RunError, match="has no checkpoint of step 100"):
        predict(run, x, checkpoint=100)


def test_inputs_that_the_network_cannot_take(finished):
    with pytest.raises(UsageError, match=r"inputs have shape \(360, 63\), but the network expects \(n, 64\)"):
        predict(finished, DIGITS.inputs[:, 1:])
    with pytest.raises(UsageError, match=r"inputs have shape \(0, 64\): there are no rows"):
        predict(finished, DIGITS.inputs[:0])
    with pytest.raises(DataError, match=r"the output for row 3 \(from 0\) is not finite"):
        predict(finished, DIGITS.inputs * np.where(np.arange(360) == 3, 1e300, 1.0)[:, None])


@pytest.fixture
def digits(tmp_path):
    """Inputs and labels of the digits in a file."""
    labels = DIGITS.targets.argmax(axis=1)
    np.savez(tmp_path / "digits.npz", x=DIGITS.inputs.astype(np.uint8), y=labels)
    return tmp_path / "digits.npz"


def write(finished, digits, path, **options):
    predictor = open_predictor(finished)
    with open_predictions(path, {"run": str(finished), "step": predictor.step}, **options) as to_file:
        return predict_file(predictor, digits, to_file)


@pytest.mark.parametrize("name", ["p.csv", "p.npz", "p.h5"])
def test_files_hold_the_predictions(finished, digits, tmp_path, name, monkeypatch):
    monkeypatch.setattr("revgn.data.inputs.PIECE", 50)
    found = predict(finished, DIGITS.inputs)
    rows, scores = write(finished, digits, tmp_path / name)
    accuracy = np.mean(found.predicted == DIGITS.targets.argmax(axis=1))
    assert (rows, scores) == (360, {"rows": 360, "unknown": 0, "accuracy": pytest.approx(accuracy)})
    if name == "p.csv":
        header, *cells = csv.reader((tmp_path / name).read_text().splitlines())
        assert header == ["prediction", *map(str, range(10))]
        values, labels = np.array([row[1:] for row in cells], dtype=float), [row[0] for row in cells]
        assert labels == found.labels.tolist()
    elif name == "p.npz":
        with np.load(tmp_path / name) as file:
            values, predicted = file["values"], file["predicted"]
            assert file["names"].tolist() == [*map(str, range(10))]
            assert (str(file["run"]), int(file["step"]), str(file["kind"])) == (
                str(finished),
                9,
                "probability",
            )
        np.testing.assert_array_equal(predicted, found.predicted)
    else:
        with h5py.File(tmp_path / name) as file:
            values, predicted = file["values"][:], file["predicted"][:]
            assert file["names"].asstr()[:].tolist() == [*map(str, range(10))]
            assert (file.attrs["run"], file.attrs["step"]) == (str(finished), 9)
            assert file["values"].attrs["long_name"] == "probability of each class"
        np.testing.assert_array_equal(predicted, found.predicted)
    np.testing.assert_allclose(values, found.values, rtol=1e-4, atol=1e-8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.npz", name]


@pytest.mark.parametrize("name", ["p.csv", "p.npz", "p.h5"])
def test_a_file_is_complete_or_absent(finished, digits, tmp_path, name):
    """An error on the way leaves nothing, and leaves an older file as it was."""
    path = tmp_path / name
    predictor = open_predictor(finished)
    bad = DIGITS.inputs.astype(float)
    bad[300] = np.inf
    np.savez(tmp_path / "bad.npz", x=bad)

    def attempt(**options):
        with open_predictions(path, {}, **options) as to_file:
            predict_file(predictor, tmp_path / "bad.npz", to_file)

    with pytest.raises(DataError, match="row 300, column 0"):
        attempt()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["bad.npz", "digits.npz"]
    write(finished, digits, path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already and is not overwritten; add --force to replace it"):
        write(finished, digits, path)
    with pytest.raises(DataError, match="row 300, column 0"):
        attempt(replace=True)
    assert path.read_bytes() == before
    write(finished, digits, path, replace=True)


def test_files_that_cannot_be_written(finished, digits, tmp_path):
    with pytest.raises(UsageError, match=r"p\.txt: ends in '\.txt'; expected \.csv, \.npz, \.h5"):
        write(finished, digits, tmp_path / "p.txt")
    for name in ("p.csv", "p.npz", "p.h5"):
        with pytest.raises(RunError, match=rf"nowhere/{name}: cannot be written"):
            write(finished, digits, tmp_path / "nowhere" / name)


def test_a_regression_is_predicted_in_its_own_unit(tmp_path):
    """The targets beside the inputs are compared as far as they are numbers."""
    own = {"name": "auto-mpg", "standardize_targets": True}
    start_run(build_config({"data": own, "training": {"steps": 5}}), tmp_path / "run")
    cars = revgn.load_dataset("auto-mpg")
    found = predict(tmp_path / "run", cars.test.inputs)
    assert (found.names, found.kind, found.predicted) == (("mpg",), "prediction", None)
    rmse = np.sqrt(np.mean((found.values - cars.test.targets) ** 2))
    assert open_run(tmp_path / "run").epochs["test_rmse"][-1] == pytest.approx(rmse, rel=1e-5)
    lines = [";".join(["mpg", *cars.columns])]
    lines += [";".join(map(str, row)) for row in np.hstack((cars.test.targets, cars.test.inputs)).tolist()]
    lines[1] = "unknown;" + lines[1].partition(";")[2]
    (tmp_path / "cars.csv").write_text("\n".join(lines))
    rows, scores = write(tmp_path / "run", tmp_path / "cars.csv", tmp_path / "p.csv")
    rest = (found.values - cars.test.targets)[1:]
    assert (rows, scores["rows"]) == (len(lines) - 1, len(lines) - 2)
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean(rest**2)), rel=1e-6)
    assert scores["r2"] == pytest.approx(1 - np.mean(rest**2) / cars.test.targets[1:].var(), rel=1e-6)
    header, *values = (tmp_path / "p.csv").read_text().split()
    assert header == "mpg"
    np.testing.assert_allclose(np.array(values, dtype=float), found.values[:, 0], rtol=1e-5)


def test_the_column_of_the_prediction_has_a_name_of_its_own(tmp_path):
    with open_predictions(tmp_path / "p.csv", {}) as to_file:
        names = ("prediction", "a,b")
        to_file(Predictions(np.array([[0.25, 0.75]]), names, "probability", np.array([1])))
    assert (tmp_path / "p.csv").read_text() == 'prediction_,prediction,"a,b"\n"a,b",0.25,0.75\n'


def test_files_of_images_are_named(tmp_path):
    found = Predictions(np.array([[0.75, 0.25]]), ("file", "b"), "probability", np.array([0]), ("x.png",))
    for name in ("p.csv", "p.npz", "p.h5"):
        with open_predictions(tmp_path / name, {}) as to_file:
            to_file(found)
            to_file(found._replace(files=("a longer name.png",)))
    names = ["x.png", "a longer name.png"]
    first, *rest = (tmp_path / "p.csv").read_text().splitlines()
    assert first == "file_,prediction,file,b"
    assert [line.partition(",")[0] for line in rest] == names
    with np.load(tmp_path / "p.npz") as file:
        assert file["files"].tolist() == names
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["files"].asstr()[:].tolist() == names


@pytest.mark.parametrize("spell", ["{}.0", "{},0", "{}", "0{}"])
def test_predict_and_eval_find_the_same_accuracy_however_labels_are_written(tmp_path, spell):
    def write(path, form):
        rows = [f"{k % 3};{k % 5};{form.format(k % 3)}" for k in range(60)]
        path.write_text("\n".join(["a;b;y", *rows]))
        return {"name": str(path), "target": "y", "task": "classification"}

    training = {"steps": 60, "batch_size": 20}
    own = {"data": write(tmp_path / "own.csv", "{}.0"), "optimizer": "adam", "training": training}
    start_run(build_config(own), tmp_path / "run")
    evaluated = evaluate_run(tmp_path / "run", write(tmp_path / "new.csv", spell))
    _, scores = predict_file(open_predictor(tmp_path / "run"), tmp_path / "new.csv", lambda found: None)
    assert evaluated["classes"] == ["0", "1", "2"]
    assert scores["accuracy"] == pytest.approx(evaluated["all_accuracy"], abs=1e-6)
    assert scores["accuracy"] > 0.4


@pytest.mark.parametrize(
    ("targets", "classes", "expected"),
    [
        (np.array([2, 0, 1]), ("0", "1", "2"), [2, 0, 1]),
        (np.array([2.0, 0.0]), ("0", "1", "2"), [2, 0]),
        (np.array([0.5, 1.5]), ("0", "1", "2"), [-1, -1]),
        (np.array(["bee", "ant", "fly"]), ("ant", "bee"), [1, 0, -1]),
        (np.array([1, 0]), ("ant", "bee"), [1, 0]),
        (np.array([7, 5, 7]), ("5", "7"), [1, 0, 1]),
        (np.array([0, 1, 2]), ("1", "2", "3"), [0, 1, 2]),
        (np.array([1, 2, 7]), ("1", "2", "3"), [0, 1, -1]),
        (np.array([0, 1, 2, 3]), ("1", "2", "3"), [-1, 0, 1, 2]),
        (np.array([[0, 1], [1, 0]]), ("ant", "bee"), [1, 0]),
        (np.array([True, False]), ("False", "True"), [1, 0]),
        (np.array([b"bee", b"ant"]), ("ant", "bee"), [1, 0]),
        (np.zeros((2, 5)), ("ant", "bee"), None),
    ],
)
def test_classes_of_a_file_are_recognized(finished, targets, classes, expected):
    interface = open_predictor(finished).model.interface
    found = true_values(targets, replace(interface, classes=classes))
    assert found is None if expected is None else true_classes(found).tolist() == expected


def test_labels_have_one_meaning_in_the_whole_file(tmp_path, monkeypatch):
    """Positions of the classes 1, 2 and 3: the first rows have no name of a class, the last have no other."""
    x = np.repeat(np.eye(3), 8, axis=0)
    y = np.repeat([1, 2, 3], 8)
    np.savez(tmp_path / "own.npz", x=x, y=y)
    data = {"name": str(tmp_path / "own.npz"), "task": "classification"}
    start_run(build_config({"data": data, "training": {"steps": 1, "batch_size": 8}}), tmp_path / "run")
    np.savez(tmp_path / "positions.npz", x=x, y=y - 1)
    predictor = open_predictor(tmp_path / "run")
    monkeypatch.setattr("revgn.data.inputs.PIECE", 8)
    named = predict_file(predictor, tmp_path / "own.npz", lambda found: None)
    assert predict_file(predictor, tmp_path / "positions.npz", lambda found: None) == named


def test_a_label_that_is_missing_is_not_compared(finished, tmp_path):
    """It is neither right nor wrong."""
    labels = predict(finished, DIGITS.inputs[:20]).labels.tolist()
    rows = [",".join(map(str, x)) for x in DIGITS.inputs[:20].tolist()]
    cells = [f"{row},{label}" for row, label in zip(rows, ["", "NA", *labels[2:]], strict=True)]
    head = ",".join([*(f"p{k}" for k in range(64)), "digit"])
    (tmp_path / "new.csv").write_text("\n".join([head, *cells]))
    predictor = open_predictor(finished)
    own = replace(predictor.model.interface, target_names=("digit",))
    predictor = predictor._replace(model=replace(predictor.model, interface=own))
    _, scores = predict_file(predictor, tmp_path / "new.csv", lambda found: None)
    assert scores == {"rows": 18, "unknown": 0, "accuracy": 1.0}


def test_labels_that_are_not_classes_of_the_run_are_counted(finished, tmp_path):
    predictor, path = open_predictor(finished), tmp_path / "new.npz"
    labels = predict(finished, DIGITS.inputs[:20]).labels.tolist()
    for unknown, accuracy in ((5, {"accuracy": 0.75}), (20, {})):
        np.savez(path, x=DIGITS.inputs[:20], y=["cat"] * unknown + labels[unknown:])
        _, scores = predict_file(predictor, path, lambda found: None)
        assert scores == {"rows": 20, "unknown": unknown} | accuracy
