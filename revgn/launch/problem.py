"""The training problem of a stored run, rebuilt from its settings and data."""

from dataclasses import replace

from revgn.arrays import BackendName
from revgn.errors import RunError
from revgn.settings import Config, build_config
from revgn.store import Run
from revgn.training import Problem, build_problem, load_data


def problem_of(
    run: Run,
    own: Problem | Config | None = None,
    *,
    optimizer: bool = True,
    backend: BackendName | None = None,
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

    Raises
    ------
    RunError
        If the data differ from the data of the run.
    """
    if isinstance(own, Problem):
        config, dataset = own.config, own.dataset
    else:
        settings = run.config if optimizer else {k: v for k, v in run.config.items() if k != "optimizer"}
        config = own or build_config(settings)
        if backend is not None:
            config = replace(config, training=replace(config.training, backend=backend))
        dataset = load_data(config)
    checksum = run.attributes["data_sha256"]
    if dataset.checksum != checksum:
        raise RunError(
            f"{config.data.name}: the data differ from the data of the run "
            f"(SHA-256 {dataset.checksum[:12]}... instead of {checksum[:12]}...)"
        )
    return own if isinstance(own, Problem) else build_problem(config, dataset)
