"""Processes: Ctrl-C and other signals, kill -9, terminals, and reading a run while it is written."""

import json
import os
import random
import re
import signal
import sys
import threading
import time
import weakref

import h5py
import numpy as np
import pytest
import xarray as xr
from processes import STOPPING, run, wait_until
from repeats import repeats
from revgn_cli.interrupt import Interrupted, exit_code, stop_when_asked

from revgn.launch import signals
from revgn.store import latest_checkpoint, list_runs, open_run
from revgn.views import summarize

STEPS = 60
BASE = (
    *("--subset", 300, "--hidden", 32, "--batch-size", 64, "--checkpoint-every", 17, "--eval-every", 5),
    *("--steps", STEPS, "-q"),
)
OPTIMIZERS = {
    "minimum-norm": ("--subset", 100, "--batch-size", 16, "--solver", "minimum-norm", "--damping", 0.1),
    "block": ("--solver", "block", "--damping", 0.1),
    "adam": ("--optimizer", "adam"),
    "momentum": ("--optimizer", "sgd", "--momentum", 0.9, "--lr", 0.01),
}


def has_steps(folder, count=1):
    """Return a condition that is true once the journal of the run has at least `count` steps."""
    journal = folder / "metrics.jsonl"
    return lambda: journal.exists() and journal.read_bytes().count(b'"kind": "step"') >= count


