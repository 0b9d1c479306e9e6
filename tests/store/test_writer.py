import json
import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revgn.errors import RunError, RunHeldError, UsageError
from revgn.store import EPOCH_SERIES, STEP_SERIES, Provenance, create_run, open_run, reopen_run
from revgn.store.writer import Journal, RunWriter, repair_run

STEP_NAMES = [series.name for series in STEP_SERIES]
EMPTY = Provenance("", "", {}, "", 0, "numpy", "", "float64", "", "", {}, "")


def snapshot_steps(folder):
    with h5py.File(folder / "run.h5", "r") as file:
        return file["steps/step"][...].tolist()


def test_round_trip(tmp_path, provenance):
    folder = tmp_path / "runs" / "first"
    with create_run(folder, provenance) as writer:
        for step in range(1, 6):
            writer.record_step({"step": step, "loss": 1 / step, "rho": None, "lr": float("nan")})
        writer.record_epoch({"epoch": 0.5, "step": 3, "test_accuracy": 0.25})
        assert open_run(folder).status == "running"
    run = open_run(folder)
    assert run.status == run.attributes["status"] == "finished"
    assert run.config == provenance.config
    assert list(run.steps) == ["step", "loss"]
    np.testing.assert_array_equal(run.steps["loss"], 1 / np.arange(1, 6))
    assert {name: column.tolist() for name, column in run.epochs.items()} == {
        "epoch": [0.5],
        "step": [3.0],
        "test_accuracy": [0.25],
    }
    assert (folder / "config.toml").read_text() == provenance.config_toml
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[1]) == {
        "kind": "step",
        "step": 2,
        "loss": 0.5,
    }
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.toml",
        "metrics.jsonl",
        "run.h5",
        "writer.json",
    ]


records = st.dictionaries(st.sampled_from(STEP_NAMES), st.floats() | st.none(), max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.lists(records, max_size=8))
def test_round_trip_of_any_number(rows):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with create_run(folder, EMPTY) as writer:
            for step, row in enumerate(rows):
                writer.record_step({**row, "step": step})
        steps = open_run(folder).steps
        (folder / "metrics.jsonl").unlink()
        snapshot = open_run(folder).steps
    nan = float("nan")
    missing = np.full(len(rows), nan)
    for series in STEP_NAMES:
        expected = np.array([nan if row.get(series) is None else row[series] for row in rows])
        for found in (steps, snapshot):
            np.testing.assert_array_equal(found.get(series, missing), expected)
            np.testing.assert_array_equal(
                np.signbit(found.get(series, missing))[~np.isnan(expected)],
                np.signbit(expected)[~np.isnan(expected)],
            )
        assert (series in steps) == bool(np.any(~np.isnan(expected)))


def test_invalid_records_raise(tmp_path, provenance):
    with create_run(tmp_path / "run", provenance) as writer:
        with pytest.raises(UsageError, match=r"cannot contain los; expected names are .*loss"):
            writer.record_step({"step": 1, "los": 1.0})
        with pytest.raises(UsageError, match="requires a number for step"):
            writer.record_step({"loss": 1.0})
        with pytest.raises(UsageError, match="requires a number for epoch"):
            writer.record_epoch({"epoch": float("nan"), "test_loss": 1.0})
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == b""
    with pytest.raises(RunError, match="is closed"):
        writer.record_step({"step": 1})


def test_an_existing_run_is_never_overwritten(tmp_path, provenance):
    create_run(tmp_path / "run", provenance).close("finished")
    before = (tmp_path / "run" / "run.h5").read_bytes()
    with pytest.raises(RunError, match="never overwritten"):
        create_run(tmp_path / "run", provenance)
    assert (tmp_path / "run" / "run.h5").read_bytes() == before


def test_a_second_writer_of_a_run_is_rejected(tmp_path, provenance):
    with (
        create_run(tmp_path / "run", provenance),
        pytest.raises(RunError, match=f"another process is writing this run: process {os.getpid()} on "),
    ):
        reopen_run(tmp_path / "run", replace(provenance, command="revgn resume run"))
    reopen_run(tmp_path / "run", replace(provenance, command="revgn resume run")).close("finished")


