"""`revgn sweep`: sweeps from the command line."""

import json
import re
import shutil
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from processes import wait_until

from revgn.launch import check_run
from revgn.store import list_runs, open_run, open_runs
from revgn.sweeps import forecast, load_plan
from revgn.sweeps.claim import Silence, is_held, newest_claim

TINY = ("--subset", 200, "--hidden", 16, "--blocks", 1, "--batch-size", 50, "--optimizer", "adam")


def test_a_grid(invoke, tmp_path):
    options = ("sweep", *TINY, "--epochs", 1, "--grid", "lr=0.001,0.01", "--grid", "seed=0..1")
    found = invoke(*options, "--out", "s", "--workers", 2)
    assert found.exit_code == 0
    assert found.stdout == "4 finished\nrevgn compare s\n"
    assert found.stderr.startswith("sweep s\n")
    assert len(re.findall(r"finished  step 4/4  test accuracy \d+\.\d\d%", found.stderr)) == 4
    assert len(list_runs(tmp_path / "s")) == 4
    again = invoke("sweep", "s", "--json")
    trials = json.loads(again.stdout)
    assert [trial["status"] for trial in trials] == ["finished"] * 4
    assert [trial["training.seed"] for trial in trials] == [0, 1, 0, 1]
    assert {trial["run"] for trial in trials} == {f"s/{path.name}" for path in list_runs(tmp_path / "s")}


@pytest.fixture
def minutes(monkeypatch):
    """Let the estimate be a minute for each trial, without a measurement."""
    monkeypatch.setattr(forecast, "trial_seconds", lambda settings: [60.0 for _ in settings])


def test_dry_runs(invoke, tmp_path, minutes):
    (tmp_path / "momentum.toml").write_text(
        "[grid]\nmomentum = [0.5, 0.9]\n[variants.a]\ntraining.epochs = 1\n"
    )
    lines = invoke("sweep", "momentum.toml", "--dry-run", "--grid", "seed=0..2").stdout.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("a_momentum=0.5_seed=0_")
    assert lines[6:] == [
        "6 trials in runs/momentum",
        "time at least 6m00s, with 1 worker on this machine",
    ]
    drawn = json.loads(
        invoke("sweep", "--grid", "lr=log:1e-3..1", "--random", 3, "--dry-run", "--json").stdout
    )
    assert len({trial["lr"] for trial in drawn}) == 3
    assert [trial["seconds"] for trial in drawn] == [60.0] * 3
    assert invoke("sweep", "--dry-run", "--out", "s").exit_code == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "momentum.toml"]


