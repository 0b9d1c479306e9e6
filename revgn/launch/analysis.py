"""Analysis of stored runs at their checkpoints, with the same quantities as `--analyse-rows` in training."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from revgn.analysis import cka, spectrum
from revgn.arrays import to_host
from revgn.errors import RunError, UsageError
from revgn.launch.problem import ROUNDING, is_own, problem_of, redraw_difference
from revgn.launch.rebuild import weights_of
from revgn.maps import forward
from revgn.settings import build_config
from revgn.solvers import jacobian, tangent_kernel
from revgn.store.checkpoint import load_checkpoint
from revgn.store.names import checkpoint_path
from revgn.store.reader import Run, as_run
from revgn.training import analyse, restore_state, start_probe
from revgn.training.batches import test_rows
from revgn.training.step import Record


def analyse_run(
    run: Run | Path | str,
    rows: int = 100,
    probes: int = 0,
    data: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[int, Record]:
    """Return the quantities of `revgn.training.analyse` for each checkpoint, by its step.

    Parameters
    ----------
    run : Run or path
        The run, or its folder.
    rows : int
        Number of test rows.
    probes : int
        Number of random vectors with which kernels are estimated; 0 computes kernels exactly.
    data : str or None
        Current path of the data file, if it is not where it was during training.
    note : callable
        Called with a message if the test set has fewer than `rows` rows.

    Notes
    -----
    Quantities of the next step are measured as if the run were continued.

    Raises
    ------
    UsageError
        If `rows` is less than 4, or `probes` is negative.
    RunError
        If a checkpoint is damaged, the data differ from the data of the run, or its initial weights cannot be
        drawn again by this version of NumPy.
    DataError
        If the data are not found.
    """
    if rows < 4:
        raise UsageError(f"rows: {rows} are too few; expected at least 4")
    if probes < 0:
        raise UsageError(f"probes: {probes} is negative")
    run = as_run(run)
    if not is_own(run) and (redraw_difference(run) or 0.0) > ROUNDING:
        numpy = run.attributes.get("version.numpy", "another version")
        raise RunError(
            f"{run.folder}: its initial weights cannot be drawn again: the random numbers here (NumPy "
            f"{np.__version__}) differ from the run (NumPy {numpy})"
        )
    problem = problem_of(run, data=data)
    if rows > (present := problem.dataset.test.inputs.shape[0]):
        note(f"{run.folder}: the test set has only {present} rows, which are all used")
    probe = start_probe(problem, rows, probes)
    found = {}
    for step in run.checkpoints:
        checkpoint = load_checkpoint(checkpoint_path(run.folder, step))
        state = restore_state(problem, checkpoint.arrays)
        found[step] = analyse(problem, state, probe)
    return found


def output_similarity(
    runs: Sequence[Run], rows: int = 100, data: str | None = None
) -> dict[tuple[str, str], float]:
    """Return the unbiased CKA between the outputs of each pair of runs on the first test rows.

    The keys of the result are pairs of run folders. Pairs of runs on different data are left out.
    """
    outputs = {}
    for run in runs:
        problem = problem_of(run, optimizer=False, data=data)
        z = forward(problem.network, weights_of(run, problem)[1], test_rows(problem, rows)[0])
        outputs[str(run.folder)] = np.asarray(to_host(z), dtype=np.float64)
    sums = {str(run.folder): run.attributes["data_sha256"] for run in runs}
    return {(a, b): cka(outputs[a], outputs[b]) for a, b in combinations(outputs, 2) if sums[a] == sums[b]}


def run_spectrum(run: Run | Path | str) -> NDArray[np.float64]:
    """Return the eigenvalues of the tangent kernel at the newest checkpoint, the largest first.

    Parameters
    ----------
    run : Run or path
        The run, or its folder.

    Raises
    ------
    UsageError
        If the run was trained without `training.analyse_rows`, which sets the number of test rows.
    RunError
        If there is no checkpoint, or the data differ from the data of the run.
    DataError
        If the data are not found.
    """
    run = as_run(run)
    rows = build_config(run.config).training.analyse_rows
    if rows is None:
        raise UsageError(f"{run.folder}: was trained without --analyse-rows, which a spectrum requires")
    problem = problem_of(run, optimizer=False)
    _, J = jacobian(problem.network, weights_of(run, problem)[1], test_rows(problem, rows)[0])
    return spectrum(tangent_kernel(J)).eigenvalues
