"""Stopping, resuming and extending a run: the result equals an uninterrupted run bit by bit."""

import json
import shutil
import sys
from dataclasses import replace
from itertools import cycle

import h5py
import numpy as np
import pytest
from launch_cases import OPTIMIZERS, Killed, config, kill_at, save_table, settings, stop_after
from repeats import repeats

from revgn.errors import RunError, RunHeldError, UsageError
from revgn.launch import evaluate_run, resume_run, start_run
from revgn.networks import Architecture, draw_network, frozen_arrays
from revgn.settings import build_config, merge_settings, nested
from revgn.store import latest_checkpoint, load_network, open_run
from revgn.store.journal import is_locked
from revgn.training import build_problem, load_data
from revgn.views import labels, summarize


@pytest.mark.parametrize(("name", "step"), [*zip(OPTIMIZERS, cycle((3, 8, 1, 4)), strict=False)])
def test_stopped_after_any_step_and_resumed(name, step, tmp_path):
    """The result equals an uninterrupted run; there are checkpoints only at the start, stop and end."""
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


def test_stopped_and_resumed_on_a_gpu(stand_in, tmp_path):
    """Batches are gathered and augmented on the GPU; the result equals an uninterrupted run bit by bit."""
    on_gpu = config(backend="cupy", augmentation="pad-crop-flip", **OPTIMIZERS["exponential"])
    start_run(on_gpu, tmp_path / "whole")
    start_run(on_gpu, tmp_path / "stopped", **stop_after(4))
    resume_run(tmp_path / "stopped", {})
    assert repeats(tmp_path / "stopped") == repeats(tmp_path / "whole")
    assert open_run(tmp_path / "whole").attributes["device"].endswith("compute capability 9.0, no TF32")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of an uninterrupted run with Adam."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    start_run(build_config(settings(OPTIMIZERS["adam"])), folder)
    return repeats(folder)


@pytest.mark.parametrize("event", range(1, 14))
def test_killed_at_any_event_and_resumed(event, whole, tmp_path, monkeypatch):
    """The kill may come before the first checkpoint, or between the last event and the final status."""
    monkeypatch.setattr("revgn.store.writer.RunWriter.__exit__", lambda writer, *_: writer._release())
    config = build_config(settings(OPTIMIZERS["adam"]))
    with pytest.raises(Killed):
        start_run(config, tmp_path / "killed", observe=kill_at(event))
    assert summarize(open_run(tmp_path / "killed"))["status"] == "killed"
    monkeypatch.undo()
    resume_run(tmp_path / "killed", {})
    assert repeats(tmp_path / "killed") == whole


@pytest.mark.parametrize("steps", [9, 8])
def test_killed_between_the_last_checkpoint_and_the_final_status(steps, tmp_path, monkeypatch):
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
def test_resuming_with_more_epochs_equals_a_longer_run(name, tmp_path):
    changes = OPTIMIZERS[name] | {"steps": None}
    start_run(build_config(settings(changes | {"epochs": 2})), tmp_path / "short")
    start_run(build_config(settings(changes | {"epochs": 4})), tmp_path / "long")
    outcome = resume_run(tmp_path / "short", {"training": {"epochs": 4}}, command="revgn resume short")
    assert (outcome.status, outcome.step) == ("finished", 12)
    assert repeats(tmp_path / "short") == repeats(tmp_path / "long")
    run = open_run(tmp_path / "short")
    assert run.config["training"]["epochs"] == 4
    assert run.attributes["history"].endswith("revgn resume short")


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
        ({"optimizer": {"lr": -1}}, r"optimizer\.lr: -1.0 cannot be used"),
        ({"optimizer": {"rate": 1}}, r"optimizer\.rate: unknown setting"),
        ({"training": {"steps": 9}}, r"has completed all 9 steps; to continue, increase training\.steps"),
        ({"training": {"steps": 5}}, r"has completed all 9 steps; to continue, increase training\.steps"),
        (
            {"training": {"steps": None, "epochs": 2}},
            r"has completed all 9 steps; to continue, increase training\.epochs",
        ),
    ],
)
def test_settings_that_cannot_change_on_resumption(changes, says, finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=says):
        resume_run(finished, changes)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_the_learning_rate_can_change_on_resumption(tmp_path):
    start_run(config(), tmp_path / "run", **stop_after(4))
    resume_run(tmp_path / "run", {"optimizer": {"lr": 0.125}})
    assert open_run(tmp_path / "run").steps["lr"].tolist() == [1.0] * 4 + [0.125] * 5


