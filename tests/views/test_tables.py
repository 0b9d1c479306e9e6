"""Conversion of the series of a run to xarray and pandas."""

import numpy as np
import pytest

from revgn.errors import UsageError
from revgn.store import RUNGS, create_run, open_run
from revgn.views import to_pandas, to_xarray


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


def test_series_as_tables(xarray, folder):
    """The tables agree with xarray's reading of run.h5, plus the records that only the journal holds."""
    run = open_run(folder)
    for cadence in ("steps", "epochs"):
        with xarray.open_dataset(folder / "run.h5", group=cadence, engine="h5netcdf") as stored:
            found = to_xarray(run, cadence)
            xarray.testing.assert_equal(found, stored[list(found)])
            assert all(np.isnan(stored[name]).all() for name in set(stored) - set(found))
            assert found["seconds" if cadence == "steps" else "step"].attrs.keys() == {"long_name", "units"}
    assert to_xarray(run)["rung"].attrs["flag_meanings"].split() == list(RUNGS)
    assert to_xarray(run).attrs["config.optimizer.lr"] == 0.5
    frame = to_pandas(run, "epochs")
    assert frame.index.name == "epoch"
    assert frame["test_accuracy"].tolist() == [0.25, 0.5]
    assert frame.attrs["run"] == str(folder)
    with pytest.raises(UsageError, match="cadence: 'days' is not one of steps, epochs"):
        to_pandas(run, "days")
