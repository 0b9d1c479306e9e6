"""The problem that a run trains on, from its settings and its data."""

from revgn.data import Dataset
from revgn.errors import RunError
from revgn.settings import Config, build_config
from revgn.store import Run
from revgn.training import Problem, build_problem, load_data


def problem_of(run: Run) -> Problem:
    """Return the problem that the run trains on, from its settings and its data.

    Raises
    ------
    RunError
        If the data are not those that the run was started with.
    """
    config = build_config(run.config)
    return build_problem(config, same_data(config, run.attributes["data_sha256"]))


def same_data(config: Config, checksum: str) -> Dataset:
    dataset = load_data(config)
    if dataset.checksum != checksum:
        raise RunError(
            f"{config.data.name}: the data are not those of the run "
            f"(SHA-256 {dataset.checksum[:12]}... instead of {checksum[:12]}...)"
        )
    return dataset