def test_changed_data_are_rejected(tmp_path):
    save_table(tmp_path / "own.npz")
    own = {"data": str(tmp_path / "own.npz"), "subset": None, "batch_size": 16}
    start_run(config(**own), tmp_path / "run", **stop_after(4))
    save_table(tmp_path / "own.npz", seed=1)
    for use in (lambda: resume_run(tmp_path / "run", {}), lambda: evaluate_run(tmp_path / "run", {})):
        with pytest.raises(
            RunError, match=r"own\.npz: the data differ from the data of the run \(SHA-256 \w{12}\.\.\."
        ):
            use()
    save_table(tmp_path / "own.npz")
    with pytest.raises(RunError, match=r"^digits: the data differ from the data of the run \(own\.npz\)$"):
        resume_run(tmp_path / "run", {"data": {"name": "digits"}})
    assert resume_run(tmp_path / "run", {}).status == "finished"


def test_a_run_without_checkpoints_starts_again_and_says_so(tmp_path):
    start_run(config(), tmp_path / "run", **stop_after(5))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (note,) = notes_of_resumption(tmp_path / "run", {})
    assert note == f"{tmp_path / 'run'}: has no checkpoint; training starts again at step 1"
    assert open_run(tmp_path / "run").status == "finished"


def test_a_damaged_checkpoint_is_skipped(tmp_path):
    start_run(config(), tmp_path / "whole")
    start_run(config(), tmp_path / "run", **stop_after(5))
    newest, before = (tmp_path / "run" / "checkpoints" / f"step_{step:08d}.h5" for step in (5, 4))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    notes = []
    resume_run(tmp_path / "run", {}, note=notes.append)
    assert len(notes) == 1
    assert "skipped a checkpoint" in notes[0]
    assert str(newest) in notes[0]
    assert repeats(tmp_path / "run") == repeats(tmp_path / "whole")
    start_run(config(), tmp_path / "none", **stop_after(1))
    for path in (tmp_path / "none" / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunError, match="has no usable checkpoint") as caught:
        resume_run(tmp_path / "none", {})
    assert "\n" not in str(caught.value)
    assert before.name == "step_00000004.h5"


def test_the_tail_average_of_an_extended_run_restarts(tmp_path):
    """If the tail now starts after the first averaged step, the steps taken so far leave the average."""
    tail = settings(OPTIMIZERS["tail"] | {"tail_start": 0.5, "steps": 6})
    start_run(build_config(tail), tmp_path / "run")
    resume_run(tmp_path / "run", nested("training.steps", 16))
    steps = [latest_checkpoint(tmp_path / "run")[0].arrays["average/steps"]]
    resume_run(tmp_path / "run", nested("training.steps", 18))  # the tail starts at step 10 instead of 9
    steps.append(latest_checkpoint(tmp_path / "run")[0].arrays["average/steps"])
    assert steps == [8, 2]


def test_a_run_that_is_older_than_a_setting(tmp_path):
    """The missing setting takes its default, which is how the run was trained."""
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


def test_resuming_from_an_earlier_checkpoint_drops_later_records(tmp_path):
    """After resuming with another learning rate and fewer steps, no record of the first attempt remains."""
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


def notes_of_resumption(folder, changes):
    notes = []
    resume_run(folder, changes, note=notes.append)
    return notes


def test_a_learning_rate_that_jumps_on_resumption_is_said(tmp_path):
    """A longer cosine schedule raises the rate; the note names the options that keep it."""
    cosine = config(optimizer="adam", lr=0.01, schedule="cosine")
    for name in ("longer", "kept", "stopped"):
        start_run(cosine, tmp_path / name, **(stop_after(4) if name == "stopped" else {}))
    (note,) = notes_of_resumption(tmp_path / "longer", {"training": {"steps": 18}})
    before, after = open_run(tmp_path / "longer").steps["lr"][8:10]
    assert after == pytest.approx(0.005)  # half of the cosine over 18 steps
    assert note == (
        f"lr goes from {before:.3g} to 0.005: the cosine schedule now ends at step 18 instead of 9; "
        f"--schedule constant --lr {before:.3g} keeps it"
    )
    kept = {"training": {"steps": 18, "schedule": "constant"}, "optimizer": {"lr": float(f"{before:.3g}")}}
    resume_run(tmp_path / "kept", kept)
    assert open_run(tmp_path / "kept").steps["lr"][9:] == pytest.approx([before] * 9, rel=0.01)
    assert notes_of_resumption(tmp_path / "stopped", {}) == []


def test_two_learning_rates_that_jump_are_said_as_a_factor(tmp_path):
    switch = config(optimizer="switch", switch_at=3, schedule="cosine", damping=0.1)
    start_run(switch, tmp_path / "run")
    (note,) = notes_of_resumption(tmp_path / "run", {"training": {"steps": 18}})
    assert note.startswith("the factor of the learning rates goes from 0.0302 to 0.5: the cosine schedule")


