"""The training problem of a stored run, rebuilt from its settings and data, and its network without data."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from revgn.arrays import BackendName, to_host
from revgn.data import Dataset, interface_of
from revgn.errors import DataError, RevgnError, RunError, ShapeError
from revgn.networks import frozen_arrays, with_frozen
from revgn.settings import Config, build_config
from revgn.store import Run, StoredNetwork, load_network
from revgn.training import Model, Problem, build_model, build_problem, load_data, model_of

P = TypeVar("P", Problem, Model)


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
        Whether to build the optimizer. If False, the optimizer of the run may be one that was removed.
    backend : {"numpy", "cupy"} or None
        Backend that replaces the backend of the run, unless `own` is a problem.
    data : str or None
        Present path of the data file, unless `own` is a problem. If the file of the run is not there any
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
    return _with_stored(run, build_problem(config, dataset), stored)


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
    return _with_stored(run, build_model(_config_of(run, False, backend), stored.interface), stored)


def stored_network(problem: Problem) -> StoredNetwork:
    """Return what is stored of the network of a problem when a run starts."""
    path = Path(problem.config.data.name)
    frozen = {name: to_host(array) for name, array in frozen_arrays(problem.network).items()}
    size = path.stat().st_size if path.suffix and path.is_file() else 0
    return StoredNetwork(interface_of(problem.dataset), frozen, size)


def with_data_found(config: Config) -> Config:
    """Return the configuration with an absolute path of the data file, so that any folder can resume it."""
    name = Path(config.data.name)
    return replace(config, data=replace(config.data, name=str(name.resolve()))) if name.suffix else config


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
    path = Path(config.data.name)
    if not path.suffix or path.exists():
        dataset = load_data(config)
        _check_data(run, config, dataset)
        return config, dataset
    for other in _candidates(path, 0 if stored is None else stored.data_bytes):
        moved = replace(config, data=replace(config.data, name=str(other)))
        try:
            dataset = load_data(moved)
            _check_data(run, moved, dataset)
        except RevgnError:
            continue
        return moved, dataset
    raise DataError(f"{path}: there is no such file; name the data of the run with --data FILE")


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