def test_a_dry_run_says_why_there_is_no_estimate(invoke, monkeypatch):
    monkeypatch.setattr("revgn.data.sources.find_files", lambda name, folder: ())
    found = invoke("sweep", "--data", "mnist", "--grid", "lr=0.1,1", "--dry-run")
    lines = found.stdout.splitlines()
    assert (found.exit_code, len(lines)) == (0, 4)
    assert lines[3].startswith("time unknown: mnist: train-images")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nope", "--grid", "lr=0.1,1"), "data: 'nope' is neither a known name"),
        (("--data", "nope", "--tune", "lr"), "data: 'nope' is neither a known name"),
        (("--grid", "data=nope,digits"), "data: 'nope' is neither a known name"),
        (("--data", "nope.npz"), "nope.npz: there is no such file"),
        (("--backend", "cupy", "--grid", "lr=0.1,1"), "backend cupy: no GPU was found"),
    ],
)
def test_missing_data_and_devices_are_reported_before_any_trial(
    invoke, monkeypatch, tmp_path, options, message
):
    monkeypatch.setattr("revgn.arrays.namespace.cupy_absence", lambda: "no GPU was found")
    for dry_run in ((), ("--dry-run",)):
        found = invoke("sweep", *options, "--out", "s", *dry_run)
        assert (found.exit_code, found.stdout) == (2, "")
        assert message in found.stderr
        assert len(found.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_data_are_reported_before_a_search(invoke, tmp_path):
    pytest.importorskip("optuna")
    found = invoke("sweep", "--data", "nope", "--grid", "lr=log:0.1..1", "--search", 2, "--out", "s")
    assert (found.exit_code, found.stdout, len(found.stderr.splitlines())) == (2, "", 1)
    assert list_runs(tmp_path) == []


def test_an_error_of_several_trials_is_reported_once(invoke, in_process):
    """The advice to compare the runs is left out if there is none."""
    options = ("sweep", *TINY, "--epochs", 1, "--grid", "seed=0..1")
    found = invoke(*options, "--label-smoothing", 0.1, "--loss", "squared-error", "--out", "s")
    assert (found.exit_code, found.stdout) == (1, "2 failed\n")
    assert found.stderr.count("label_smoothing: is only for cross-entropy") == 1
    assert " (and 1 more): failed: training.label_smoothing: " in found.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "options",
    [("--grid", "lr=1e-4,1e-3"), ("--tune", "lr=1e-4,1e-3"), ("--random", 2, "--grid", "lr=1e-4..1e-3")],
)
def test_a_dry_run_prints_the_names_of_the_trials(options, invoke, tmp_path, minutes, in_process):
    """Also for a data file with a relative path, which the sweep stores as an absolute one."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", inputs=rng.standard_normal((60, 4)), targets=rng.integers(0, 2, 60))
    data = ("--data", "own.npz", "--hidden", 8, "--batch-size", 20, "--optimizer", "adam", "--epochs", 1)
    options = ("sweep", *data, *options, "--out", "s")
    planned = json.loads(invoke(*options, "--dry-run", "--json").stdout)
    invoke(*options, "-q")
    names = {path.name for path in list_runs(tmp_path / "s")}
    assert {trial["trial"] for trial in planned} <= names
    assert len(names) == len(planned) or "--tune" in options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--grid", "lr"), "--grid lr: expected key=values"),
        (("--grid", "carry=1"), "carry: is now optimizer.momentum"),
        (("--grid", "lr=-1,1"), "trial lr=-1: optimizer.lr: -1.0 cannot be used"),
        (("--grid", "lr=0.1..1"), "a range has no countable values"),
        (("--tune", "damping"), "tune damping: has no initial values"),
        (("--tune", "lr", "--search", 3), "--tune and --search: both choose the trials"),
        (("--tune", "lr=0.1,1", "--grid", "lr=0.7"), "tune lr and grid lr: both have values; use only one"),
        (("--tune", "lr=0.1,1", "--lr", 0.7), "optimizer.lr: has no effect, since the tuning sets lr"),
        (("--grid", "lr=0.1,1,0.1"), "grid lr: the value 0.1 is given twice"),
        (
            ("--grid", "lr=1", "--grid", "optimizer.lr=2"),
            "lr and optimizer.lr: both set optimizer.lr; use only",
        ),
        (("--lr", 0.5, "--grid", "lr=0.1,0.3"), "optimizer.lr: has no effect, since the grid sets lr"),
        (("--epochs", 3, "--grid", "training.epochs=1,2"), "training.epochs: has no effect, since the grid"),
        (("--optimizer", "sgd", "--grid", "optimizer=sgd,adam"), "optimizer: has no effect, since the grid"),
        (("--grid", "seed=0..1", "--grid", "seed=2..3"), "--grid seed=2..3: seed has two --grid options"),
        (("--grid", "lr=0.1,1", "--rule", "fit"), "--rule: has no effect without --tune"),
        (("--grid", "lr=0.1,1", "--random-seed", 9), "--random-seed: has no effect without --random"),
        (("--grid", "lr=0.1,1", "--search", 3, "--random", 2), "--random: has no effect on a search"),
        (("--epochs", 3, "--steps", 10), "--epochs: has no effect with --steps"),
        (("--grid", "epochs=1,2", "--steps", 2), "training.steps: has no effect, since the grid"),
        (("--grid", "steps=1,2", "--epochs", 2), "training.epochs: has no effect, since the grid"),
        (("--grid", "steps=1,2", "--grid", "epochs=1,2"), "grid: epochs and steps both set the length"),
        (("--median-after", -1), "median_after: -1.0 is not a non-negative number"),
        (("--grid", "lr=0.1..1", "--random", 3, "--random-seed", -1), "random_seed: -1 is not a non-"),
        (("--grid", "lr=0.1..1", "--random", 0), "random: 0 is not an integer from 1 to 100,000"),
        (("--grid", "hidden=0.2..0.9", "--search", 2), "grid network.hidden: '0.2..0.9' contains no whole"),
        (("--search", 3, "--out", "s"), "there are no settings to vary"),
        (("--workers", 0), "workers: 0 is not at least 1"),
        (("nowhere.toml",), "does not exist"),
        ((".",), "is not the folder of a sweep: it has no sweep.toml"),
    ],
)
def test_invalid_options_are_reported_in_one_line(invoke, tmp_path, options, message):
    found = invoke("sweep", *options)
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


VARIANTS = """
[optimizer]
kind = "adam"
[variants.slow]
optimizer.lr = 0.001
[variants.fast]
optimizer.lr = 0.01
training.steps = 4
[variants.other]
optimizer = "sgd"
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lr", 0.7), "optimizer.lr: has no effect, since all variants override it"),
        (("-s", "optimizer.lr=0.7"), "optimizer.lr: has no effect, since all variants override it"),
        (("--epochs", 1), "training.epochs: has no effect on fast, which overrides it"),
        (("--steps", 3), "training.steps: has no effect on fast, which overrides it"),
        (("--optimizer", "muon"), "optimizer: has no effect on other, which overrides it"),
        (("--beta2", 0.9), "optimizer.beta2: has no effect on other, which overrides it"),
        (("--lr", 0.001), "optimizer.lr: has no effect on fast, other, which override it"),
        (("--epochs", 1, "--grid", "steps=1,2"), "training.epochs: has no effect, since the grid sets"),
        (("--subset", 200, "--grid", "epochs=1"), ""),
        (("--hidden", 8, "--steps", "none", "--grid", "epochs=1"), ""),
    ],
)
def test_options_that_variants_override_are_refused_or_noted(invoke, tmp_path, minutes, options, message):
    """An option that has an effect on some variants is noted; `--grid` overrides variants."""
    (tmp_path / "v.toml").write_text(VARIANTS)
    found = invoke("sweep", "v.toml", *options, "--dry-run")
    assert found.exit_code == (2 if "since" in message else 0)
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == bool(message)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("sweep.rule = 'fit'", (), "own.toml: rule: fit has no effect without tune"),
        ("sweep.rule = 'fit'", ("--tune", "lr"), ""),
        (
            "sweep = {rule = 'fit', tune = 'lr=0.1,1'}",
            ("--lr", 2),
            "optimizer.lr: has no effect, since the tuning",
        ),
        ("sweep.tune = 'lr=x1,3'", ("--lr", 2), ""),
        ("optimizer.lr = -1", (), "own.toml: optimizer.lr: -1.0 cannot be used; expected a number > 0"),
        ("optimizer.lr = -1", ("--lr", 2), ""),
        ("optimizer.lr = 1", ("--hidden", -1), "revgn: network.hidden: -1 cannot be used"),
        ("dry-run = true", (), "own.toml: dry-run: is an option of the command (--dry-run), not a setting"),
        (
            "training = {epochs = 3, steps = 2}",
            (),
            "revgn: training.epochs has no effect with training.steps",
        ),
        ("training = {epochs = 3, steps = 2}", ("--epochs", 2), ""),
        ("training.epochs = 3", ("--steps", 2), ""),
        (
            "grid.seed = '0..2'",
            ("--random", 10),
            "drawn repeatedly; each of the 3 different ones is run once",
        ),
    ],
)
def test_settings_of_a_file_that_contradict_others_are_refused_or_noted(
    text, options, message, invoke, tmp_path, minutes
):
    (tmp_path / "own.toml").write_text(text)
    found = invoke("sweep", "own.toml", *options, "--dry-run")
    is_noted = "epochs" in message or "drawn" in message
    assert found.exit_code == (0 if is_noted or not message else 2)
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == bool(message)


