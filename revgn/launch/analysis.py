"""Finished runs analysed at their checkpoints, as `--analyse-rows` does during training."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from revgn.analysis import cka, spectrum
from revgn.arrays import to_host
from revgn.errors import UsageError
from revgn.launch.problem import problem_of
from revgn.launch.rebuild import weights_of
from revgn.maps import forward
from revgn.settings import build_config
from revgn.solvers import jacobian, tangent_kernel
from revgn.store.checkpoint import load_checkpoint
from revgn.store.names import checkpoint_path
from revgn.store.reader import Run
from revgn.training import analyse, restore_state, start_probe
from revgn.training.batches import test_rows
from revgn.training.step import Record


def analyse_run(run: Run, rows: int = 100, probes: int = 0) -> dict[int, Record]:
    """Return what `revgn.training.analyse` measures at each checkpoint that there is, by its step.

    What lies ahead is measured as though the run were to go on. With `probes` random vectors kernels are
    estimated, not formed.

    Raises
    ------
    UsageError
        If there are fewer than four rows, or less than no probes.
    RunError
        If a checkpoint is damaged, or the data are not those of the run.
    """
    if rows < 4:
        raise UsageError(f"rows: {rows} are too few; expected at least 4")
    if probes < 0:
        raise UsageError(f"probes: {probes} is negative")
    problem = problem_of(run)
    probe = start_probe(problem, rows, probes)
    found = {}
    for step in run.checkpoints:
        checkpoint = load_checkpoint(checkpoint_path(run.folder, step))
        state = restore_state(problem, checkpoint.arrays)
        further = replace(problem, total_steps=max(problem.total_steps, step + 2))
        found[step] = analyse(further, state, probe)
    return found


def output_similarity(runs: Sequence[Run], rows: int = 100) -> dict[tuple[str, str], float]:
    """Return the unbiased CKA between the outputs of each two runs, on the first test rows, by their folders.

    Raises
    ------
    UsageError
        If their data differ.
    """
    sums = {run.attributes["data_sha256"] for run in runs}
    if len(sums) > 1:
        raise UsageError("output_similarity: the runs are not of the same data")
    outputs = {}
    for run in runs:
        problem = problem_of(run, optimizer=False)
        z = forward(problem.network, weights_of(run, problem)[1], test_rows(problem, rows)[0])
        outputs[str(run.folder)] = np.asarray(to_host(z), dtype=np.float64)
    return {(a, b): cka(outputs[a], outputs[b]) for a, b in combinations(outputs, 2)}


def run_spectrum(run: Run) -> NDArray[np.float64]:
    """Return the eigenvalues of the tangent kernel at the newest checkpoint, the largest first.

    Raises
    ------
    UsageError
        If the run was not analysed (`training.analyse_rows`), which says on what rows.
    RunError
        If there is no checkpoint, or the data are not those of the run.
    """
    rows = build_config(run.config).training.analyse_rows
    if rows is None:
        raise UsageError(f"{run.folder}: was not analysed; a spectrum needs a run with --analyse-rows")
    problem = problem_of(run, optimizer=False)
    _, J = jacobian(problem.network, weights_of(run, problem)[1], test_rows(problem, rows)[0])
    return spectrum(tangent_kernel(J)).eigenvalues
