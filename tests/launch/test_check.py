"""Integrity checks of runs, and repair."""

from dataclasses import dataclass, fields

import h5py
import numpy as np
import pytest
from stand_in import cupy_stand_in

from revgn.errors import RunError, RunHeldError
from revgn.launch import analyse_run, check_run, resume_run, start_run
from revgn.losses import CrossEntropy
from revgn.settings import build_config, merge_settings, parse_toml
from revgn.store import load_checkpoint, open_run
from revgn.store.names import checkpoint_paths
from revgn.store.writer import RunWriter
from revgn.training import DivergedError, build_problem, load_data

SETTINGS = {
    "data": {"subset": 200},
    "network": {"hidden": 16, "blocks": 1},
    "optimizer": {"kind": "adam"},
    "training": {"batch_size": 50, "steps": 8, "eval_every": 4, "checkpoint_every": 4},
}


@pytest.fixture
def folder(tmp_path):
    start_run(build_config(SETTINGS), tmp_path / "run")
    return tmp_path / "run"


def outcomes(folder, **options):
    return {finding.what: finding.outcome for finding in check_run(folder, **options)}


def test_an_undamaged_run(folder):
    found = {finding.what: finding for finding in check_run(folder)}
    assert {finding.outcome for finding in found.values()} == {"ok"}
    assert list(found) == [
        "run.h5",
        "metrics.jsonl",
        "series",
        "config.toml",
        "network.h5",
        "data",
        *(f"checkpoints/step_{step:08d}.h5" for step in open_run(folder).checkpoints),
        "weights",
    ]
    assert found["weights"].detail == "step 8: recomputed losses agree with the record exactly"
    assert found["network.h5"].detail == "equal to the arrays drawn from the seed"


def test_a_run_from_a_gpu_is_checked_without_one(tmp_path):
    on_gpu = merge_settings({"training": {"backend": "cupy"}}, SETTINGS)
    with cupy_stand_in():
        start_run(build_config(on_gpu), tmp_path / "run")
    found = {finding.what: finding for finding in check_run(tmp_path / "run")}
    assert {finding.outcome for finding in found.values()} == {"ok"}
    assert found["weights"].detail.endswith(", with numpy")


def test_frozen_arrays_that_the_seed_does_not_give_are_said(folder, monkeypatch):
    """Such a run is used with its own arrays, but its initialization cannot be drawn again."""
    path = folder / "network.h5"
    with h5py.File(path, "r+") as file:
        file["frozen/readout/first"][...] *= -1 - 1e-7  # another LAPACK
    (found,) = (finding for finding in check_run(folder) if finding.what == "network.h5")
    assert found.detail.startswith("equal to the arrays drawn from the seed, up to a relative difference of ")
    assert analyse_run(open_run(folder), rows=4)
    monkeypatch.setattr("revgn.training.problem._NETWORK", 77)  # other random numbers
    (found,) = (finding for finding in check_run(folder) if finding.what == "network.h5")
    assert (found.outcome, found.detail) == (
        "ok",
        "differs from the arrays drawn from the seed in this version; the stored arrays are used",
    )
    with pytest.raises(RunError, match="its initial weights cannot be drawn again: the random numbers here"):
        analyse_run(open_run(folder), rows=4)
    path.write_bytes(path.read_bytes()[:300])
    assert outcomes(folder)["network.h5"] == "damaged"


def edit_series(folder):
    with h5py.File(folder / "run.h5", "r+") as file:
        file["steps/loss"][3] += 1e-9


def edit_score(folder):
    with h5py.File(folder / "run.h5", "r+") as file:
        file["epochs/test_loss"][-1] *= 1.001


def flip_checkpoint(folder):
    path = sorted((folder / "checkpoints").iterdir())[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_journal(folder):
    path = folder / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def spoil_journal(folder):
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"kind"', b'"sort"', 1))


def edit_config(folder):
    path = folder / "config.toml"
    path.write_text(path.read_text().replace("hidden = 16", "hidden = 17"))


def other_data(folder):
    with h5py.File(folder / "run.h5", "r+") as file:
        file.attrs["data_sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (edit_series, {"series"}),
        (edit_score, {"series", "weights"}),
        (flip_checkpoint, {"checkpoints/step_00000008.h5"}),
        (cut_journal, {"series"}),
        (spoil_journal, {"metrics.jsonl", "series"}),
        (edit_config, {"config.toml"}),
        (other_data, {"data", "weights"}),
        (lambda folder: (folder / "config.toml").write_bytes(b"\xff[["), {"config.toml"}),
        (lambda folder: (folder / "config.toml").write_text("training.seed = 2020-01-01"), {"config.toml"}),
    ],
)
def test_damage_is_located(folder, damage, what):
    damage(folder)
    assert {name for name, outcome in outcomes(folder).items() if outcome == "damaged"} == what


def test_a_setting_without_a_value_is_no_damage(tmp_path):
    """The default of diverged_above is a number, so that the file must say "none"."""
    training = SETTINGS["training"] | {"diverged_above": None}
    start_run(build_config(SETTINGS | {"training": training}), tmp_path / "run")
    settings = parse_toml((tmp_path / "run" / "config.toml").read_text(), "config.toml")
    assert build_config(settings).training.diverged_above is None
    assert outcomes(tmp_path / "run")["config.toml"] == "ok"


def test_checks_that_cannot_be_made_are_skipped(folder):
    (folder / "metrics.jsonl").unlink()
    (folder / "config.toml").unlink()
    found = outcomes(folder)
    assert {name for name, outcome in found.items() if outcome == "skipped"} == {
        "metrics.jsonl",
        "series",
        "config.toml",
    }
    assert "damaged" not in found.values()
    with pytest.raises(RunError, match="is not a run"):
        check_run(folder.parent)