@pytest.mark.parametrize(("after", "is_noted"), [(1, True), (0, False)])
def test_a_median_rule_that_never_acts_is_noted(after, is_noted, invoke, in_process):
    options = ("--epochs", 1, "--grid", "lr=0.1,0.2", "--median-after", after, "--out", "s", "-q")
    found = invoke("sweep", *TINY, *options)
    message = f"--median-after {after}: had no effect, since all trials ended by epoch 1"
    assert (message in found.stderr) == is_noted
    assert ("the median rule selects by the test set" in found.stderr) != is_noted


def test_options_of_another_optimizer_than_those_on_the_grid_are_refused(invoke, minutes):
    """The learning rate of gauss-newton; a grid of learning rates sets that of each optimizer."""
    found = invoke("sweep", "--lr", 0.5, "--grid", "optimizer=sgd,adam", "--dry-run")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "optimizer.lr: has no effect, since all kinds on the grid override it" in found.stderr
    found = invoke("sweep", "--lr", 0.5, "--grid", "optimizer=gauss-newton,adam", "--dry-run")
    assert found.exit_code == 0
    assert "optimizer.lr: has no effect on adam, which overrides it" in found.stderr
    assert invoke("sweep", "--grid", "lr=0.5", "--grid", "optimizer=sgd,adam", "--dry-run").stderr == ""


