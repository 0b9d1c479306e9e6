"""`revgn predict`, and `eval`, `analyse` and `resume` of a run whose data have moved."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from revgn.data import load_dataset
from revgn.launch import predict
from revgn.store import open_run


@pytest.fixture
def digits(tmp_path):
    """The test set of the digits, in a file."""
    test = load_dataset("digits").test
    np.savez(tmp_path / "new.npz", x=test.inputs.astype(np.uint8), y=test.targets.argmax(axis=1))
    return test


def test_predictions_on_standard_output_and_in_files(train, invoke, tmp_path, digits):
    train("run", "-q")
    printed = invoke("predict", "run", "new.npz")
    lines = printed.stdout.splitlines()
    assert lines[0] == "prediction,0,1,2,3,4,5,6,7,8,9"
    assert len(lines) == 361
    accuracy = open_run(tmp_path / "run").epochs["test_accuracy"][-1]
    assert printed.stderr.splitlines() == [
        "revgn: 360 predictions of run at step 4",
        f"revgn: compared with the 360 targets in new.npz: accuracy {accuracy:.2%}",
    ]
    for name in ("p.csv", "p.npz", "p.h5"):
        made = invoke("predict", "run", "new.npz", "-o", name, "--best")
        assert (made.exit_code, made.stdout) == (0, "")
        assert f"360 predictions of run at step 4 in {name}" in made.stderr
        again = invoke("predict", "run", "new.npz", "-o", name)
        assert (again.exit_code, "add --force to replace it" in again.stderr) == (2, True)
        assert invoke("predict", "run", "new.npz", "-o", name, "--force").exit_code == 0
    assert (tmp_path / "p.csv").read_text() == printed.stdout
    with h5py.File(tmp_path / "p.h5") as file:
        assert file.attrs["step"] == 4
        assert file.attrs["weights"] == "raw"
        assert file.attrs["data_sha256"] == open_run(tmp_path / "run").attributes["data_sha256"]
        assert "predict" in file.attrs["history"] or "revgn" in file.attrs["history"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "none.csv"), 2, "none.csv: there is no such file"),
        (("none", "new.npz"), 2, "none: there is no such folder"),
        (("run", "new.npz", "-o", "p.txt"), 2, "p.txt: ends in '.txt'; expected .csv, .npz, .h5"),
        (("run", "new.npz", "-o", "nowhere/p.csv"), 1, "nowhere/p.csv: cannot be written"),
        (("run", "new.npz", "-o", "new.npz", "--force"), 2, "new.npz: is the input file"),
        (("run", "new.npz", "--force"), 2, "--force: there is no output file; add -o FILE"),
        (("run", "new.npz", "--checkpoint", "3"), 1, "has no checkpoint of step 3; available: "),
        (("run", "new.npz", "--checkpoint", "newest"), 2, "'newest' is not best, last or a step"),
        (("run", "new.npz", "--weights", "average"), 2, "has no averaged weights"),
        (("run", "new.npz", "--inputs", "z"), 2, "has no array 'z'; it holds x, y"),
        (("run", "more.npz"), 1, "more.npz: has 2 inputs, but 3 targets"),
        (("run", "narrow.csv"), 2, "narrow.csv: has 2 input columns, but the network has 64 inputs"),
        (("run",), 2, "Missing argument 'FILE'"),
    ],
)
@pytest.mark.usefixtures("digits")
def test_wrong_use_is_one_line(finished, invoke, tmp_path, arguments, code, message):
    (tmp_path / "run").symlink_to(finished)
    (tmp_path / "narrow.csv").write_text("a,b\n1,2\n")
    np.savez(tmp_path / "more.npz", x=np.zeros((2, 64)), y=np.zeros(3))
    before = {path.name for path in tmp_path.iterdir()}
    found = invoke("predict", *arguments)
    assert (found.exit_code, found.stdout) == (code, "")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (
            38,
            "compared with the 40 targets in new.npz: accuracy 95.00%; 2 labels are not classes of the run "
            "and count as wrong",
        ),
        (
            39,
            "compared with the 40 targets in new.npz: accuracy 97.50%; 1 label is not a class of the run "
            "and counts as wrong",
        ),
        (0, "no label in new.npz is a class of the run; expected 0, 1, 2, 3, 4, 5, "),
    ],
)
def test_labels_that_are_not_classes_of_the_run_are_named(finished, invoke, digits, known, says):
    x = digits.inputs[:40]
    np.savez("new.npz", x=x, y=[*predict(finished, x).labels[:known], *["cat"] * (40 - known)])
    printed = invoke("predict", finished, "new.npz")
    assert (printed.exit_code, len(printed.stdout.splitlines())) == (0, 41)
    assert printed.stderr.splitlines()[1].startswith(f"revgn: {says}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that no test changes."""
    from revgn.launch import start_run
    from revgn.settings import build_config

    tiny = {"data": {"subset": 200}, "network": {"hidden": 16}, "training": {"batch_size": 64, "steps": 2}}
    tiny["optimizer"] = {"kind": "adam"}
    return start_run(build_config(tiny), tmp_path_factory.mktemp("predict") / "run").folder


