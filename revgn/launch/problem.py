"""The problem that a run trains on, from its settings and its data."""

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
    """Return the problem that a run trains on, from its settings and its data.

    `own` is the problem itself, for a run of the user's own network, loss or optimizer, or changed settings.
    Without `optimizer` the run may be one of an optimizer that was removed. A `backend` replaces
    the run's, unless the problem itself is given. Data other than those of the run raise `RunError`.
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
            f"{config.data.name}: the data are not those of the run "
            f"(SHA-256 {dataset.checksum[:12]}... instead of {checksum[:12]}...)"
        )
    return own if isinstance(own, Problem) else build_problem(config, dataset)
