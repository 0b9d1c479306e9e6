import json
import random
from dataclasses import replace

import h5py
import numpy as np
import pytest

from revgn.errors import RunError, UsageError
from revgn.store import (
    EPOCH_SERIES,
    RUNGS,
    STEP_SERIES,
    create_run,
    is_run,
    list_runs,
    open_run,
    open_runs,
    reopen_run,
    status,
)
from revgn.store.journal import is_locked
from revgn.store.names import CADENCES, ROOT_ATTRIBUTES


@pytest.fixture
def xarray():
    pytest.importorskip("h5netcdf")
    return pytest.importorskip("xarray")


@pytest.fixture
def folder(tmp_path, provenance):
    folder = tmp_path / "runs" / "digits"
    with create_run(folder, provenance) as writer:
        for step in range(1, 11):
            writer.record_step({"step": step, "loss": 1 / step, "rung": step % 3, "seconds": float("inf")})
        for epoch in (0.5, 1.0):
            writer.record_epoch({"epoch": epoch, "step": 5 * epoch, "test_accuracy": epoch / 2})
    return folder


def nodes(file):
    found = [file]
    file.visititems(lambda _, node: found.append(node))
    return found


def test_a_run_can_be_read_with_h5py_alone(folder, provenance):
    with h5py.File(folder / "run.h5", "r") as file:
        loss = file["steps/loss"]
        np.testing.assert_array_equal(loss[...], 1 / file["steps/step"][...])
        assert loss.dims[0][0] == file["steps/step"]
        assert file["epochs/test_accuracy"].dims[0][0] == file["epochs/epoch"]
        assert (loss.attrs["units"], file["steps/seconds"].attrs["units"]) == ("1", "s")
        assert file["steps/rung"].attrs["flag_meanings"].split() == list(RUNGS)
        assert set(file["steps"]) == {"step", *(series.name for series in STEP_SERIES)}
        assert np.isnan(file["steps/rho"][...]).tolist() == [True] * 10  # not measured
        assert file["steps/rho"].id.get_storage_size() == 0
        assert {**file["steps"].attrs} == {"NX_class": "NXdata", "axes": "step", "signal": "loss"}
        assert file["epochs"].attrs["signal"] == "test_accuracy"
        root = dict(file.attrs)
        assert file[root["default"]] == file["steps"]
        assert root["NX_class"] == "NXroot"
        assert root.keys() >= ROOT_ATTRIBUTES.keys()
        assert root["config.optimizer.lr"] == 0.5
        assert root["config.optimizer.carry"] == "null"
        assert root["config.optimizer.nesterov"] == 0
        assert root["config.network.is_deep"] == 1
        assert root["config.network.hidden"] == "[64, 32]"
        assert root["config.network.blocks"] == 2
        assert root["config.notes"] == "{}"
        assert root["version.numpy"] == "2.0"
        assert root["source"] == "revgn 0.1.0"
        assert json.loads(root["config_json"]) == provenance.config


def test_the_file_contains_only_simple_types(folder):
    with h5py.File(folder / "run.h5", "r") as file:
        for node in nodes(file):
            if isinstance(node, h5py.Dataset):
                assert node.dtype == np.float64
            for name in node.attrs:
                if name in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME"):  # HDF5's dimension scales
                    continue
                kind = node.attrs.get_id(name).dtype
                text = h5py.check_string_dtype(kind)
                assert kind.kind in "fi" or text.encoding == "utf-8", name
                assert len(str(node.attrs[name])) < 2**16


def test_xarray_and_pandas(xarray, folder):
    for engine in ("h5netcdf", None):
        with xarray.open_dataset(folder / "run.h5", group="steps", engine=engine) as data:
            assert list(data.coords) == ["step"]
            assert data.sel(step=4)["loss"] == 0.25
            assert data["loss"].attrs["long_name"] == STEP_SERIES[0].long_name
            frame = data.to_dataframe()
    assert frame.index.name == "step"
    assert frame["loss"].tolist() == [1 / step for step in range(1, 11)]
    with xarray.open_dataset(folder / "run.h5", group="epochs", engine="h5netcdf") as data:
        assert data["test_accuracy"].sel(epoch=0.5) == 0.25


