"""Runs in older formats, written by older releases: they are read, shown, evaluated and resumed.

tests/fixtures/format_N.tar.gz holds runs of six steps on 64 digits: "carry" (minimum norm with momentum
on centered logits), "block" (block step with block weights), "adam" (averaged weights, a validation set), and
in format 2 "agreement" (an optimizer that was removed). Format 3 has "adam" with random crops.
"""

import json
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from revgn.errors import RunError, UsageError
from revgn.launch import check_run, evaluate_run, rebuild, resume_run
from revgn.settings import build_config, config_dict, flat
from revgn.store import FORMAT_VERSION, open_run, open_runs
from revgn.store.names import RENAMED_SERIES
from revgn.views import compare_runs, export_runs, summarize, to_pandas

FIXTURES = Path(__file__).parents[1] / "fixtures"
RUNS = [
    (1, "adam"),
    (1, "block"),
    (1, "carry"),
    (2, "adam"),
    (2, "agreement"),
    (2, "block"),
    (2, "carry"),
    (3, "adam"),
]


def unpack(version, folder):
    with tarfile.open(FIXTURES / f"format_{version}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def outcomes(folder, **options):
    return {finding.what: finding.outcome for finding in check_run(folder, **options)}


@pytest.fixture(params=RUNS, ids=lambda param: f"{param[1]}-{param[0]}")
def old(request, tmp_path):
    """Return the folder of an old run, for each of these runs."""
    version, name = request.param
    return unpack(version, tmp_path) / name


@pytest.fixture(params=[1, 2, 3])
def adam(request, tmp_path):
    """Return the version and the folder of an old run that can be resumed."""
    return request.param, unpack(request.param, tmp_path) / "adam"


def test_series_and_settings_have_their_present_names(old):
    run = open_run(old)
    assert run.attributes["format_version"] == FORMAT_VERSION
    assert not RENAMED_SERIES.keys() & (run.steps.keys() | run.epochs.keys())
    with h5py.File(old / "run.h5") as file:
        for name in ("steps", "epochs"):
            present = {
                RENAMED_SERIES.get(series, series): data[...]
                for series, data in file[name].items()
                if not np.isnan(data[...]).all()  # in format 3 every series exists
            }
            found = run.steps if name == "steps" else run.epochs
            assert found.keys() == present.keys()
            for series, values in found.items():
                np.testing.assert_array_equal(values, present[series])
    assert summarize(run)["step"] == 6
    attributes = to_pandas(run).attrs
    assert not {"true", "false"} & set(map(str, attributes.values()))
    assert attributes["config_json"] == json.dumps(run.config)


MIGRATED = {
    "carry": {
        "optimizer.kind": "gauss-newton",
        "optimizer.momentum": 0.9,
        "optimizer.momentum_limit": 1.5,
        "optimizer.solver.kind": "minimum-norm",
        "optimizer.solver.damping": 0.1,
        "optimizer.solver.outputs": "centered-logits",
        "training.measure_every": 2,
    },
    "block": {
        "optimizer.solver.kind": "block",
        "optimizer.solver.block_weights": [0.25, 0.75],
        "optimizer.solver.damping": 0.01,
        "optimizer.solver.rtol": 1e-3,
        "network.blocks": 2,
    },
    "adam": {
        "optimizer.kind": "adam",
        "optimizer.lr": 0.01,
        "optimizer.weight_decay": 0.01,
        "training.schedule.kind": "cosine",
        "training.schedule.warmup": 2,
        "training.average.kind": "exponential",
        "data.validation": 0.25,
        "data.subset": 64,
    },
}


@pytest.mark.parametrize(("version", "name"), [run for run in RUNS if run[1] in MIGRATED])
def test_settings_are_those_of_the_command(version, name, tmp_path):
    """The stored runs were made with these settings as options."""
    settings = flat(config_dict(build_config(open_run(unpack(version, tmp_path) / name).config)))
    assert {path: settings[path] for path in MIGRATED[name]} == MIGRATED[name]
    assert settings["data.augmentation"] == ("resized-crop" if version == 3 else "none")


def test_series_that_are_only_in_the_journal(tmp_path):
    """The run has format 2 and was killed after its first snapshot."""
    folder = unpack(2, tmp_path) / "carry"
    stored = open_run(folder).steps
    assert {"loss_decrease", "loss_decrease_other", "loss_decrease_test"} <= stored.keys()
    with h5py.File(folder / "run.h5", "r+") as file:
        file.attrs["journal_bytes"] = 0
        for name in ("steps", "epochs"):
            for series in file[name]:
                values = file[name][series][:0]
                del file[name][series]
                file[name][series] = values
    for series, values in open_run(folder).steps.items():
        np.testing.assert_array_equal(values, stored[series])


def test_an_evaluation_reproduces_the_recorded_losses(old):
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    run = open_run(old)
    assert rebuild(run).step == 6
    weights = "average" if "test_loss_average" in run.epochs else "raw"
    suffix = "_average" if weights == "average" else ""
    found = evaluate_run(old, {}, weights=weights)
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert found[name] == pytest.approx(run.epochs[f"{name}{suffix}"][-1], rel=1e-5)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_a_check_finds_no_damage(old):
    found = outcomes(old)
    assert found.pop("series") in ("ok", "skipped")  # format 1 does not state journal_bytes
    assert found.pop("network.h5") == "skipped"  # the network is drawn again from the seed
    assert set(found.values()) == {"ok"}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_runs_are_compared_and_exported(version, tmp_path):
    runs = open_runs(unpack(version, tmp_path / "old"))
    rows = compare_runs(runs).rows
    assert len(rows) == len(runs)
    assert all(0 < row.metrics["test_accuracy"].mean < 1 for row in rows)
    assert len({json.dumps(row.settings) for row in rows}) == len(rows)
    *folders, settings = export_runs(runs, tmp_path / "tables", "csv")
    assert settings.name == "settings.csv"
    for folder in folders:
        head = (folder / "steps.csv").read_text().splitlines()[0].split(",")
        assert head.index("loss") == head.index("step") + 1
        assert "gain" not in head


@pytest.mark.parametrize("how", ["repair", "resume"])
def test_an_older_run_that_is_written_keeps_its_original(adam, how):
    version, old = adam
    original = (old / "run.h5").read_bytes()
    first = open_run(old).steps["loss"]
    if how == "repair":
        assert set(outcomes(old, repair=True).values()) == {"ok", "skipped"}
    else:
        resume_run(old, {"training": {"steps": 8}})
        assert open_run(old).steps["step"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(open_run(old).steps["loss"][:6], first)
    kept = old / f"run.v{version}.h5"
    assert kept.read_bytes() == original
    with h5py.File(old / "run.h5") as file:
        assert file.attrs["format_version"] == FORMAT_VERSION
        assert not {"true", "false"} & set(map(str, file.attrs.values()))
        assert not RENAMED_SERIES.keys() & (file["steps"].keys() | file["epochs"].keys())
    resume_run(old, {"training": {"steps": 9}})
    assert kept.read_bytes() == original
    assert set(outcomes(old).values()) == {"ok"}


def test_a_run_with_a_removed_optimizer_cannot_be_resumed(tmp_path):
    with pytest.raises(UsageError, match="unknown name 'agreement'"):
        resume_run(unpack(2, tmp_path) / "agreement", {"training": {"steps": 8}})


def test_a_run_with_a_removed_optimizer_is_left_unchanged_by_a_repair(tmp_path):
    old = unpack(2, tmp_path) / "agreement"
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"cannot be repaired by this version of revgn: .*'agreement'"):
        check_run(old, repair=True)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_an_invalid_format(adam):
    _, old = adam
    with h5py.File(old / "run.h5", "r+") as file:
        file.attrs["format_version"] = 0
    with pytest.raises(RunError, match="is damaged: its format is 0"):
        open_run(old)
