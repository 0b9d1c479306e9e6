"""`revgn show`, `ls`, `plot`, `eval` and `devices`: reading finished, killed and damaged runs."""

import json
import math
import shutil
import sys

import numpy as np
import pytest
from processes import run
from revgn_cli.show import sparkline

from revgn.arrays import Cuda, Gpu
from revgn.data import load_dataset
from revgn.store import create_run, open_run


def strict(text):
    """Parse JSON strictly: without NaN and Infinity."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def leave_running(folder):
    """Make a run look killed: its status is "running", but no process holds its journal."""
    import h5py

    with h5py.File(folder / "run.h5", "r+") as file:
        file.attrs["status"] = "running"


def test_show(train, invoke):
    train("run", "--lr", 0.5, "--eval-every", 1)
    lines = invoke("show", "run").stdout.splitlines()
    assert lines[0] == "run: gauss-newton on digits, finished"
    text = "\n".join(lines)
    assert "  optimizer.lr = 0.5" in text
    assert "  network.hidden = 32" in text
    assert "step 4, epoch 1.333" in text
    for word in (
        "last ",
        "by test accuracy, ",
        "test accuracy ",
        "rho   median ",
        "factorizations cholesky",
        "time  ",
        "memory ",
    ):
        assert word in text
    assert any(bar in text for bar in "▁▂▃▄▅▆▇█")


def test_bars_of_values_without_a_logarithm():
    assert sparkline([1, 0.1, 1e-3, 0], log=True, plain=True) == "7500  1 → 0"
    assert sparkline([0.0, 0.0], log=True, plain=True) == "00  0 → 0"
    assert sparkline([1.0, math.nan, -1.0, math.inf, 10.0], log=True, plain=True) == "0!0!7  1 → 10"
    assert sparkline([0.0, 0.5, 1.0, math.nan], plain=True) == "047!  0 → nan"


def test_show_as_json(train, invoke):
    train("run")
    found = strict(invoke("show", "run", "--json").stdout)
    assert set(found) >= {
        *("run", "title", "status", "message", "start", "end", "settings", "step", "epoch", "last", "best"),
        *("rho", "factorizations", "seconds", "split", "memory_bytes", "backend", "device", "dtype"),
    }
    assert (found["run"], found["status"], found["step"]) == ("run", "finished", 4)
    assert found["settings"]["training.steps"] == 4


def test_show_a_killed_run(train, invoke, tmp_path):
    train("run", "-q")
    leave_running(tmp_path / "run")
    assert invoke("show", "run").stdout.splitlines()[0] == "run: gauss-newton on digits, killed"
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b'{"kind": "st')
    assert strict(invoke("show", "run", "--json").stdout)["status"] == "killed"


def test_show_a_run_without_records(invoke, tmp_path, provenance):
    create_run(tmp_path / "run", provenance).close("interrupted")
    result = invoke("show", "run")
    assert result.exit_code == 0
    assert "interrupted" in result.stdout
    assert "step 0, epoch 0" in result.stdout


@pytest.fixture
def provenance():
    from revgn.settings import build_config, config_dict, config_toml
    from revgn.store import Provenance

    config = build_config()
    settings = (config_dict(config), config_toml(config), 0, "numpy", "cpu", "float32", "digits", "0" * 64)
    return Provenance("a run", "revgn train", *settings, {}, "")


def test_ls_of_good_and_damaged_runs(train, invoke, tmp_path):
    for name in ("runs/a", "runs/b/c", "runs/d", "runs/e"):
        train(name, "-q")
    leave_running(tmp_path / "runs" / "d")
    damaged = tmp_path / "runs" / "e" / "run.h5"
    damaged.write_bytes(damaged.read_bytes()[:100])
    result = invoke("ls")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["runs/a", "finished"],
        ["runs/b/c", "finished"],
        ["runs/d", "killed"],
        ["runs/e", "damaged"],
    ]
    assert "step 4" in lines[0]
    columns = [{line.find(word) for line in lines if word in line} for word in ("finished", "step 4")]
    assert [len(places) for places in columns] == [1, 1]
    assert max(map(len, lines[:3])) < 80 < len(lines[3])  # the message widens its own line only
    rows = strict(invoke("ls", "runs", "--json").stdout)
    assert [row["status"] for row in rows] == ["finished", "finished", "killed", "damaged"]
    assert strict(invoke("ls", "runs/a", "--json").stdout)[0]["run"] == "runs/a"


def test_ls_without_runs(invoke, tmp_path):
    result = invoke("ls")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "revgn: runs: is not a folder; revgn train creates runs\n"
    (tmp_path / "runs").mkdir()
    assert invoke("ls").stderr == "no runs in runs\n"
    assert invoke("ls", "--json").stdout == "[]\n"


def test_a_closed_pipe(spawn, tmp_path, provenance):
    """`revgn ls | head -1` ends without an error message about the broken pipe."""
    for number in range(12):
        create_run(tmp_path / "runs" / f"{number:02d}-{'x' * 200}", provenance).close("finished")
    process = spawn("ls", bufsize=0, text=False)
    process.stdout.read(1)
    process.stdout.close()
    errors = process.stderr.read()
    process.wait()
    assert errors == b""
    shell = f"{sys.executable} -u -m revgn_cli.main ls | head -1"
    done = run(["sh", "-c", shell], cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.startswith("runs/00-")


@pytest.mark.parametrize("out", ["curves.png", "curves.pdf", "curves.svg"])
def test_plot_several(out, train, invoke, tmp_path):
    train("a", "-q")
    train("b", "-q", "--optimizer", "adam")
    result = invoke("plot", "a", "b", "-o", out, "--axis", "step")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{out}\n", "")
    assert (tmp_path / out).stat().st_size > 5000
    if out.endswith("svg"):
        assert "adam" in (tmp_path / out).read_text()


def test_plot_rejects_invalid_options(train, invoke):
    train("a", "-q")
    assert "expected .png, .pdf or .svg" in invoke("plot", "a", "-o", "curves.jpg").stderr
    assert invoke("plot", "a", "-o", "curves.jpg").exit_code == 2
    assert "cannot be written" in invoke("plot", "a", "-o", "nowhere/curves.png").stderr
    assert invoke("plot", "a", "--axis", "time").exit_code == 2
    assert "the seed" in invoke("plot", "a", "--against", "seed").stderr
    for option in (("--axis", "step"), ("--each",)):
        refused = invoke("plot", "a", "--against", "lr", *option)
        assert (refused.exit_code, f"{option[0]}: has no effect with --against" in refused.stderr) == (
            2,
            True,
        )


def test_plot_says_how_many_runs_are_left_out(train, invoke):
    train("a", "-q")
    train("b", "-q", "--batch-size", "full")
    found = invoke("plot", "a", "b", "--against", "batch_size")
    assert (found.exit_code, found.stdout) == (0, "curves.png\n")
    assert "1 run is left out: batch_size is not a number there, or nothing was measured" in found.stderr
    assert invoke("plot").exit_code == 2


def test_eval(train, invoke, tmp_path):
    train("run", "-q")
    text = invoke("eval", "run").stdout
    assert text.startswith("run at step 4 on digits\n")
    found = strict(invoke("eval", "run", "--json").stdout)
    names = ("rows", "loss", "accuracy", "class_accuracy", "confusion")
    metrics = {f"{part}_{name}" for part in ("train", "test", "all") for name in names}
    assert set(found) == {"run", "step", "weights", "data", "task", "classes"} | metrics
    assert found["test_accuracy"] == open_run(tmp_path / "run").epochs["test_accuracy"][-1]
    hits = found["train_rows"] * found["train_accuracy"] + found["test_rows"] * found["test_accuracy"]
    assert found["all_accuracy"] == pytest.approx(hits / found["all_rows"])
    digits = load_dataset("digits")
    x, y = digits.test.inputs.astype(np.uint8), digits.test.targets.argmax(axis=1)
    np.savez(tmp_path / "other.npz", a=x[:100], b=y[:100])
    options = ["--data", "other.npz", "--inputs", "a", "--targets", "b"]
    other = strict(invoke("eval", "run", *options, "--json").stdout)
    assert (other["data"], other["all_rows"]) == ("other.npz", 100)
    assert not any(name.startswith(("train", "test")) for name in other)
    assert invoke("eval", "run", *options).stdout.splitlines()[1].split()[:2] == ["all", "100"]
    for chosen in (["--best"], ["--checkpoint", "best"]):
        best = invoke("eval", "run", *chosen)
        assert best.stdout.startswith("run at step 4, selected by test accuracy, on digits")
        assert "revgn: the run has no validation rows, and the test set selects its checkpoint" in best.stderr
    newest = invoke("eval", "run", "--checkpoint", 4)
    assert newest.stdout.startswith("run at step 4 on digits"), newest.stderr
    missing = invoke("eval", "run", "--checkpoint", 3)
    assert (missing.exit_code, "has no checkpoint of step 3; available: " in missing.stderr) == (1, True)
    assert "'first' is not best, last or a step" in invoke("eval", "run", "--checkpoint", "first").stderr
    np.savez(tmp_path / "narrow.npz", x=x[:, :6], y=y)
    refused = invoke("eval", "run", "--data", "narrow.npz")
    assert refused.exit_code == 2
    assert "narrow.npz: has 6 features, but the network has 64 inputs" in refused.stderr


def test_eval_prints_a_line_for_each_target(invoke, tmp_path):
    x = np.random.default_rng(0).standard_normal((40, 8))
    np.savez(tmp_path / "own.npz", x=x, y=x[:, :6] + 0.1)
    invoke("train", "--data", "own.npz", "--steps", 2, "--hidden", 8, "--out", "run", "-q")
    lines = invoke("eval", "run").stdout.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == ["run", "train", "test", "all"]
    assert [line.split()[:2] for line in lines[2:8]] == [[f"target{k}", "RMSE"] for k in range(6)]
    assert max(map(len, lines)) < 80


def test_averaged_weights(train, invoke, tmp_path):
    """Metrics of averaged weights are shown beside those of raw weights."""
    trained = train("run", "--average", "exponential", "--label-smoothing", 0.1, "--eval-every", 1)
    averaged = open_run(tmp_path / "run").epochs["test_accuracy_average"]
    assert np.isnan(averaged).tolist() == [True, False, False, False, False]
    last = f"test accuracy {averaged[-1]:.2%}"
    assert f"(average {averaged[-1]:.2%})" in trained.stderr
    (line,) = (
        line for line in trained.stdout.splitlines() if line.startswith("averaged weights: training loss ")
    )
    assert last in line
    shown = invoke("show", "run").stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("last averaged epoch 1.333, "))
    assert last in line
    assert "best averaged epoch " in shown
    assert f"averaged {averaged[-1]:.2%}" in invoke("ls", ".").stdout
    text = invoke("eval", "run", "--weights", "average").stdout
    assert text.startswith("run at step 4 on digits, averaged weights\n")
    found = strict(invoke("eval", "run", "--weights", "average", "--json").stdout)
    assert (found["weights"], found["test_accuracy"]) == ("average", averaged[-1])
    train("plain", "-q")
    assert "averaged" not in invoke("show", "plain").stdout
    refused = invoke("eval", "plain", "--weights", "average")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "plain: has no averaged weights" in refused.stderr
    invoke("plot", "run", "plain", "-o", "curves.svg")
    assert "dotted: test set with averaged weights" in (tmp_path / "curves.svg").read_text()
    invoke("plot", "plain", "-o", "curves.svg")
    assert "averaged" not in (tmp_path / "curves.svg").read_text()


def test_devices(invoke):
    assert invoke("devices").stdout.startswith("numpy ")
    found = strict(invoke("devices", "--json").stdout)
    assert "numpy" in found["backends"]
    assert found["auto"] in found["backends"]
    assert ("cupy" in found["backends"]) == (found["cupy_absence"] is None)
    assert (found["cuda"] is None) == (found["cupy_absence"] is not None)
    assert found["memory"] is None or found["memory"] > 1e8


@pytest.mark.parametrize("tf32", [False, True])
def test_devices_with_gpus(tf32, invoke, monkeypatch):
    """The output for two GPUs has what a user needs to report a problem, within 80 columns."""
    gpus = (Gpu("NVIDIA H100 80GB HBM3", "9.0", 84_400_000_000, 85_000_000_000), Gpu("old", "7.0", 1, 2))
    cuda = Cuda("14.2.0", "13.0", "13.1", "580.159.03", tf32, gpus)
    monkeypatch.setattr("revgn.arrays.describe_cuda", lambda: cuda)
    monkeypatch.setattr("revgn.arrays.cupy_absence", lambda: None)
    lines = invoke("devices").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1:] == [
        "cupy   NVIDIA H100 80GB HBM3  (auto)",
        "       84.4 GB of 85.0 GB free, compute capability 9.0",
        "       old",
        "       0.0 GB of 0.0 GB free, compute capability 7.0",
        "       driver 580.159.03, for CUDA up to 13.1",
        "       CuPy 14.2.0, CUDA runtime 13.0",
        "       float32 matrix products in "
        + ("TF32, since CUPY_TF32 is set" if tf32 else "float32 (CUPY_TF32=1 allows TF32)"),
    ]
    found = strict(invoke("devices", "--json").stdout)
    assert found["backends"]["cupy"] == "NVIDIA H100 80GB HBM3"
    assert found["cuda"]["gpus"][0]["memory_free"] == 84_400_000_000
    assert (found["cuda"]["driver"], found["cuda"]["tf32"]) == ("580.159.03", tf32)