def kill_and_resume(spawn, invoke, tmp_path, names, kills, seed):
    """Kill the run of each optimizer at random instants, `kills` times, and resume it to its end."""
    draw = random.Random(seed)
    for name in names:
        options = OPTIMIZERS[name]
        whole, folder = tmp_path / f"{name}-whole", tmp_path / name
        invoke("train", *BASE, *options, "--out", whole)
        command = ("train", *BASE, *options, "--out", folder)
        for at in sorted(draw.sample(range(1, STEPS // 2), kills)):
            process = spawn(*command)
            assert wait_until(has_steps(folder, at), process)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            command = ("resume", folder, "-q")
        assert invoke(*command).exit_code == 0
        assert repeats(folder) == repeats(whole)
        assert open_run(folder).steps["step"].tolist() == list(range(1, STEPS + 1))


def test_killed_at_random_instants(spawn, invoke, tmp_path):
    """After kill -9 and resumption, a run equals an uninterrupted one; tests/launch covers all optimizers."""
    kill_and_resume(spawn, invoke, tmp_path, ["minimum-norm", "momentum"], kills=1, seed=60)


@pytest.mark.slow
def test_killed_at_many_random_instants(spawn, invoke, tmp_path):
    for seed in range(4):
        (tmp_path / str(seed)).mkdir()
        kill_and_resume(spawn, invoke, tmp_path / str(seed), OPTIMIZERS, kills=3, seed=seed)


@pytest.mark.parametrize(
    ("number", "ignored"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ()),
        (signal.SIGHUP, ()),
        (signal.SIGINT, (signal.SIGINT, signal.SIGHUP)),  # as in the background of a script
    ],
)
def test_one_signal_finishes_the_step(number, ignored, spawn, invoke, tmp_path):
    process = spawn("train", *BASE[:-3], "--steps", 1_000_000, "--out", "run", ignored=ignored)
    assert wait_until(has_steps(tmp_path / "run"), process)
    for each in ignored:  # SIGHUP stays ignored, as under nohup
        if each != number:
            process.send_signal(each)
            assert wait_until(has_steps(tmp_path / "run", 20), process)
            assert process.poll() is None
    process.signal_group(number)
    output, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert "stopping after this step, with a checkpoint (a second signal stops at once)" in errors
    assert "Traceback" not in errors
    assert output.splitlines()[-1] == "revgn resume run"
    run = open_run(tmp_path / "run")
    steps = int(run.steps["step"][-1])
    assert (run.status, latest_checkpoint(tmp_path / "run")[0].step) == ("interrupted", steps)
    assert output.startswith(f"interrupted after {steps} step{'s' if steps > 1 else ''},")
    evaluated = int(run.epochs["step"][-1])
    where = "" if evaluated == steps else f"last evaluation at step {evaluated}: "
    assert f" of training, {where}training loss " in output.splitlines()[0]
    resumed = invoke("resume", "run", "--steps", steps + 3, "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)["status"] == "finished"
    assert open_run(tmp_path / "run").steps["step"].tolist() == list(range(1, steps + 4))


def test_a_second_signal_stops_at_once(spawn, tmp_path):
    """The first step never ends here."""
    endless = "loop.train_step = lambda *_: (open('begun', 'w'), threading.Event().wait())"
    prepare = f"import threading, revgn.training.loop as loop; {endless}"
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        process = spawn("train", *BASE, "--out", "run", prepare=prepare, stderr=file)
    assert wait_until((tmp_path / "begun").exists, process)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "a second signal stops at once" in errors.read_text(), process)
    time.sleep(signals._ONE_REQUEST)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert "Traceback" not in errors.read_text()
    assert open_run(tmp_path / "run").status == "interrupted"


def test_an_interrupt_in_a_callback_is_not_lost(capfd):
    """Python suppresses exceptions in callbacks of weak references; the second signal is repeated then."""

    class Referred:
        pass

    def interrupted(_):
        raise KeyboardInterrupt

    referred = Referred()
    reference = weakref.ref(referred, interrupted)
    with pytest.raises(KeyboardInterrupt), stop_when_asked() as asked:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert asked()
        del referred
        assert reference() is None
        threading.Event().wait(60)  # until the signal interrupts it
    assert "Traceback" not in capfd.readouterr().err


def test_signals_in_quick_succession_are_one_request(monkeypatch, capfd):
    """`timeout` sends SIGTERM twice, and a shell whose terminal closes sends a second SIGHUP."""
    clock = [5.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: clock[0])
    before = [signal.getsignal(number) for number in STOPPING]
    with stop_when_asked("will stop") as asked:
        assert (asked(), asked.number) == (False, 0)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            clock[0] += 0.2
        assert (asked(), asked.number) == (True, signal.SIGTERM)
        clock[0] += 0.2
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGINT)
        assert exit_code(caught.value.number) == 130
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert capfd.readouterr().err.count("will stop") == 1


def test_a_closed_terminal_ends_with_a_checkpoint(on_terminal, tmp_path):
    """Output to the terminal fails from then on, which does not end the run in another way."""
    process, terminal = on_terminal("train", *BASE[:-3], "--steps", 1_000_000, "--out", "run")
    assert wait_until(has_steps(tmp_path / "run", 5), process)
    terminal.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 129
    run = open_run(tmp_path / "run")
    assert (run.status, latest_checkpoint(run.folder)[0].step) == ("interrupted", run.steps["step"][-1])


def test_readers_while_it_runs(spawn, tmp_path):
    """h5py and xarray can open run.h5 at any time, and the number of records never decreases."""
    folder = tmp_path / "run"
    often = "import revgn.store.writer as writer; writer.SNAPSHOT_SECONDS, writer.SNAPSHOT_SHARE = 0.02, 1"
    process = spawn("train", *BASE[:-3], "--steps", 1_000_000, "--out", folder, "-q", prepare=often)
    assert wait_until(lambda: len(list(folder.glob("checkpoints/*"))) > 1, process)
    seen, opened, grown = 0, 0, 0
    while opened < 1000 and grown < 3:
        assert process.poll() is None
        with h5py.File(folder / "run.h5", "r") as file:
            assert file.attrs["status"] == "running"
            size = file["steps/step"].size
            assert size == 0 or np.isfinite(file["steps/loss"][...]).all()
        with xr.open_dataset(folder / "run.h5", group="steps", engine="h5netcdf") as steps:
            assert steps.sizes["step"] >= size >= seen
            assert size == 0 or steps["loss"].dims == ("step",)
        assert open_run(folder).steps["step"].size >= size
        seen, opened, grown = size, opened + 1, grown + (size > seen)
    assert grown == 3
    assert summarize(open_run(folder))["status"] == "running"
    process.kill()
    process.wait()
    assert summarize(open_run(folder))["status"] == "killed"
    assert list_runs(tmp_path) == [folder]


def test_live_progress_on_a_terminal(on_terminal):
    process, terminal = on_terminal("train", *BASE[:-3], "--steps", 40, "--out", "run", only_errors=True)
    shown, (output, _) = terminal.read(), process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in shown
    assert "\x1b[" in shown
    assert "step 40/40" in shown
    assert "\x1b" not in output
    assert output.startswith("finished after 40 steps")


def lines_on(terminal):
    """Return the lines written to a terminal so far, without control codes; a redrawn line counts again."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.read()))


def test_notes_are_above_the_live_progress(on_terminal):
    process, terminal = on_terminal("train", *BASE[:-3], "--steps", 4, "--out", "run", only_errors=True)
    shown = lines_on(terminal)
    assert any(line.startswith("revgn: chosen for 300 rows of digits") for line in shown)
    process.communicate()


def test_a_stopped_sweep_on_a_terminal(on_terminal):
    """The promise is above the live table, and the number of interrupted trials is printed once."""
    options = (*BASE[:-3], "--steps", 10**6, "--grid", "seed=0..1", "--workers", 2, "--out", "out")
    process, terminal = on_terminal("sweep", *options, only_errors=True)
    terminal.read(until="2 running")
    process.signal_group(signal.SIGINT)
    shown, (output, _) = lines_on(terminal), process.communicate()
    assert process.returncode == 130
    (place,) = [number for number, line in enumerate(shown) if line.endswith("once)")]
    assert shown[place + 1].startswith("sweep out")
    assert output.splitlines() == ["2 interrupted", "revgn sweep out"]
    assert sum(line.startswith("2 interrupted") for line in shown[-4:]) == 0


@pytest.mark.parametrize("is_full", [True, False])
def test_lost_progress_does_not_end_a_run(is_full, spawn, tmp_path):
    """The run is finished, and the exit code is 0, also if nobody can read the progress."""
    reader, writer = os.pipe()
    with open("/dev/full" if is_full else writer, "w") as errors:
        os.close(reader)
        process = spawn("train", *BASE[:-3], "--steps", 4, "--out", "run", stderr=errors)
    output, _ = process.communicate()
    assert (process.returncode, open_run(tmp_path / "run").status) == (0, "finished")
    assert output.startswith("finished after 4 steps")


def test_a_terminal_that_cannot_redraw_gets_lines(on_terminal):
    """As Emacs and some logs do with TERM=dumb: progress is shown while training, without control codes."""
    options = (*BASE[:-3], "--steps", 10**6, "--out", "run")
    process, terminal = on_terminal("train", *options, only_errors=True, term="dumb")
    shown = terminal.read(until="test ")  # the run does not end by itself
    process.send_signal(signal.SIGINT)
    shown += terminal.read()
    process.communicate()
    assert process.returncode == 130
    assert "\x1b" not in shown
    assert "  epoch 0  step 0/1000000  test " in shown


def test_a_failure_on_a_terminal_leaves_it_usable(on_terminal):
    options = ("--optimizer", "sgd", "--lr", "1e30", "--steps", 40, "--out", "run")
    process, terminal = on_terminal("train", *BASE[:-3], *options, only_errors=True)
    shown, (output, _) = terminal.read(), process.communicate()
    assert (process.returncode, output) == (1, "")
    assert "Traceback" not in shown
    assert "revgn: step 2: the loss is nan" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")  # the cursor is shown again


IN_AN_IMPORT = """
import signal, sys
from importlib.abc import MetaPathFinder

class Interrupting(MetaPathFinder):
    def find_spec(self, name, *rest):
        if name == "numpy":
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["revgn", "show", "nowhere"]
from revgn_cli.start import main
main()
"""


def test_an_interrupt_during_an_import_ends_with_one_line():
    """A half-loaded NumPy would raise errors of its own, with tracebacks."""
    done = run([sys.executable, "-c", IN_AN_IMPORT])
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "revgn: stopped\n")