@pytest.mark.usefixtures("digits")
def test_a_reader_that_closes_early_ends_the_command_quietly(finished, tmp_path):
    command = f"{sys.executable} -m revgn predict {finished} {tmp_path}/new.npz | head -n 1"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    found = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, check=False)
    assert found.stdout == "prediction,0,1,2,3,4,5,6,7,8,9\n"
    assert "Traceback" not in found.stderr


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("name", ["p.csv", "p.npz", "p.h5"])
def test_a_full_disk_is_one_line_and_leaves_nothing(finished, tmp_path, name):
    """The size of files is limited instead; HDF5 must not end the process with a segmentation fault."""
    before = {path.name for path in tmp_path.iterdir()}
    predict = f"{sys.executable} -m revgn predict {finished} new.npz -o {name}"
    command = ["sh", "-c", f"ulimit -f 8; exec {predict}"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == f"revgn: {name}: cannot be written: File too large\n"
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_run_whose_data_are_renamed(train, invoke, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5))
    np.savez(tmp_path / "g.npz", x=x, y=(x[:, 0] > 0) + (x[:, 1] > 1))
    options = ("--hidden", 8, "--steps", 4, "--batch-size", 40, "--optimizer", "adam", "-q")
    assert invoke("train", "--data", "g.npz", "--out", "r", *options).exit_code == 0
    own = invoke("eval", "r").stdout
    (tmp_path / "g.npz").rename(tmp_path / "h.npz")
    assert invoke("eval", "r", "--data", "h.npz").stdout.splitlines()[1:4] == own.splitlines()[1:4]
    assert invoke("eval", "r").stdout == own.replace("g.npz", "h.npz")
    assert invoke("analyse", "r", "--rows", 8).exit_code == 0
    (tmp_path / "away").mkdir()
    (tmp_path / "h.npz").rename(tmp_path / "away" / "h.npz")
    lost = invoke("eval", "r")
    assert lost.exit_code == 1
    assert "g.npz: there is no such file; name the data of the run with --data FILE" in lost.stderr
    assert invoke("analyse", "r", "--rows", 8, "--data", "away/h.npz").exit_code == 0
    assert invoke("resume", "r", "--steps", 6, "--data", "away/h.npz", "-q").exit_code == 0
    assert open_run(tmp_path / "r").steps["step"].tolist() == [1, 2, 3, 4, 5, 6]
    np.savez(tmp_path / "i.npz", x=x + 1, y=x[:, 0] > 0)
    other = invoke("resume", "r", "--steps", 8, "--data", "i.npz", "-q")
    assert (other.exit_code, "the data differ from the data of the run" in other.stderr) == (1, True)


def test_eval_shows_classes_and_targets(finished, invoke, tmp_path):
    text = invoke("eval", finished).stdout
    assert "rows of each class, by predicted class" in text
    assert len(text.splitlines()) == 4 + 2 + 10
    options = (
        "--data",
        "auto-mpg",
        "--standardize-targets",
        "--optimizer",
        "adam",
        "--steps",
        3,
        "--out",
        "cars",
        "-q",
    )
    assert invoke("train", *options).exit_code == 0
    run = open_run(tmp_path / "cars")
    rmse, r2 = (run.epochs[f"test_{name}"][-1] for name in ("rmse", "r2"))
    assert f"mpg RMSE {rmse:.4g}, R^2 {r2:.4g}" in invoke("eval", "cars").stdout
    assert f"test RMSE {rmse:.4g}, test R^2 {r2:.4g}" in invoke("show", "cars").stdout
    header, row, _ = invoke("compare", "cars").stdout.splitlines()
    assert "test RMSE  test R^2" in header
    assert f"{rmse:.4g}" in row
    assert "test_rmse" in invoke("compare", "cars", "--csv").stdout.splitlines()[0].split(",")
    invoke("export", "cars", "-o", "out")
    assert "test_rmse" in (tmp_path / "out" / "cars" / "epochs.csv").read_text().splitlines()[0].split(",")
