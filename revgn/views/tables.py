"""Conversion of the series of a run to xarray and pandas (extra `analysis`).

The cadences `steps` and `epochs` are separate tables. Both have series of the same name (`seconds`,
`samples`), but along different scales.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgn.errors import UsageError
from revgn.store.attributes import config_attributes
from revgn.store.names import CADENCES, Cadence, attributes_of
from revgn.store.reader import CadenceName, Run, as_run

if TYPE_CHECKING:
    import pandas
    import xarray


def to_xarray(run: Run | Path | str, cadence: CadenceName = "steps") -> "xarray.Dataset":
    """Return the measured series along `step` or `epoch` as an xarray data set.

    `run` is a `Run` or the path of its folder. Each series has the attributes `long_name` and `units`; the
    data set has the attributes of the run. Compared with `xarray.open_dataset(run.h5, group=cadence)`, series
    without any value are left out, and records that only the journal holds so far are included. `UsageError`
    is raised if xarray is not installed.

    Examples
    --------
    >>> import revgn
    >>> revgn.to_xarray("runs/first", "epochs")["test_loss"].attrs["units"]
    '1'
    """
    run = as_run(run)
    xr = library("to_xarray", "xarray", "analysis")
    of_name, found = cadence_of(cadence), series_of(run, cadence)
    scale = of_name.scale
    coordinate = (scale.name, found.pop(scale.name), attributes_of(scale))
    known = {name: attributes_of(series) for name in found if (series := of_name.find(name))}
    data = {name: (scale.name, values, known.get(name, {})) for name, values in found.items()}
    dataset: xarray.Dataset = xr.Dataset(data, {scale.name: coordinate}, _attributes(run))
    return dataset


def to_pandas(run: Run | Path | str, cadence: CadenceName = "steps") -> "pandas.DataFrame":
    """Return the measured series as the columns of a data frame, indexed by `step` or `epoch`.

    `run` is a `Run` or the path of its folder. Its attributes are in `frame.attrs`. `UsageError` is raised if
    pandas is not installed.

    Examples
    --------
    >>> import revgn
    >>> frame = revgn.to_pandas("runs/first")
    >>> frame["loss"].index.name, len(frame)
    ('step', 3)
    """
    run = as_run(run)
    pd = library("to_pandas", "pandas", "analysis")
    found, scale = series_of(run, cadence), cadence_of(cadence).scale.name
    frame: pandas.DataFrame = pd.DataFrame(found).set_index(scale)
    frame.attrs = _attributes(run)
    return frame


def library(caller: str, name: str, extra: str) -> Any:
    """Import a library that is installed with the named extra of revgn."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        package = name.partition(".")[0]
        raise UsageError(f"{caller}: {package} is not installed; pip install 'revgn[{extra}]'") from None


def cadence_of(name: str) -> Cadence:
    """Return the cadence with the given name; an unknown name raises `UsageError`."""
    found = {cadence.group: cadence for cadence in CADENCES}
    if name not in found:
        raise UsageError(f"cadence: {name!r} is not one of {', '.join(found)}")
    return found[name]


def _attributes(run: Run) -> dict[str, Any]:
    """Return the attributes of the run, its settings by dotted path, and its folder."""
    return {**run.attributes, **config_attributes(run.config), "run": str(run.folder)}


def series_of(run: Run, cadence: CadenceName) -> dict[str, Any]:
    """Return a new dict of the scale and the series of a cadence."""
    return dict(run.steps if cadence_of(cadence).group == "steps" else run.epochs)