def before_locking(monkeypatch, act):
    """Call `act` in place of another process, just before a writer locks its run."""

    def journal(path):
        monkeypatch.undo()
        act()
        return Journal(path)

    monkeypatch.setattr("revgn.store.writer.Journal", journal)


def test_a_run_that_another_process_creates_meanwhile_is_kept(tmp_path, provenance, monkeypatch):
    folder = tmp_path / "run"
    before_locking(monkeypatch, lambda: create_run(folder, provenance).close("finished"))
    with pytest.raises(RunHeldError, match="another process has created a run here meanwhile"):
        create_run(folder, replace(provenance, title="mine"))
    assert (open_run(folder).status, open_run(folder).attributes["title"]) == ("finished", provenance.title)
    reopen_run(folder, provenance).close("finished")  # the lock is free


def test_a_run_that_finishes_before_its_repair_stays_finished(tmp_path, provenance, monkeypatch):
    writer = create_run(tmp_path / "run", provenance)
    before_locking(monkeypatch, lambda: writer.close("finished"))
    repair_run(tmp_path / "run", lambda config: provenance.config_toml)
    assert (open_run(tmp_path / "run").status, open_run(tmp_path / "run").attributes["message"]) == (
        "finished",
        "",
    )


def test_the_status_depends_on_how_the_block_ends(tmp_path, provenance):
    def leave(name, error):
        with create_run(tmp_path / name, provenance):
            raise error

    with pytest.raises(KeyboardInterrupt):
        leave("a", KeyboardInterrupt())
    with pytest.raises(ValueError, match="wrong"):
        leave("b", ValueError("wrong \0 number \ud800"))
    assert open_run(tmp_path / "a").status == "interrupted"
    failed = open_run(tmp_path / "b").attributes
    assert (failed["status"], failed["message"]) == ("failed", "wrong  number ?")
    assert failed["end"] >= failed["start"]


