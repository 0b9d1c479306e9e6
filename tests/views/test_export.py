"""Exported runs, read back with the tools for which they are exported."""

import csv
import json
import math
from datetime import datetime

import numpy as np
import pytest

from revgn.errors import RunError, UsageError
from revgn.store import create_run, open_run
from revgn.views import export_runs, to_pandas, to_xarray


@pytest.fixture
def run(tmp_path, provenance):
    folder = tmp_path / "runs" / "first"
    with create_run(folder, provenance) as writer:
        for step in range(1, 6):
            rho = {"rho": 1e-7 * step} if step % 2 else {}
            writer.record_step({"step": step, "loss": 1 / step, "seconds": 0.5, **rho})
        writer.record_epoch({"epoch": 0.0, "step": 0, "test_accuracy": 0.1, "seconds": 0.0})
        writer.record_epoch({"epoch": 1.0, "step": 5, "test_accuracy": 0.9, "seconds": 2.5})
    return open_run(folder)


def test_csv(run, tmp_path):
    (folder,) = export_runs([run], tmp_path / "out", "csv")
    assert folder == tmp_path / "out" / "first"
    with (folder / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == run.steps["loss"].tolist()
    assert [row["rho"] for row in rows][1] == ""
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(folder / "steps.csv", index_col="step")
    pandas.testing.assert_frame_equal(frame, to_pandas(run))


def test_parquet(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (folder,) = export_runs([run], tmp_path / "out", "parquet")
    table = parquet.read_table(folder / "epochs.parquet")
    assert table["test_accuracy"].to_pylist() == [0.1, 0.9]
    about = json.loads(table.schema.metadata[b"revgn"])
    assert about["config"] == run.config
    assert about["attributes"]["title"] == run.attributes["title"]
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        found = connection.sql(f"select max(loss), count(rho) from '{folder / 'steps.parquet'}'")
        assert found.fetchall() == [(1.0, 3)]


def test_netcdf(run, tmp_path):
    xarray = pytest.importorskip("xarray")
    (path,) = export_runs([run], tmp_path / "out", "netcdf")
    assert path == tmp_path / "out" / "first.nc"
    for cadence in ("steps", "epochs"):
        with xarray.open_dataset(path, group=cadence, engine="h5netcdf") as found:
            xarray.testing.assert_equal(found, to_xarray(run, cadence))
            assert found.attrs["config.optimizer.lr"] == 0.5
            assert all(found[name].attrs["long_name"] for name in found)


def test_tensorboard(run, tmp_path):
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (folder,) = export_runs([run], tmp_path / "out", "tensorboard")
    read = reader.EventAccumulator(str(folder)).Reload()
    of_steps, of_epochs = ("loss", "rho", "seconds"), ("test_accuracy", "seconds")
    tags = {*(f"steps/{name}" for name in of_steps), *(f"epochs/{name}" for name in of_epochs)}
    assert set(read.Tags()["scalars"]) == tags
    losses = read.Scalars("steps/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([event.value for event in losses], run.steps["loss"], rtol=1e-7)
    start = datetime.fromisoformat(run.attributes["start"]).timestamp()
    np.testing.assert_allclose([event.wall_time for event in losses], start + 0.5 * np.arange(1, 6))
    assert [event.step for event in read.Scalars("steps/rho")] == [1, 3, 5]
    accuracies = [(event.step, round(event.value, 6)) for event in read.Scalars("epochs/test_accuracy")]
    assert accuracies == [(0, 0.1), (5, 0.9)]
    (text,) = read.Tensors(read.Tags()["tensors"][0])
    assert b'"lr": 0.5' in text.tensor_proto.string_val[0]


@pytest.mark.parametrize("form", ["csv", "parquet", "netcdf", "tensorboard"])
def test_files_are_never_overwritten_or_left_incomplete(run, tmp_path, form, monkeypatch):
    pytest.importorskip({"csv": "csv", "parquet": "pyarrow", "netcdf": "h5netcdf"}.get(form, "tensorboardX"))
    export_runs([run], tmp_path / "out", form)
    with pytest.raises(UsageError, match="exists already and is not overwritten"):
        export_runs([run], tmp_path / "out", form)
    before = sorted((tmp_path / "out").iterdir())
    monkeypatch.setattr("revgn.views.export.series_of", broken)
    monkeypatch.setattr("revgn.views.tables.series_of", broken)
    with pytest.raises(RunError, match="cannot be written: No space left"):
        export_runs([run], tmp_path / "other", form)
    assert list((tmp_path / "other").iterdir()) == []
    assert sorted((tmp_path / "out").iterdir()) == before


def broken(*_):
    raise OSError(28, "No space left on device")


def test_runs_with_the_same_folder_name_get_different_file_names(tmp_path, provenance, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x", "b/x", "b/y"):
        create_run(tmp_path / name, provenance).close("finished")
    runs = [open_run(name) for name in ("a/x", "b/x", "b/y")]
    assert [path.name for path in export_runs(runs, "out", "csv")] == ["a_x", "b_x", "y"]
    with pytest.raises(UsageError, match="'xml' is not one of csv, parquet"):
        export_runs(runs, "out", "xml")


def test_csv_preserves_infinities(tmp_path, provenance):
    with create_run(tmp_path / "run", provenance) as writer:
        writer.record_step({"step": 1, "loss": math.inf})
    (folder,) = export_runs([open_run(tmp_path / "run")], tmp_path / "out", "csv")
    assert (folder / "steps.csv").read_text() == "step,loss\n1.0,inf\n"
