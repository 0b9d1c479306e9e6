"""What processes go through: Ctrl-C, kill -9, a terminal, readers beside the writer."""

import json
import os
import pty
import random
import signal
import time

import h5py
import numpy as np
import pytest
import xarray as xr

from revgn.store import EPOCH_SERIES, STEP_SERIES, latest_checkpoint, list_runs, open_run
from revgn.views import summarize

STEPS = 300
BASE = ("--subset", 300, "--hidden", 32, "--batch-size", 64, "--checkpoint-every", 17, "--steps", STEPS, "-q")
OPTIMIZERS = {
    "minimum-norm": ("--subset", 100, "--batch-size", 16, "--solver", "minimum-norm", "--damping", 0.1),
    "block": ("--solver", "block", "--damping", 0.1),
    "adam": ("--optimizer", "adam"),
    "momentum": ("--optimizer", "sgd", "--momentum", 0.9, "--lr", 0.01),
}


def wait_for(condition, process, seconds=60.0):
    """Wait until `condition()`; False if the process ended first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)
    return True


def has_steps(folder):
    journal = folder / "metrics.jsonl"
    return lambda: journal.exists() and b'"kind": "step"' in journal.read_bytes()


def repeats(folder):
    """What equal runs share: every deterministic series, and the arrays of the last checkpoint."""
    run = open_run(folder)
    names = {"step", "epoch"}
    names |= {series.name for series in (*STEP_SERIES, *EPOCH_SERIES) if series.deterministic}
    found = {
        (group, name): column.tobytes()
        for group, columns in (("steps", run.steps), ("epochs", run.epochs))
        for name, column in columns.items()
        if name in names
    }
    checkpoint, passed_over = latest_checkpoint(folder)
    assert passed_over == []
    arrays = {name: array.tobytes() for name, array in checkpoint.arrays.items() if name != "seconds"}
    return run.status, checkpoint.step, found, arrays


def is_killed(process, folder, seconds):
    """Kill -9 after some seconds of training; False if the process was done before."""
    if not wait_for(lambda: (folder / "run.h5").exists(), process):
        return False
    time.sleep(seconds)
    process.kill()
    return process.wait(timeout=60) == -signal.SIGKILL


def kill_and_resume(spawn, tmp_path, kills, seed, seconds):
    """Runs of all optimizers, killed at random instants that many times each, resumed to their end."""
    draw = random.Random(seed)
    killed = 0
    for name, options in OPTIMIZERS.items():
        whole = tmp_path / f"{name}-whole"
        assert spawn("train", *BASE, *options, "--out", whole).wait(timeout=120) == 0
        folder = tmp_path / name
        process = spawn("train", *BASE, *options, "--out", folder)
        for _ in range(kills):
            killed += is_killed(process, folder, draw.uniform(0, seconds))
            process = spawn("resume", folder, "-q")
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0 or "has done its" in errors
        assert repeats(folder) == repeats(whole)
        assert open_run(folder).steps["step"].tolist() == list(range(1, STEPS + 1))
    return killed


def test_killed_at_random_instants(spawn, tmp_path):
    """Kill -9, resume, kill -9, resume: the bits of an uninterrupted run."""
    assert kill_and_resume(spawn, tmp_path, kills=2, seed=60, seconds=0.3) >= 4


@pytest.mark.slow
def test_killed_at_many_random_instants(spawn, tmp_path):
    killed = 0
    for seed in range(4):
        (tmp_path / str(seed)).mkdir()
        killed += kill_and_resume(spawn, tmp_path / str(seed), kills=3, seed=seed, seconds=0.2)
    assert killed >= 25


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_the_step(number, spawn, tmp_path):
    process = spawn("train", *BASE[:-3], "--steps", 3000, "--out", "run")
    assert wait_for(has_steps(tmp_path / "run"), process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "stopping after this step, with a checkpoint (once more: at once)" in errors
    assert "Traceback" not in errors
    assert output.splitlines()[-1] == "revgn resume run"
    run = open_run(tmp_path / "run")
    steps = int(run.steps["step"][-1])
    assert (run.status, latest_checkpoint(tmp_path / "run")[0].step) == ("interrupted", steps)
    assert output.startswith(f"interrupted after {steps} step{'s' if steps > 1 else ''},")
    resumed = spawn("resume", "run", "--steps", steps + 3, "--json")
    output, errors = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, errors
    assert json.loads(output)["status"] == "finished"
    assert open_run(tmp_path / "run").steps["step"].tolist() == list(range(1, steps + 4))


def test_a_second_signal_stops_at_once(spawn, tmp_path):
    """Here a step takes long: the kernel has order 7,000."""
    process = spawn("train", "--batch-size", "full", "--subset", 700, "--out", "run")
    assert wait_for(lambda: (tmp_path / "run" / "checkpoints" / "step_00000000.h5").exists(), process)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert open_run(tmp_path / "run").status == "interrupted"


def test_readers_while_it_runs(spawn, tmp_path):
    """Plain h5py and xarray open run.h5 at any time, and what they see only grows."""
    folder = tmp_path / "run"
    process = spawn("train", *BASE[:-3], "--steps", 3000, "--out", folder, "-q")
    assert wait_for(lambda: len(list(folder.glob("checkpoints/*"))) > 1, process)
    seen, opened = 0, 0
    until = time.monotonic() + 0.7
    while time.monotonic() < until and process.poll() is None:
        with h5py.File(folder / "run.h5", "r") as file:
            assert file.attrs["status"] == "running"
            size = file["steps/step"].size
            assert size == 0 or np.isfinite(file["steps/loss"][...]).all()
        with xr.open_dataset(folder / "run.h5", group="steps", engine="h5netcdf") as steps:
            assert steps.sizes["step"] >= size >= seen
            assert size == 0 or steps["loss"].dims == ("step",)
        assert open_run(folder).steps["step"].size >= size
        seen, opened = size, opened + 1
    assert summarize(open_run(folder))["status"] == "running"
    assert opened > 3
    assert seen > 0
    process.kill()
    process.wait(timeout=60)
    assert summarize(open_run(folder))["status"] == "killed"
    assert list_runs(tmp_path) == [folder]


def on_terminal(spawn, *arguments):
    """Run with standard error on a pseudo-terminal; exit code, standard output, what the terminal got."""
    master, slave = pty.openpty()
    process = spawn(*arguments, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    return process.wait(timeout=60), process.stdout.read(), shown.decode()


def test_live_progress_on_a_terminal(spawn):
    code, output, shown = on_terminal(spawn, "train", *BASE[:-3], "--steps", 40, "--out", "run")
    assert code == 0
    assert "Traceback" not in shown
    assert "\x1b[" in shown
    assert "step 40/40" in shown
    assert "\x1b" not in output
    assert output.startswith("finished after 40 steps")


def test_a_failure_on_a_terminal_leaves_it_usable(spawn):
    options = ("--optimizer", "sgd", "--lr", "1e30")
    code, output, shown = on_terminal(spawn, "train", *BASE[:-3], "--steps", 40, "--out", "run", *options)
    assert (code, output) == (1, "")
    assert "Traceback" not in shown
    assert "revgn: step 2: the loss is nan" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")  # the cursor is shown again
