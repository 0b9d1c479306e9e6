"""The problem that a run trains on, from its settings and its data."""

from revgn.data import Dataset
from revgn.errors import RunError
from revgn.settings import Config, build_config
from revgn.store import Run
from revgn.training import Problem, build_problem, load_data


def problem_of(run: Run) -> Problem:
    """Return the problem that the run trains on.

    Raises
    ------
    RunError
        If the data are not those that the run was started with.
    UsageError
        If this version lacks its optimizer, or the run has a network, loss or optimizer of the user's own.
    """
    return _built(run, build_config(run.config))


def evaluation_problem(run: Run) -> Problem:
    """Return the problem of the run with an optimizer that keeps no state.

    The weights of any checkpoint can be restored with it, also those of an optimizer that this version lacks.

    Raises
    ------
    RunError
        If the data are not those that the run was started with.
    UsageError
        If the run has a network or loss of the user's own.
    """
    return _built(run, build_config({**run.config, "optimizer": {"kind": "sgd"}}))


def same_data(config: Config, checksum: str) -> Dataset:
    """Load the data of a configuration; `RunError` if their checksum is another one."""
    dataset = load_data(config)
    if dataset.checksum != checksum:
        raise RunError(
            f"{config.data.name}: the data are not those of the run "
            f"(SHA-256 {dataset.checksum[:12]}... instead of {checksum[:12]}...)"
        )
    return dataset


def _built(run: Run, config: Config) -> Problem:
    return build_problem(config, same_data(config, run.attributes["data_sha256"]))
