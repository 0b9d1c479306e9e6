"""The training problem of a stored run, rebuilt from its settings and data, and its network without data."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from revgn.arrays import BackendName, to_host
from revgn.data import Dataset, dataset_names, interface_of
from revgn.data.settings import TaskChoice
from revgn.errors import DataError, RevgnError, RunError, ShapeError
from revgn.networks import frozen_arrays, with_frozen
from revgn.settings import Config, build_config
from revgn.settings.registry import OWN
from revgn.store import Run, StoredNetwork, load_network
from revgn.training import Model, Problem, build_model, build_problem, load_data, model_of

P = TypeVar("P", Problem, Model)

_TASKS: tuple[TaskChoice, ...] = ("regression", "classification")
ROUNDING = 1e-3  # frozen arrays that differ by less than this are drawn from the same random numbers


def problem_of(
    run: Run,
    own: Problem | Config | None = None,
    *,
    optimizer: bool = True,
    backend: BackendName | None = None,
    data: str | None = None,
) -> Problem:
    """Return the training problem of a run, from its settings and its data.

    Parameters
    ----------
    own : Problem or Config or None
        The problem itself, for a run with the user's own network, loss or optimizer; or changed settings.
    optimizer : bool
        Whether to build the optimizer. If False, the run may have an optimizer that this version no
        longer has.
    backend : {"numpy", "cupy"} or None
        Backend that replaces the backend of the run, unless `own` is a problem.
    data : str or None
        Current path of the data file, unless `own` is a problem. If the file of the run is not there any
        more, a file of the same size and ending beside it or in the current folder is tried.

    Raises
    ------
    RunError
        If the data differ from the data of the run, or its network cannot be built in this version.
    DataError
        If the data are not found.
    """
    stored = load_network(run.folder)
    if isinstance(own, Problem):
        _check_data(run, own.config, own.dataset)
        return _with_stored(run, own, stored)
    config = own or _config_of(run, optimizer, backend)
    if backend is not None:
        config = replace(config, training=replace(config.training, backend=backend))
    if data is not None:
        config = replace(config, data=replace(config.data, name=data))
    config, dataset = _load(run, config, stored)
    return _with_stored(run, build_problem(config, dataset, shapes_only=stored is not None), stored)


def model_of_run(run: Run, own: Problem | None = None, backend: BackendName | None = None) -> Model:
    """Return the network of a run without its weights; the data are only needed for runs before 0.2.

    Raises
    ------
    RunError
        If the network cannot be built in this version; for runs before 0.2, the errors of `problem_of`.
    """
    stored = load_network(run.folder)
    if own is not None or stored is None:
        return model_of(problem_of(run, own, optimizer=False, backend=backend))
    config = _config_of(run, False, backend)
    return _with_stored(run, build_model(config, stored.interface, shapes_only=True), stored)


def is_own(run: Run) -> bool:
    """Return whether the network of a run is user-defined, so that settings and seed do not determine it."""
    return "network" in own_parts(run)


def own_parts(run: Run) -> list[str]:
    """Return the user-defined parts of a run: "network", "loss", both or none."""
    parts = {"network": run.config["network"], "loss": run.config["training"].get("loss")}
    return [name for name, part in parts.items() if isinstance(part, dict) and part.get("kind") == OWN]


def redraw_difference(run: Run) -> float | None:
    """Return the difference of a run's frozen arrays from the arrays that this version draws from its seed.

    The result is the largest difference between absolute values, relative to the largest value of an array;
    signs are ignored, since they depend on the LAPACK library. The result is 0 for equal bits, about the
    machine precision for another LAPACK, and about 1 if other random numbers are drawn; None if the run has
    no stored arrays. `RunError` is raised if the network cannot be built in this version.
    """
    stored = load_network(run.folder)
    if stored is None:
        return None
    drawn = build_model(_config_of(run, False, "numpy"), stored.interface)
    _with_stored(run, drawn, stored)  # raises if the structure differs
    largest = 0.0
    for path, array in frozen_arrays(drawn.network).items():
        kept = np.abs(stored.frozen[path].astype(np.float64))
        if kept.any():
            largest = max(largest, float(np.max(np.abs(np.abs(to_host(array)) - kept) / kept.max())))
    return largest


def stored_network(problem: Problem) -> StoredNetwork:
    """Return the data of a problem's network that are stored when a run starts."""
    path = Path(problem.config.data.name)
    frozen = {name: to_host(array) for name, array in frozen_arrays(problem.network).items()}
    size = path.stat().st_size if path.suffix and path.is_file() else 0
    return StoredNetwork(interface_of(problem.dataset), frozen, size)


