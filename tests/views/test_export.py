"""Exported runs, read back with the tools for which they are exported."""

import csv
import json
import math
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from revgn.errors import RunError, UsageError
from revgn.settings import build_config, config_dict
from revgn.store import create_run, open_run
from revgn.views import export_runs, to_pandas, to_xarray

MODULES = {"csv": "csv", "parquet": "pyarrow", "netcdf": "h5netcdf", "tensorboard": "tensorboardX"}


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
    folder, table = export_runs([run], tmp_path / "out", "csv")
    assert table == tmp_path / "out" / "settings.csv"
    assert folder == tmp_path / "out" / "first"
    with (folder / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == run.steps["loss"].tolist()
    assert [row["rho"] for row in rows][1] == ""
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(folder / "steps.csv", index_col="step")
    assert frame.pop("run").unique() == ["first"]
    pandas.testing.assert_frame_equal(frame, to_pandas(run))


def test_parquet(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder, _ = export_runs([run], tmp_path / "out", "parquet")
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
    path, table = export_runs([run], tmp_path / "out", "netcdf")
    assert table.name == "settings.csv"
    assert path == tmp_path / "out" / "first.nc"
    for cadence in ("steps", "epochs"):
        with xarray.open_dataset(path, group=cadence, engine="h5netcdf") as found:
            xarray.testing.assert_equal(found, to_xarray(run, cadence))
            assert found.attrs["config.optimizer.lr"] == 0.5
            assert all(found[name].attrs["long_name"] for name in found)


def test_tensorboard(run, tmp_path):
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, _ = export_runs([run], tmp_path / "out", "tensorboard")
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


@pytest.mark.parametrize("form", MODULES)
def test_files_are_never_overwritten_or_left_incomplete(run, tmp_path, form, monkeypatch):
    pytest.importorskip(MODULES[form])
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


@pytest.mark.parametrize(
    ("form", "missing", "extra"),
    [
        ("parquet", "pyarrow", "export"),
        ("netcdf", "xarray", "analysis"),
        ("netcdf", "h5netcdf", "analysis"),
        ("tensorboard", "tensorboardX", "export"),
    ],
)
def test_nothing_is_written_without_the_library(run, tmp_path, form, missing, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "h5netcdf":
        pytest.importorskip("xarray")
    with pytest.raises(UsageError, match=rf"export: {missing} is not installed; .*'revgn\[{extra}\]'"):
        export_runs([run], tmp_path / "new" / "out", form)
    assert not (tmp_path / "new").exists()


def broken(*_):
    raise OSError(28, "No space left on device")


def test_runs_with_the_same_folder_name_get_different_file_names(tmp_path, provenance, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x", "b/x", "b/y"):
        create_run(tmp_path / name, provenance).close("finished")
    runs = [open_run(name) for name in ("a/x", "b/x", "b/y")]
    assert [path.name for path in export_runs(runs, "out", "csv")] == ["a_x", "b_x", "y", "settings.csv"]
    with pytest.raises(UsageError, match="'xml' is not one of csv, parquet"):
        export_runs(runs, "out", "xml")


@pytest.mark.parametrize("form", MODULES)
def test_runs_whose_paths_are_written_alike_are_all_exported(tmp_path, provenance, form, monkeypatch):
    """A path loses its separators and leading dots."""
    pytest.importorskip(MODULES[form])
    paths = [".", "../a/x", "a/x", "a_x"]
    for number, path in enumerate(paths):
        with create_run(tmp_path / "x" / path, replace(provenance, seed=number)) as writer:
            writer.record_step({"step": 1, "loss": float(number)})
    monkeypatch.chdir(tmp_path / "x")
    runs = [open_run(path) for path in paths]
    *targets, table = export_runs(runs, tmp_path / "out", form)
    assert [target.name.removesuffix(".nc") for target in targets] == ["x", "a_x", "a_x-2", "a_x-3"]
    assert {*targets, table} == {*(tmp_path / "out").iterdir()}
    if table.suffix == ".csv":
        with table.open() as file:
            rows = [(row["run"], row["seed"]) for row in csv.DictReader(file)]
        assert rows == [("x", "0"), ("a_x", "1"), ("a_x-2", "2"), ("a_x-3", "3")]


def test_csv_preserves_infinities(tmp_path, provenance):
    with create_run(tmp_path / "run", provenance) as writer:
        writer.record_step({"step": 1, "loss": math.inf})
    folder, _ = export_runs([open_run(tmp_path / "run")], tmp_path / "out", "csv")
    assert (folder / "steps.csv").read_text() == "run,step,loss\nrun,1.0,inf\n"


@pytest.fixture
def sweep(tmp_path, provenance):
    """Three runs that differ in optimizer, learning rate and seed; SGD has no damping."""
    found = []
    damped = {"solver": {"damping": 0.25}}
    chosen = {"a": {"kind": "sgd", "lr": 1}, "b": {"kind": "sgd", "lr": 0.5}, "c": {"lr": 0.5} | damped}
    for seed, (name, optimizer) in enumerate(chosen.items()):
        config = config_dict(build_config({"optimizer": optimizer, "training": {"seed": seed}}))
        with create_run(tmp_path / "s" / name, replace(provenance, config=config, seed=seed)) as writer:
            writer.record_step({"step": 1, "loss": 1.0})
        found.append(open_run(tmp_path / "s" / name))
    return found


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_have_columns_for_run_and_settings(sweep, tmp_path, form):
    """All tables together are one table, in which each row names its run and the settings that differ."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    read = getattr(pandas, f"read_{form}")
    *folders, table = export_runs(sweep, tmp_path / "out", form)
    steps = pandas.concat([read(folder / f"steps.{form}") for folder in folders])
    assert list(steps["run"]) == ["a", "b", "c"]
    assert list(steps["optimizer.lr"]) == [1.0, 0.5, 0.5]
    assert list(steps["training.seed"]) == [0, 1, 2]
    assert steps["optimizer.solver.damping"].isna().tolist() == [True, True, False]
    assert "network.hidden" not in steps
    settings = read(table).set_index("run")
    assert list(settings["status"]) == ["finished"] * 3
    assert list(settings["seed"]) == [0, 1, 2]
    assert list(settings["version.revgn"]) == ["0.1.0"] * 3
    assert list(settings["optimizer.kind"]) == ["sgd", "sgd", "gauss-newton"]
    assert list(settings["network.hidden"]) == [512] * 3
    merged = steps.merge(settings, on="run", suffixes=("", "_of_settings"))
    assert list(merged["optimizer.lr"]) == list(merged["optimizer.lr_of_settings"])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_table_of_settings_grows_with_each_export(sweep, tmp_path, form):
    pytest.importorskip("pyarrow")
    read = getattr(pytest.importorskip("pandas"), f"read_{form}")
    for run in (*sweep[1:], sweep[0]):
        *_, table = export_runs([run], tmp_path / "out", form)
    found = read(table)
    assert list(found["run"]) == ["b", "c", "a"]
    assert list(found["optimizer.lr"]) == [0.5, 0.5, 1.0]
    assert list(found["training.seed"].astype(int)) == [1, 2, 0]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / table.name).write_bytes(b"a,b\n1,2\n")
    with pytest.raises(RunError, match=r"settings\.(csv|parquet): "):
        export_runs(sweep, tmp_path / "other", form)
    assert [path.name for path in (tmp_path / "other").iterdir()] == [table.name]


def test_parquet_columns_have_one_type_in_all_runs(sweep, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    export_runs(sweep, tmp_path / "out", "parquet")
    with duckdb.connect() as connection:
        query = f"select run, \"optimizer.solver.damping\" from '{tmp_path}/out/*/steps.parquet' order by run"
        assert connection.sql(query).fetchall() == [("a", None), ("b", None), ("c", 0.25)]
