"""Starting runs: the run folder from its creation to success, divergence or failure."""

import re
import weakref

import numpy as np
import pytest
from launch_cases import config, settings, stop_after
from repeats import repeats

from revgn.data import load_dataset
from revgn.errors import MemoryShortageError, RunError, UsageError
from revgn.launch import resume_run, start_run
from revgn.settings import build_config, nested
from revgn.solvers import minimum_norm, tiled_kernel
from revgn.store import latest_checkpoint, open_run
from revgn.store.journal import is_locked
from revgn.training import DivergedError, Evaluated, build_problem, load_data


def test_the_outcome_and_the_events(tmp_path):
    seen = []

    def observe(problem, event):
        run = open_run(tmp_path / "run")  # events are in the journal before the observer is called
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


def test_divergence_keeps_records_and_the_last_good_checkpoint(tmp_path):
    wild = config(optimizer="sgd", lr=1e30, eval_every=100)
    with pytest.raises(DivergedError, match="step 2: the loss is nan"):
        start_run(wild, tmp_path / "step")
    run = open_run(tmp_path / "step")
    assert run.status == "diverged"
    assert run.attributes["message"].startswith("step 2: the loss is nan")
    assert run.steps["step"].tolist() == [1, 2]
    assert latest_checkpoint(tmp_path / "step")[0].step == 0
    with pytest.raises(DivergedError, match="step 1: the training loss is"):
        start_run(config(lr=1e30, steps=1), tmp_path / "evaluation")
    assert open_run(tmp_path / "evaluation").status == "diverged"
    assert latest_checkpoint(tmp_path / "evaluation")[0].step == 0
    resume_run(tmp_path / "step", {"optimizer": {"lr": 0.1}})
    again = open_run(tmp_path / "step")
    assert (again.status, again.attributes["message"]) == ("finished", "")
    assert np.isfinite(again.steps["loss"]).all()


def test_a_run_whose_loss_stays_high_keeps_a_checkpoint_from_before(tmp_path):
    """It ends after ten steps above the limit; its records stay, and with another lr it can be resumed."""
    wild = config(optimizer="adam", lr=30.0, steps=40, eval_every=1, checkpoint_every=1)
    with pytest.raises(
        DivergedError, match=r"for 10 steps it has been above .*, 1000 times its initial value"
    ):
        start_run(wild, tmp_path / "run")
    run = open_run(tmp_path / "run")
    last = int(run.steps["step"][-1])
    assert (run.status, run.attributes["message"][:5]) == ("diverged", f"step {last}"[:5])
    limit = 1000 * run.epochs["train_loss"][0]
    assert (run.steps["loss"][-10:] > limit).all()
    assert last < 40
    before = latest_checkpoint(tmp_path / "run")[0].step
    assert run.epochs["train_loss"][run.epochs["step"] == before] < limit
    resumed = resume_run(tmp_path / "run", {"optimizer": {"lr": 1e-3}, "training": {"steps": last + 3}})
    assert (resumed.status, open_run(tmp_path / "run").status) == ("finished", "finished")


def test_a_run_that_is_killed_while_it_diverges_ends_at_the_same_step(tmp_path):
    """The number of steps above the limit is part of the state."""
    wild = config(optimizer="adam", lr=30.0, steps=40, eval_every=100)
    with pytest.raises(DivergedError):
        start_run(wild, tmp_path / "whole")
    last = int(open_run(tmp_path / "whole").steps["step"][-1])
    start_run(wild, tmp_path / "stopped", **stop_after(last - 4))
    with pytest.raises(DivergedError):
        resume_run(tmp_path / "stopped", {})
    losses, again = (open_run(tmp_path / name).steps["loss"].tolist() for name in ("whole", "stopped"))
    assert again == losses


def test_a_state_with_an_infinite_loss_is_not_saved(tmp_path):
    """With a huge learning rate, Adam keeps finite weights for one step, but its state is not saved."""
    folder = tmp_path / "run"
    absurd = config(optimizer="adam", lr=1e30, checkpoint_every=1)
    with pytest.raises(DivergedError, match="step 2"):
        start_run(absurd, folder)
    assert latest_checkpoint(folder)[0].step == 0
    assert resume_run(folder, nested("optimizer.lr", 1e-3)).status == "finished"