def with_data_found(config: Config) -> Config:
    """Return the configuration with an absolute path of the data, so that the run can be resumed anywhere."""
    path = Path(config.data.name)
    is_path = config.data.name not in dataset_names() and (path.suffix or path.exists())
    return replace(config, data=replace(config.data, name=str(path.resolve()))) if is_path else config


def _config_of(run: Run, optimizer: bool, backend: BackendName | None) -> Config:
    settings = run.config if optimizer else {k: v for k, v in run.config.items() if k != "optimizer"}
    config = build_config(settings)
    return config if backend is None else replace(config, training=replace(config.training, backend=backend))


def _load(run: Run, config: Config, stored: StoredNetwork | None) -> tuple[Config, Dataset]:
    """Load the data of a run, under their name in the settings or, if there is no such file, under a new one.

    Returns
    -------
    config : Config
        Settings with the name under which the data were found.
    dataset : Dataset
    """
    path, name = Path(config.data.name), run.attributes["data_name"]
    if config.data.name in dataset_names() and config.data.name != name:
        raise RunError(f"{config.data.name}: the data differ from the data of the run ({name})")
    if path.exists() or not (path.suffix or path.is_absolute()):
        return config, _load_as_then(run, config, stored)
    for other in _candidates(path, 0 if stored is None else stored.data_bytes):
        moved = replace(config, data=replace(config.data, name=str(other)))
        with suppress(RevgnError):
            return moved, _load_as_then(run, moved, stored)
    kind = "file" if path.suffix else "folder"
    is_of_run = path.resolve() == Path(run.config["data"]["name"]).resolve()
    advice = f"; name the data of the run with --data {kind.upper()}" if is_of_run else ""
    raise DataError(f"{path}: there is no such {kind}{advice}")


def _load_as_then(run: Run, config: Config, stored: StoredNetwork | None) -> Dataset:
    """Load the data of a run for the task of the run.

    Runs before 0.2 do not record the task, and recognized labels by another rule, so both tasks are tried.
    """

    def loaded(task: TaskChoice) -> Dataset:
        return load_data(replace(config, data=replace(config.data, task=task)), for_training=False)

    is_inferred = config.data.task == "auto" and config.data.name not in dataset_names()
    dataset = loaded(stored.interface.task if is_inferred and stored else config.data.task)
    for task in _TASKS if is_inferred and stored is None else ():
        if dataset.checksum != run.attributes["data_sha256"]:
            with suppress(DataError):
                dataset = loaded(task)
    _check_data(run, config, dataset)
    return dataset


def _candidates(path: Path, size: int) -> list[Path]:
    """Return the files of a size with the ending of `path`, in its folder and in the current folder."""
    if not size:
        return []
    folders = dict.fromkeys((path.parent.resolve(), Path.cwd()))
    found = [other for folder in folders for other in sorted(folder.glob(f"*{path.suffix}"))]
    return [other for other in found if other.is_file() and other.stat().st_size == size]


def _check_data(run: Run, config: Config, dataset: Dataset) -> None:
    checksum = run.attributes["data_sha256"]
    if dataset.checksum != checksum:
        raise RunError(
            f"{config.data.name}: the data differ from the data of the run "
            f"(SHA-256 {dataset.checksum[:12]}... instead of {checksum[:12]}...)"
        )


def _with_stored(run: Run, built: P, stored: StoredNetwork | None) -> P:
    """Return a problem or model with the frozen arrays of the run, where these are stored."""
    if stored is None:
        return built
    try:
        network = with_frozen(built.network, stored.frozen, built.backend)
    except ShapeError as error:
        reason = str(error).removeprefix("with_frozen: ")
        made = run.attributes.get("version.revgn", "another version")
        raise RunError(
            f"{run.folder}: its network cannot be built from its settings: {reason} "
            f"(the run was made with revgn {made})"
        ) from None
    return built if network is built.network else replace(built, network=network)