def test_a_learning_rate_is_tuned(invoke, minutes, in_process):
    options = ("sweep", *TINY, "--epochs", 1, "--validation", 0.2, "--tune", "lr=1e-4,1e-3", "--out", "s")
    assert invoke(*options, "--dry-run", "--workers", 2).stdout.splitlines()[2:] == [
        "2 trials to begin with, at most 6 in all, in s",
        "time at least 1m00s for these, about 3m00s for all, with 2 workers on this machine",
    ]
    found = invoke(*options, "--grid", "seed=0..1", "--median-after", 1)
    assert found.exit_code == 0
    best = re.match(r"best lr (\S+), by the validation set\n", found.stdout)
    assert "test set" not in found.stderr
    assert invoke(*options, "--grid", "seed=0..1", "-q").stdout == found.stdout
    trials = json.loads(invoke(*options, "--grid", "seed=0..1", "--json").stdout)
    assert [trial["lr"] for trial in trials if trial["training.seed"] == 1] == [float(best[1])]


def test_a_best_value_at_the_end_of_those_tried_is_noted(invoke, in_process):
    options = ("--epochs", 1, "--tune", "lr=1e-5,2e-5", "--rule", "fit", "--out", "s")
    found = invoke("sweep", *TINY, *options, "--grid", "init_scale=0.01,0.02", "-q")
    assert found.exit_code == 0
    assert found.stdout.splitlines()[:2] == [
        f"init scale {scale}: best lr 8e-05, by rule fit" for scale in (0.01, 0.02)
    ]
    assert found.stderr.splitlines() == [
        f"revgn: init scale {scale}: 8e-05 is the largest lr tried, and larger values may be better; "
        "--tune lr=0.000113,... in another folder (--out) tries them"
        for scale in (0.01, 0.02)
    ]


def test_a_tuned_sweep_is_continued_from_its_folder(invoke, tmp_path, in_process):
    """The file in the folder says how the trials are chosen; options override it."""
    options = ("sweep", *TINY, "--epochs", 1, "--validation", 0.2, "--tune", "lr=1e-4,1e-3", "--rule", "fit")
    found = invoke(*options, "--diverged-above", "none", "--median-after", 1, "--out", "s", "-q")
    folders = list_runs(tmp_path / "s")
    assert len(folders) > 2
    assert invoke("sweep", "s", "-q").stdout == found.stdout
    assert list_runs(tmp_path / "s") == folders
    assert ", by the validation set\n" in invoke("sweep", "s", "--rule", "score", "-q").stdout
    plan = load_plan(tmp_path / "s")
    assert (plan.tune, plan.rule, plan.median_after) == ("lr=1e-4,1e-3", "score", 1)


def test_the_folder_of_another_sweep_or_of_a_run_is_refused(invoke, tmp_path, in_process):
    """The plan of a sweep stays, so that the sweep can be continued; values may be added."""
    options = ("sweep", *TINY, "--epochs", 1, "-q", "--grid")
    assert invoke(*options, "lr=1e-3", "--out", "s").exit_code == 0
    runs, plan = list_runs(tmp_path / "s"), (tmp_path / "s" / "sweep.toml").read_text()
    expected = (
        "revgn: s: is the folder of another sweep, whose trials this one would leave out: {}; choose another "
        "folder (--out)\n"
    )
    lost, epochs = "grid.lr leaves out 0.001", "training.epochs is 2, not 1"
    for arguments, difference in [
        ((*options, "lr=1e-2", "--out", "s"), lost),
        ((*options, "lr=1e-2", "--out", "s", "--dry-run"), lost),
        (("sweep", "s", "--epochs", 2), epochs),
    ]:
        found = invoke(*arguments)
        assert (found.exit_code, found.stdout, found.stderr) == (2, "", expected.format(difference))
    run = f"s/{runs[0].name}"
    found = invoke(*options, "lr=1e-3", "--out", run)
    assert found.exit_code == 2
    assert found.stderr.startswith(f"revgn: {run}: is the folder of a run; choose another folder")
    assert (list_runs(tmp_path / "s"), (tmp_path / "s" / "sweep.toml").read_text()) == (runs, plan)
    assert not (tmp_path / run / "sweep.toml").exists()
    assert invoke(*options, "lr=1e-3,1e-2", "--out", "s").stdout.startswith("2 finished")