def test_an_average_that_starts_again_on_resumption_is_said(tmp_path):
    start_run(config(optimizer="adam", average="tail", tail_start=0.5), tmp_path / "run")
    notes = notes_of_resumption(tmp_path / "run", {"training": {"steps": 40}})
    assert notes == ["the average of the weights starts again at step 21, since it begins later now"]


def test_an_average_that_began_before_the_tail_of_the_longer_run_starts_again(tmp_path, monkeypatch):
    """The tail of 9 steps begins after step 4, that of 16 steps after step 8; the average restarts at 10."""
    tail, longer = config(optimizer="adam", average="tail", tail_start=0.5), {"training": {"steps": 16}}
    for name in ("whole", "killed"):
        start_run(tail, tmp_path / name)
    expected = ["the average of the weights starts again at step 10, since it begins later now"]
    assert notes_of_resumption(tmp_path / "whole", longer) == expected
    assert latest_checkpoint(tmp_path / "whole")[0].arrays["average/steps"] == 7
    with monkeypatch.context() as patch:  # killed in step 10, before a checkpoint of the longer run
        patch.setattr("revgn.store.writer.RunWriter.__exit__", lambda writer, *_: writer._release())
        with pytest.raises(Killed):
            resume_run(tmp_path / "killed", longer, observe=kill_at(1))
    resume_run(tmp_path / "killed", {}, **stop_after(12))
    assert notes_of_resumption(tmp_path / "killed", {}) == []
    assert repeats(tmp_path / "killed") == repeats(tmp_path / "whole")


def test_a_run_that_another_process_continues_meanwhile_is_not_rewound(tmp_path, monkeypatch):
    """It is continued to its end after this process has chosen a checkpoint, before it locks the run."""
    folder = tmp_path / "run"
    start_run(config(), folder, **stop_after(4))
    latest = sys.modules["revgn.launch.resume"]._latest_state

    def continued_meanwhile(*arguments):
        state = latest(*arguments)
        monkeypatch.undo()
        resume_run(folder, {})
        return state

    monkeypatch.setattr("revgn.launch.resume._latest_state", continued_meanwhile)
    with pytest.raises(RunHeldError, match="another process has continued this run meanwhile"):
        resume_run(folder, {})
    run = open_run(folder)
    assert (run.status, run.steps["step"][-1], run.checkpoints[-1]) == ("finished", 9, 9)
    assert not is_locked(folder / "metrics.jsonl")


def test_changes_of_machine_and_versions_are_recorded_and_said(tmp_path, monkeypatch):
    start_run(config(optimizer="adam"), tmp_path / "run", **stop_after(4))
    begun = open_run(tmp_path / "run").attributes

    def elsewhere(cuda):
        return {"python": "4.0.0", "numpy": begun["version.numpy"]}

    monkeypatch.setattr("revgn.launch.provenance._versions", elsewhere)
    monkeypatch.setattr("revgn.launch.provenance._device", lambda *_: "another CPU")
    python = f"python {begun['version.python']} -> 4.0.0"
    changes = f"device {begun['device']} -> another CPU, {python}"
    notes = []
    resume_run(tmp_path / "run", {}, command="revgn resume run", note=notes.append)
    assert notes == [f"{changes}: results may differ from an uninterrupted run in the last bits"]
    first, second = open_run(tmp_path / "run").attributes["history"].splitlines()
    assert second.endswith(f" revgn resume run ({changes})")
    assert summarize(open_run(tmp_path / "run"))["history"] == [first, second]


def test_a_network_with_other_frozen_arrays_is_said(tmp_path):
    """A run of a user-defined network continues with the arrays that it stored."""
    small = build_config({"data": {"subset": 100}, "training": {"batch_size": 50, "steps": 2}})
    data = load_data(small)

    def problem(seed, steps):
        rng = np.random.default_rng(seed)
        network = draw_network(Architecture(blocks=1, hidden=16), 64, 10, rng, dtype=np.float32)
        longer = replace(small, training=replace(small.training, steps=steps))
        return build_problem(longer, data, network=network)

    start_run(problem(0, 2), tmp_path / "run")
    notes = []
    resume_run(tmp_path / "run", problem(0, 3), note=notes.append)
    assert notes == []
    resume_run(tmp_path / "run", problem(77, 4), note=notes.append)
    assert notes == ["the given network has other frozen arrays than the run, which continues with its own"]
    frozen = frozen_arrays(problem(0, 4).network)
    np.testing.assert_equal(dict(load_network(tmp_path / "run").frozen), frozen)