def test_checkpoints_are_checked_also_if_the_snapshot_is_damaged(folder):
    content = (folder / "run.h5").read_bytes()
    (folder / "run.h5").write_bytes(content[: len(content) // 2])
    found = outcomes(folder)
    assert found["run.h5"] == "damaged"
    assert found["checkpoints/step_00000008.h5"] == "ok"


def test_repair_writes_the_journal_into_run_h5(folder, tmp_path, monkeypatch):
    """The last steps of a killed run are only in the journal, whose last line may be incomplete."""
    monkeypatch.setattr(RunWriter, "snapshot_if_due", lambda self: None)
    monkeypatch.setattr(RunWriter, "close", lambda self, *_: self._release())
    start_run(build_config(SETTINGS | {"training": SETTINGS["training"] | {"steps": 10}}), tmp_path / "dead")
    monkeypatch.undo()
    dead = tmp_path / "dead"
    whole = (dead / "metrics.jsonl").read_bytes()
    (dead / "metrics.jsonl").write_bytes(whole + b'{"kind": "st')
    before = open_run(dead)
    assert before.steps["step"].size == 10
    with h5py.File(dead / "run.h5") as file:
        behind = file["steps/step"].size
    found = {finding.what: finding for finding in check_run(dead)}
    assert "an incomplete one of 12 bytes at the end" in found["metrics.jsonl"].detail
    assert set(outcomes(dead, repair=True).values()) == {"ok"}
    after = open_run(dead)
    with h5py.File(dead / "run.h5") as file:
        assert file["steps/step"].size == 10 >= behind
        assert file.attrs["config.optimizer.kind"] == "adam"
    assert (after.status, after.attributes["message"]) == ("interrupted", "repaired after its process died")
    assert (dead / "metrics.jsonl").read_bytes() == whole
    for name, values in before.steps.items():
        np.testing.assert_array_equal(values, after.steps[name])
    outcomes(dead, repair=True)
    assert open_run(dead).status == "interrupted"


def flip_run(folder):
    path = folder / "run.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_run,
        lambda folder: (folder / "run.h5").write_bytes((folder / "run.h5").read_bytes()[:1000]),
        lambda folder: (folder / "run.h5").unlink(),
    ],
)
def test_repair_makes_run_h5_again(folder, damage):
    """All series are in the journal, and the run can be continued as if run.h5 had never been damaged."""
    whole = open_run(folder)
    series = {**whole.steps, **whole.epochs}
    damage(folder)
    with pytest.raises(RunError) as caught:
        open_run(folder)
    assert str(caught.value).endswith(f"; revgn check --repair {folder} makes it again from the journal")
    assert str(caught.value).count("damaged") <= 1
    was_there = (folder / "run.h5").exists()
    assert set(outcomes(folder, repair=True).values()) == {"ok"}
    again = open_run(folder)
    assert (again.status, again.config) == ("interrupted", whole.config)
    for name, values in {**again.steps, **again.epochs}.items():
        np.testing.assert_array_equal(values, series.pop(name))
    assert not series
    assert (folder / "run.damaged.h5").exists() == was_there
    assert resume_run(folder, {"training": {"steps": 10}}).step == 10


def test_a_run_of_a_later_version_is_not_made_again(folder):
    with h5py.File(folder / "run.h5", "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(RunError, match=r"requires a newer revgn; this version reads formats up to \d+$"):
        check_run(folder, repair=True)
    assert not (folder / "run.damaged.h5").exists()


def test_a_run_that_is_being_written_cannot_be_repaired(folder):
    def repair(problem, event):
        with pytest.raises(RunHeldError, match="another process is writing this run: process"):
            check_run(folder.parent / "other", repair=True)

    start_run(build_config(SETTINGS), folder.parent / "other", observe=repair)


def test_a_failed_run_stays_failed(tmp_path):
    settings = SETTINGS | {"optimizer": {"kind": "sgd", "lr": 1e30}}
    with pytest.raises(DivergedError):
        start_run(build_config(settings), tmp_path / "run")
    outcomes(tmp_path / "run", repair=True)
    assert open_run(tmp_path / "run").status == "diverged"


@dataclass(frozen=True)
class OwnLoss(CrossEntropy):
    """The loss of a user."""


def own_network(network):
    """Return a network whose class is a user's own."""
    own = type("OwnNetwork", (type(network),), {})
    return own(*(getattr(network, field.name) for field in fields(network)))


@pytest.mark.parametrize("part", ["network", "loss"])
def test_what_needs_parts_of_the_user_is_skipped(part, tmp_path):
    """The settings of such a run describe these parts, but cannot build them."""
    config = build_config(SETTINGS)
    data = load_data(config)
    own = {"loss": OwnLoss()}
    if part == "network":
        own = {"network": own_network(build_problem(config, data).network)}
    start_run(build_problem(config, data, **own), tmp_path / "run")
    found = {finding.what: finding for finding in check_run(tmp_path / "run")}
    assert "damaged" not in {finding.outcome for finding in found.values()}
    for what in ("network.h5", "data", "weights"):
        assert (found[what].outcome, found[what].detail) == ("skipped", f"the {part} is user-defined")


def test_a_checkpoint_that_is_replaced_meanwhile_is_skipped(folder, monkeypatch):
    """As by a run that is being written, which keeps few checkpoints."""
    (gone, *_) = checkpoint_paths(folder)

    def pruned(path):
        gone.unlink(missing_ok=True)
        return load_checkpoint(path)

    monkeypatch.setattr("revgn.launch.check.load_checkpoint", pruned)
    assert outcomes(folder)[f"checkpoints/{gone.name}"] == "skipped"