def test_a_trial_that_was_resumed_with_other_settings_is_noted(invoke, tmp_path, in_process):
    options = ("sweep", *TINY, "--epochs", 1, "--grid", "lr=0.001", "--out", "s", "-q")
    assert invoke(*options).stderr == ""
    (run,) = list_runs(tmp_path / "s")
    assert invoke("resume", run, "--epochs", 2, "--lr", 1e-6, "-q").exit_code == 0
    found = invoke(*options)
    assert (found.exit_code, found.stdout) == (0, "1 finished\nrevgn compare s\n")
    changes = "optimizer.lr is 1e-06, not 0.001, training.epochs is 2, not 1"
    assert found.stderr == f"{run.name}: finished: its run was continued with other settings: {changes}\n"
    assert json.loads(invoke(*options, "--json").stdout)[0]["message"].endswith(changes)


def test_tuning_on_the_test_set_is_warned_of(invoke, in_process):
    options = ("sweep", *TINY, "--epochs", 1, "--tune", "lr=1e-4,1e-3", "--out", "s", "-q")
    found = invoke(*options)
    assert ", by the test set at the last evaluation\n" in found.stdout
    expected = "revgn: the trials have no validation rows, and tuning selects by the test set"
    assert [line.startswith(expected) for line in found.stderr.splitlines()] == [True]
    assert "test set" not in invoke(*options[:-3], "--rule", "fit", "--out", "f", "-q").stderr


def test_a_search_on_a_cluster(spawn):
    pytest.importorskip("distributed")
    pytest.importorskip("optuna")
    options = ("sweep", *TINY, "--epochs", 1, "--grid", "lr=log:1e-4..1e-2", "--search", 3, "--out", "s")
    stdout, stderr = spawn(*options, "--dask", "local", "--workers", 1).communicate()
    assert (stdout, "Traceback" in stderr) == ("3 finished\nrevgn compare s\n", False)


def test_a_terminal_shows_a_live_table(on_terminal):
    process, terminal = on_terminal("sweep", *TINY, "--epochs", 1, "--grid", "seed=0..2", "--out", "s")
    written = terminal.read()
    assert process.wait() == 0
    assert written.count("finished") > 3
    assert "3 finished" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")  # the cursor is shown again


LONG = (*TINY, "--epochs", 60, "--eval-every", 40, "--checkpoint-every", 40)  # 240 steps


def steps_of(sweep):
    """Return the number of steps in the journal of each run of a sweep."""
    return [path.read_bytes().count(b'"kind": "step"') for path in sweep.glob("*/metrics.jsonl")]