def test_a_run_without_records_has_all_series(tmp_path, provenance):
    with create_run(tmp_path / "run", provenance), h5py.File(tmp_path / "run" / "run.h5") as file:
        for cadence in CADENCES:
            lengths = {name: data.shape for name, data in file[cadence.group].items()}
            assert lengths == {series.name: (0,) for series in (cadence.scale, *cadence.series)}
        assert file["steps"].attrs["signal"] == "loss"
        assert file["epochs/test_loss"].attrs["units"] == "1"


def test_xarray_opens_a_run_without_records(xarray, tmp_path, provenance):
    with create_run(tmp_path / "run", provenance):
        for group, scale in (("steps", "step"), ("epochs", "epoch")):
            with xarray.open_dataset(tmp_path / "run" / "run.h5", group=group, engine="h5netcdf") as data:
                assert dict(data.sizes) == {scale: 0}
                assert data.to_dataframe().empty
        run = open_run(tmp_path / "run")
    assert (list(run.steps), list(run.epochs)) == (["step"], ["epoch"])


def test_reading_while_a_run_is_written(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        writer.record_step({"step": 1, "loss": 1.0})
        writer.snapshot()
        with h5py.File(folder / "run.h5", "r") as file:
            for step in range(2, 40):
                writer.record_step({"step": step, "loss": 1.0})
                writer.snapshot()
                with h5py.File(folder / "run.h5", "r") as newer:
                    assert newer["steps/step"][-1] == step
                assert file["steps/step"][...].tolist() == [1]
            assert file.attrs["status"] == "running"


def test_the_error_names_a_damaged_line_of_the_journal(tmp_path, provenance):
    """Only lines that are not yet in run.h5 are read."""
    folder = tmp_path / "run"
    writer = create_run(folder, provenance)
    for step in range(1, 11):
        writer.record_step({"step": step, "loss": 1 / step})
    writer._release()
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (
        b"{}\n",
        b"nonsense\n",
        b'{"kind": "step", "step": 3, "lost": 1}\n',
        b"[1]\n",
        b"\xff\r\n",
    ):
        path.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        with pytest.raises(RunError, match=r"metrics\.jsonl: line 3 is damaged"):
            _ = open_run(folder).steps


def test_a_damaged_run_is_reported_in_one_line(folder, tmp_path):
    path = folder / "run.h5"
    image = path.read_bytes()
    for damage in (
        b"",
        image[:1000],
        image[:-100],
        b"\0" * len(image),
        image.replace(b"config_json", b"config_jsom"),
    ):
        path.write_bytes(damage)
        with pytest.raises(RunError, match=r"run\.h5: ") as caught:
            open_run(folder)
        assert "\n" not in str(caught.value)
    path.write_bytes(image)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 5
    with pytest.raises(RunError, match=r"has format 5, which requires a newer revgn; .* up to 4"):
        open_run(folder)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 4
        del file.attrs["seed"]
    with pytest.raises(RunError, match="lacks seed"):
        open_run(folder)
    with pytest.raises(RunError, match="is not a run"):
        open_run(tmp_path / "nowhere")


def test_flipped_bits_of_a_run_are_detected_or_harmless(folder):
    path = folder / "run.h5"
    image = path.read_bytes()
    expected = open_run(folder)
    draw = random.Random(5)
    found = 0
    for bit in draw.sample(range(8 * len(image)), 50):
        damaged = bytearray(image)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            run = open_run(folder)
        except RunError:
            found += 1
        else:
            assert run.attributes == expected.attributes
    assert found > 40


def test_an_attribute_can_be_added_with_h5py(folder, provenance):
    with h5py.File(folder / "run.h5", "r+") as file:
        file.attrs["note"] = "the one of the talk"
    assert open_run(folder).attributes["note"] == "the one of the talk"
    reopen_run(folder, replace(provenance, command="revgn resume")).close("finished")
    assert open_run(folder).attributes["note"] == "the one of the talk"


def test_runs_are_found_at_any_depth(tmp_path, provenance):
    for name in ("b", "a", "sweep/a"):
        create_run(tmp_path / name, provenance).close("finished")
    (tmp_path / "notes").mkdir()
    assert list_runs(tmp_path) == [tmp_path / "a", tmp_path / "b", tmp_path / "sweep" / "a"]
    assert list_runs(str(tmp_path / "a")) == [tmp_path / "a"]
    assert list_runs(tmp_path / "nowhere") == []
    assert is_run(tmp_path / "a")
    assert not is_run(tmp_path / "sweep")


def test_a_run_without_run_h5_is_found_and_its_error_names_the_remedy(folder):
    (folder / "run.h5").unlink()
    assert is_run(folder)
    assert list_runs(folder.parent) == [folder]
    with pytest.raises(RunError, match=r"run\.h5: is missing; revgn check --repair .* makes it again"):
        open_runs(folder.parent)
    (folder / "metrics.jsonl").unlink()  # there is nothing left from which to make it
    assert not is_run(folder)
    assert list_runs(folder.parent) == []


def test_the_table_of_series():
    assert next(series for series in STEP_SERIES if series.name == "rung").meanings == RUNGS
    for series in (*STEP_SERIES, *EPOCH_SERIES):
        assert series.units in ("1", "s", "byte", "target")
        assert series.deterministic == (series.units in ("1", "target"))
        assert series.long_name


def test_a_run_that_ends_after_it_is_opened_was_not_killed(tmp_path, provenance, monkeypatch):
    writer = create_run(tmp_path / "run", provenance)
    run = open_run(tmp_path / "run")
    assert status(run) == "running"

    def ended(path):
        writer.close("finished")
        return is_locked(path)

    monkeypatch.setattr("revgn.store.reader.is_locked", ended)
    assert status(run) == "finished"


def test_the_journal_is_read_from_where_the_snapshot_ends(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance) as writer:
        for step in range(1, 6):
            writer.record_step({"step": step, "loss": 1 / step})
        writer.snapshot()
        before = (folder / "metrics.jsonl").stat().st_size
        for step in range(6, 9):
            writer.record_step({"step": step, "rho": 1 / step})
        live = open_run(folder)
        assert live.attributes["journal_bytes"] == before
        assert live.steps["step"].tolist() == list(range(1, 9))
        np.testing.assert_array_equal(live.steps["loss"][5:], np.nan)
        writer.rewind(3)
        assert live.steps["step"].size == 8  # series are not read again
        assert open_run(folder).steps["step"].tolist() == [1, 2, 3]
    journal = folder / "metrics.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"loss", b"lost", 1))
    assert open_run(folder).steps["loss"].tolist() == [1, 1 / 2, 1 / 3]  # run.h5 has all records
    journal.unlink()
    assert open_run(folder).steps["loss"].tolist() == [1, 1 / 2, 1 / 3]


def test_runs_are_opened_by_pattern_folder_and_list(tmp_path, provenance, monkeypatch):
    for name in ("a/x", "a/y", "b/x"):
        create_run(tmp_path / name, provenance).close("finished")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)

    def names(where):
        return [str(run.folder) for run in open_runs(where)]

    assert names("*/x") == ["a/x", "b/x"]
    assert names("a") == ["a/x", "a/y"]
    assert names(["b", "a/x", "a"]) == ["b/x", "a/x", "a/y"]
    assert names("**/y") == ["a/y"]
    with pytest.raises(UsageError, match="nowhere: there is no such folder"):
        open_runs(["a", "nowhere"])
    with pytest.raises(UsageError, match="empty: contains no run"):
        open_runs("empty")
