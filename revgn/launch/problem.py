"""The problem that a run trains on, from its settings and its data."""

from revgn.data import Dataset
from revgn.errors import RunError
from revgn.settings import Config, build_config
from revgn.store import Run
from revgn.training import Problem, build_problem, load_data


def problem_of(run: Run, own: Problem | None = None, *, optimizer: bool = True) -> Problem:
    """Return the problem that a run trains on, from its settings and its data.

    Parameters
    ----------
    own : Problem or None
        The problem itself, for a run of the user's own network, loss or optimizer.
    optimizer : bool
        Whether the optimizer is needed; without it, runs of optimizers that were removed are fine.

    Raises
    ------
    RunError
        If the data are not those that the run was started with.
    """
    if own is not None:
        check_data(own.config.data.name, own.dataset, run)
        return own
    settings = run.config if optimizer else {k: v for k, v in run.config.items() if k != "optimizer"}
    config = build_config(settings)
    return build_problem(config, same_data(config, run))


def same_data(config: Config, run: Run) -> Dataset:
    """Load the data of a configuration, which must be those of the run."""
    dataset = load_data(config)
    check_data(config.data.name, dataset, run)
    return dataset


def check_data(name: str, dataset: Dataset, run: Run) -> None:
    """Raise `RunError` unless the data have the checksum that the run recorded."""
    checksum = run.attributes["data_sha256"]
    if dataset.checksum != checksum:
        raise RunError(
            f"{name}: the data are not those of the run "
            f"(SHA-256 {dataset.checksum[:12]}... instead of {checksum[:12]}...)"
        )