def test_a_signal_is_delayed_while_a_run_is_closed(tmp_path, provenance, monkeypatch):
    """Regression test: a signal during the last snapshot left a run with the status "running"."""
    snapshot = RunWriter.snapshot

    def interrupted(writer):
        signal.raise_signal(signal.SIGINT)
        snapshot(writer)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        writer = create_run(tmp_path / "run", provenance)
        monkeypatch.setattr(RunWriter, "snapshot", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.close("interrupted")
    finally:
        signal.signal(signal.SIGINT, before)
    assert open_run(tmp_path / "run").status == "interrupted"


def test_resuming_replaces_records_of_repeated_steps(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        for step in range(1, 7):
            writer.record_step({"step": step, "loss": 1.0, "rho": 0.0})
        writer.record_epoch({"epoch": 1.5, "train_loss": 1.0})
        writer.close("interrupted")
    settings = {"optimizer": {"lr": 0.25}}
    with reopen_run(
        folder, replace(provenance, command="revgn resume", config=settings, config_toml="lr = 0.25\n")
    ) as writer:
        assert open_run(folder).status == "running"
        assert open_run(folder).attributes["end"] == ""
        for step in range(4, 6):
            writer.record_step({"step": step, "loss": 2.0})
        writer.record_epoch({"epoch": 1.25, "train_loss": 2.0})
        writer.snapshot()
        run = open_run(folder)
        (folder / "metrics.jsonl").rename(folder / "away")
        from_snapshot = open_run(folder)
        (folder / "away").rename(folder / "metrics.jsonl")
    for found in (run, from_snapshot):
        assert found.steps["loss"].tolist() == [1, 1, 1, 2, 2, 1]
        assert np.isnan(found.steps["rho"]).tolist() == [False, False, False, True, True, False]
        assert found.epochs["epoch"].tolist() == [1.25, 1.5]
    assert run.config == settings
    with h5py.File(folder / "run.h5", "r") as file:
        assert file.attrs["config.optimizer.lr"] == 0.25
        assert "config.network.blocks" not in file.attrs
    assert run.attributes["history"].count("\n") == 1
    assert run.attributes["history"].endswith("revgn resume")
    assert (folder / "config.toml").read_text() == "lr = 0.25\n"


@pytest.mark.parametrize(
    "torn", [b'{"kind": "step", "st', b'{"kind": "step", "step": 9}', b"\0" * 40, b"\xff\n"]
)
def test_an_incomplete_last_line_is_ignored_and_removed(tmp_path, provenance, torn):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        writer.record_step({"step": 1, "loss": 1.0})
        writer.record_step({"step": 2, "loss": 0.5})
    whole = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(whole + torn)
    assert open_run(folder).steps["step"].tolist() == [1, 2]
    with reopen_run(folder, replace(provenance, command="revgn resume")) as writer:
        assert (folder / "metrics.jsonl").read_bytes() == whole
        writer.record_step({"step": 3, "loss": 0.25})
    assert open_run(folder).steps["step"].tolist() == snapshot_steps(folder) == [1, 2, 3]


def test_the_snapshot_replaces_a_lost_journal(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        for step in range(1, 4):
            writer.record_step({"step": step, "loss": 1.0})
    (folder / "metrics.jsonl").write_bytes(b'{"kind": "step", "step": 1, "loss": 3.0}\n')
    with reopen_run(folder, replace(provenance, command="revgn resume")) as writer:
        writer.record_step({"step": 4, "loss": 4.0})
    assert open_run(folder).steps["loss"].tolist() == [1, 1, 1, 4]


def test_snapshots_take_a_small_fraction_of_the_time(tmp_path, provenance, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("revgn.store.writer.time.monotonic", lambda: clock[0])
    taken = []
    with create_run(tmp_path / "run", provenance) as writer:

        def snapshot():
            taken.append(clock[0])
            clock[0] += 0.03
            writer._latest = clock[0]
            writer._cost += 0.03

        monkeypatch.setattr(writer, "snapshot", snapshot)
        while clock[0] < 60:
            writer.snapshot_if_due()
            clock[0] += 0.1
    assert taken[0] == pytest.approx(2, abs=0.11)
    assert np.min(np.diff(taken)) >= 2
    assert 0.03 * len(taken) <= 0.01 * 60 + 0.03


def test_a_failed_write_is_reported_in_one_line_and_loses_no_records(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        writer.record_step({"step": 1, "loss": 1.0})
        (folder / "run.h5").rename(folder / "moved.h5")
        (folder / "run.h5").mkdir()
        with pytest.raises(RunError, match=r"run\.h5: cannot be written: Is a directory") as caught:
            writer.snapshot()
        assert "\n" not in str(caught.value)
        assert not (folder / ".partial").exists()
        (folder / "run.h5").rmdir()
        (folder / "moved.h5").rename(folder / "run.h5")
    assert open_run(folder).steps["step"].tolist() == [1]
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written: Not a directory"):
        create_run(tmp_path / "file" / "run", provenance)


READ_ONLY = """
create_run(folder / "before", provenance).close("finished")  # imports everything that only root can read
if os.geteuid() == 0:
    os.setuid(65534)
writer = create_run(folder / "run", provenance)
writer.record_step({"step": 1, "loss": 1.0})
(folder / "run").chmod(0o500)
for call in (lambda: create_run(folder / "run" / "inner", provenance), lambda: writer.close("finished")):
    try:
        call()
    except RunError as error:
        print(error)
(folder / "run").chmod(0o700)
print(open_run(folder / "run").steps["step"].tolist())
"""


def test_read_only_folder(start_child, tmp_path):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is not accessible to other users
        folder = Path(name)
        folder.chmod(0o777)
        assert start_child(READ_ONLY, folder, tmp_path / "output").wait() == 0
    lines = (tmp_path / "output").read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["Permission denied", "Permission denied", "[1.0]"]


FULL_DISK = """
import resource

writer = create_run(folder, provenance)
saved = {"w": np.arange(100.0)}
for step in range(1, 21):
    writer.record_step({"step": step, "loss": 1 / step})
writer.save_checkpoint(step=20, arrays=saved, scores={"raw": 1.0})
room = {"journal": (folder / "metrics.jsonl").stat().st_size + 100, "snapshot": 4000, "checkpoint": 60_000}
resource.setrlimit(resource.RLIMIT_FSIZE, (room[kind], resource.RLIM_INFINITY))
try:
    with writer:
        if kind == "checkpoint":
            arrays = {"w": np.zeros(100_000)}
            writer.save_checkpoint(step=21, arrays=arrays, scores={"raw": 2.0})
        step = 20
        while True:
            step += 1
            writer.record_step({"step": step, "loss": 1 / step})
            if kind == "snapshot":
                writer.snapshot()
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("kind", "name"), [("journal", "metrics"), ("snapshot", "run.h5"), ("checkpoint", "step_00000021.h5")]
)
def test_full_disk(tmp_path, start_child, provenance, kind, name):
    folder, output = tmp_path / "run", tmp_path / "output"
    assert start_child(f"kind = {kind!r}\n{FULL_DISK}", folder, output).wait() == 0
    assert output.read_text().count("\n") == 1, output.read_text()
    assert name in output.read_text()
    assert "cannot be written: File too large" in output.read_text()
    assert not list(folder.rglob(".partial"))
    assert (folder / "metrics.jsonl").read_bytes().endswith(b"}\n")
    steps = open_run(folder).steps
    assert len(steps["step"]) >= 20
    np.testing.assert_array_equal(steps["loss"], 1 / steps["step"])
    with reopen_run(folder, replace(provenance, command="revgn resume")) as writer:
        writer.record_step({"step": 100, "loss": 0.01})
    assert open_run(folder).steps["step"][-1] == 100
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_00000020.h5"]


def test_every_series_can_be_stored(tmp_path, provenance):
    with create_run(tmp_path / "run", provenance) as writer:
        writer.record_step({"step": 1, **dict.fromkeys(STEP_NAMES, 2.0)})
        writer.record_epoch({"epoch": 1, **{series.name: 3.0 for series in EPOCH_SERIES}})
    run = open_run(tmp_path / "run")
    assert list(run.steps) == ["step", *STEP_NAMES]
    assert list(run.epochs) == ["epoch", *(series.name for series in EPOCH_SERIES)]


def test_series_of_single_couplings(tmp_path, provenance):
    """There is one series per coupling, which may start at any record; other names are rejected."""
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        writer.record_epoch({"epoch": 0, "step": 0, "test_loss": 1.0})
        writer.record_epoch({"epoch": 1, "step": 9, "test_loss": 0.5, "weights_moved_11": 0.1})
        writer.record_epoch({"epoch": 0, "step": 0, "test_loss": 1.0, "weights_norm_3": 2.0})
        for name in ("weights_norm_K", "weights_norm_", "weights_norm_x", "weights_norm", "test_loss_3"):
            with pytest.raises(UsageError, match="weights_norm_K"):
                writer.record_epoch({"epoch": 2, name: 1.0})
    with reopen_run(folder, replace(provenance, command="revgn resume")) as writer:
        writer.record_epoch({"epoch": 2, "step": 18, "weights_norm_3": 4.0})
        of_journal = open_run(folder).epochs
        writer.snapshot()
    for epochs in (of_journal, open_run(folder).epochs):
        np.testing.assert_array_equal(epochs["weights_norm_3"], [2.0, np.nan, 4.0])
        np.testing.assert_array_equal(epochs["weights_moved_11"], [np.nan, 0.1, np.nan])
    with h5py.File(folder / "run.h5") as file:
        stored = file["epochs/weights_norm_3"]
        assert stored.attrs["long_name"] == "norm of the weights of coupling 3, counted from 0"
        assert stored.dims[0][0] == file["epochs/epoch"]