def test_a_killed_or_interrupted_sweep_can_be_resumed(spawn, invoke, tmp_path, in_process):
    """The workers end with their parent process, and completed steps are not repeated."""
    sweep = tmp_path / "s"
    options = ("sweep", *LONG, "--grid", "seed=0..2", "--out", "s", "--workers", 2)

    def is_free():
        return not any(is_held(newest_claim(sweep, path.name), Silence()) for path in list_runs(sweep))

    process = spawn(*options)
    assert wait_until(lambda: sum(steps_of(sweep)) >= 100, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert wait_until(is_free), "a worker outlived its parent"
    assert {open_run(path).status for path in list_runs(sweep)} <= {"interrupted", "finished"}
    before = steps_of(sweep)
    process = spawn(*options)
    assert wait_until(lambda: all(map(int.__gt__, steps_of(sweep), before)), process)
    process.signal_group(signal.SIGINT)  # as in a terminal, where all its processes get Ctrl-C
    stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert stdout.splitlines()[-1] == "revgn sweep s"
    assert "Traceback" not in stderr
    assert {open_run(path).status for path in list_runs(sweep)} <= {"interrupted", "finished"}
    assert invoke("sweep", "s", "--workers", 2, "-q").stdout.startswith("3 finished")
    for path in list_runs(sweep):
        run = open_run(path)
        assert run.steps["step"].tolist() == list(range(1, 241))
        assert {finding.outcome for finding in check_run(path)} == {"ok"}


@pytest.mark.parametrize(("number", "where"), [(signal.SIGHUP, ()), (signal.SIGTERM, ("--dask", "local"))])
def test_a_signal_to_all_processes_ends_each_trial_with_a_checkpoint(number, where, spawn, tmp_path):
    """As from a batch system, or when a terminal closes; the dask workers would cancel or kill the trials."""
    if where:
        pytest.importorskip("distributed")
    count = 1 if where else 2  # workers of dask are slow to start
    sweep, long = tmp_path / "s", ("--epochs", 50_000, "--eval-every", 200_000)
    trials = ("--grid", f"seed={'0' if where else '0..1'}", "--out", "s", "--workers", count)
    process = spawn("sweep", *TINY, *long, *trials, *where, "-q")
    assert wait_until(lambda: len(steps_of(sweep)) == count and min(steps_of(sweep)) > 5, process)
    process.signal_group(number)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (128 + number, f"{count} interrupted\nrevgn sweep s\n"), stderr
    for path in list_runs(sweep):
        run = open_run(path)
        assert run.status == "interrupted"
        assert run.checkpoints == [0, run.steps["step"][-1]]


def test_trials_are_waiting_if_a_signal_comes_before_they_start(invoke, monkeypatch, tmp_path):
    @contextmanager
    def slow_cluster(address, workers):
        signal.raise_signal(signal.SIGINT)
        yield None, 1

    monkeypatch.setattr("revgn.sweeps.executor_at", slow_cluster)
    options = ("sweep", *TINY, "--steps", 1, "--grid", "seed=0..1", "--out", "s")
    found = invoke(*options)
    assert (found.exit_code, found.stdout) == (130, "2 waiting\nrevgn sweep s\n")
    rows = json.loads(invoke(*options, "--json").stdout)
    assert [row["status"] for row in rows] == ["waiting"] * 2
    assert list_runs(tmp_path / "s") == []


def test_a_trial_that_diverges_is_reported(invoke, in_process):
    found = invoke(
        "sweep", *TINY, "--optimizer", "sgd", "--grid", "lr=1e30,0.01", "--epochs", 1, "--out", "s"
    )
    assert found.exit_code == 1
    assert "diverged: step" in found.stderr
    assert found.stdout.splitlines() == ["1 diverged, 1 finished", "revgn compare s"]


def test_a_stopped_sweep_on_a_local_cluster_is_quiet(spawn, tmp_path):
    """Ctrl-C in a terminal signals the workers as well; the driver alone stops their trials."""
    pytest.importorskip("distributed")
    trials = ("--grid", "seed=0", "--steps", 10**6, "--out", "s")
    process = spawn("sweep", *TINY, *trials, "--dask", "local", "--workers", 1)
    assert wait_until(lambda: len([*tmp_path.glob("s/*/checkpoints/*")]) > 0, process)
    process.signal_group(signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output) == (130, "1 interrupted\nrevgn sweep s\n")
    assert "stopping each trial" in errors
    assert not [word for word in ("distributed", "Traceback", "Error") if word in errors]


SMALL = "data.subset = 100\nnetwork.hidden = 8\n"


def test_a_command_that_replaces_the_length_of_a_file_goes_on_in_its_folder(invoke, tmp_path):
    own = SMALL + "training = {epochs = 2, batch_size = 50}\ngrid.lr = [0.1, 0.2]\n"
    (tmp_path / "own.toml").write_text(own)
    command = ("sweep", "own.toml", "--steps", 2, "--out", "s", "-q")
    assert invoke(*command).exit_code == 0
    trials = {run.folder.name for run in open_runs(tmp_path / "s")}
    for again in (command, ("sweep", "s", "-q")):
        found = invoke(*again)
        assert (found.exit_code, "no effect" in found.stderr) == (0, False)
        assert {run.folder.name for run in open_runs(tmp_path / "s")} == trials


def test_values_of_tune_replace_the_grid_of_a_file(invoke, tmp_path):
    own = SMALL + 'sweep.tune = "lr"\ntraining.steps = 2\ngrid.lr = [1e-9, 2e-9]\n'
    (tmp_path / "own.toml").write_text(own)
    assert invoke("sweep", "own.toml", "--tune", "lr=0.1,0.3", "--out", "s", "-q").exit_code == 0
    assert min(run.config["optimizer"]["lr"] for run in open_runs(tmp_path / "s")) > 1e-3


def test_a_folder_of_an_older_version_is_continued(invoke, tmp_path):
    """A value that is given twice, and a rule without tuning, were harmless."""
    (tmp_path / "s").mkdir()
    own = SMALL + 'sweep.rule = "fit"\ntraining.steps = 2\ngrid.lr = [0.1, 0.1]\n'
    (tmp_path / "s" / "sweep.toml").write_text(own)
    assert invoke("sweep", "s", "-q").exit_code == 0
    assert len(open_runs(tmp_path / "s")) == 1
    shutil.copy(tmp_path / "s" / "sweep.toml", tmp_path / "new.toml")
    assert invoke("sweep", "new.toml", "-q").exit_code == 2
