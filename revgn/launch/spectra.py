"""The tangent kernel's spectrum of a run, at its newest checkpoint."""

import numpy as np
from numpy.typing import NDArray

from revgn.data import take_batch
from revgn.errors import UsageError
from revgn.launch.problem import problem_of
from revgn.measures import spectrum
from revgn.settings import build_config
from revgn.solvers import jacobian, tangent_kernel
from revgn.store.checkpoint import latest_checkpoint
from revgn.store.reader import Run
from revgn.training import restore_weights


def run_spectrum(run: Run) -> NDArray[np.float64]:
    """Return the eigenvalues, the largest first, on the test rows that the run was analysed on.

    Raises
    ------
    UsageError
        If it was not (`training.analyse_rows`).
    RunError
        If there is no checkpoint, or the data are not those of the run.
    """
    rows = build_config(run.config).training.analyse_rows
    if rows is None:
        raise UsageError(f"{run.folder}: was not analysed; a spectrum needs a run with --analyse")
    problem = problem_of(run, optimizer=False)
    params = restore_weights(problem, latest_checkpoint(run.folder)[0].arrays)
    x, _ = take_batch(problem.dataset, problem.dataset.test, slice(0, rows), problem.backend, problem.dtype)
    return spectrum(tangent_kernel(jacobian(problem.network, params, x)[1])).eigenvalues