def test_invalid_settings_leave_no_folder(tmp_path):
    wrong = config(solver="block", block_weights=(0.5, 0.25, 0.25))
    with pytest.raises(UsageError):
        start_run(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten(finished):
    before = (finished / "run.h5").read_bytes()
    with pytest.raises(RunError, match="is not empty, and runs are never overwritten; choose another folder"):
        start_run(config(), finished)
    assert (finished / "run.h5").read_bytes() == before


def test_a_folder_of_a_run_killed_at_its_start_can_be_reused(tmp_path):
    """Before the first record, the folder contains no results."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").touch()
    (folder / "config.toml").touch()
    assert start_run(config(), folder).status == "finished"
    with pytest.raises(RunError, match="never overwritten"):
        start_run(config(), folder)


@pytest.mark.parametrize("kind", ["config", "problem"])
def test_a_kernel_that_exceeds_the_memory_is_factored_in_tiles(kind, tmp_path, monkeypatch):
    """The run continues from its checkpoint as if resumed with a memory bound, also if it is killed again."""
    config = build_config(settings({"damping": 0.1, "seed": 3}))
    bound = 2 * 640**2  # half of the kernel's bytes

    def until_step(step, monkeypatch):
        """Simulate a lack of memory for a whole kernel at the given step."""
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
    told = f"kernel of order 640 as a whole, which takes {2 * bound:,} bytes; use memory={bound} "
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
    resume_run(killed, {})  # in tiles, although the whole kernel would fit now
    assert repeats(killed) == repeats(expected)


def test_a_lack_of_memory_for_tiles_ends_the_run(tmp_path, monkeypatch):
    def failing(*_):
        raise MemoryError

    monkeypatch.setattr(minimum_norm, "lower_kernel", failing)
    monkeypatch.setattr(tiled_kernel, "cholesky_tiled", failing)
    with pytest.raises(MemoryShortageError, match="even by tiles"):
        start_run(build_config(settings({"damping": 0.1})), tmp_path / "run")
    assert open_run(tmp_path / "run").status == "failed"


@pytest.mark.parametrize(("bound", "count"), [(0, 1), (1e13, 0)])
def test_time_and_memory_of_a_long_run_are_estimated_before_it_starts(bound, count, tmp_path, monkeypatch):
    monkeypatch.setattr("revgn.launch.start._LONG", bound)
    said, folder = [], tmp_path / "run"

    def announce(text):
        said.append((text, open_run(folder).steps["step"].size))

    start_run(config(), folder, announce=announce)
    assert len(said) == count
    for text, steps in said:
        assert steps == 0
        assert re.fullmatch(
            r"at least 0 minutes for \d+ steps of \S+ s, and \S+ GB of memory; --dry-run .*", text
        )


def test_too_little_memory_is_noted_before_the_network_is_drawn(tmp_path, monkeypatch):
    def full(*arguments, shapes_only=False):
        if not shapes_only:
            raise MemoryError
        return build_problem(*arguments, shapes_only=True)

    monkeypatch.setattr("revgn.training.build_problem", full)
    monkeypatch.setattr("revgn.training.estimate.memory_size", lambda backend: 1000)
    notes = []
    with pytest.raises(MemoryError):
        start_run(config(), tmp_path / "run", note=notes.append)
    assert any("but this machine has 1e-06 GB; use fewer --blocks" in text for text in notes)


def test_an_error_before_the_first_step_ends_the_run(tmp_path, monkeypatch):
    """The run is not left locked, and it can be resumed."""

    def no_state(problem):
        raise ValueError("no state")

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("revgn.launch.start.initial_state", no_state)
        with pytest.raises(ValueError, match="no state"):
            start_run(config(), folder)
    run = open_run(folder)
    assert (run.status, run.attributes["message"]) == ("failed", "no state")
    assert not is_locked(folder / "metrics.jsonl")
    assert resume_run(folder, {}).status == "finished"
