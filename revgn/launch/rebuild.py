"""Rebuilding the network of a run from a checkpoint."""

from typing import Literal, NamedTuple

from revgn.arrays import BackendName
from revgn.data.dataset import HostArray
from revgn.errors import RunError, UsageError
from revgn.launch.problem import problem_of
from revgn.networks import ChainParams, Network
from revgn.store.checkpoint import Checkpoint, best_checkpoint, latest_checkpoint, load_checkpoint
from revgn.store.names import Weights, checkpoint_path
from revgn.store.reader import Run
from revgn.training import Problem, restore_average, restore_weights


class RunNetwork(NamedTuple):
    """A trained network with the normalization of its data.

    For raw inputs x (n, d), the input of the network is (x - shift) * scale. If the targets were
    standardized, an output z corresponds to the prediction z / target_scale + target_shift.
    """

    network: Network
    params: ChainParams
    shift: HostArray  # (d,) float64
    scale: HostArray  # (d,)
    step: int
    target_shift: HostArray | None  # (c,) float64; None: targets were not standardized
    target_scale: HostArray | None  # (c,)


def rebuild(
    run: Run,
    step: int | Literal["last", "best"] = "last",
    weights: Weights = "raw",
    problem: Problem | None = None,
    backend: BackendName = "numpy",
) -> RunNetwork:
    """Return the network of a run after `step` steps, on `backend` or on the backend of `problem`.

    The frozen arrays of the network are drawn again from the seed. The data of the run must still be
    available, since they determine the number of inputs and their normalization.

    Raises
    ------
    RunError
        If there is no such checkpoint, it is damaged, or the data differ from the data of the run.
    UsageError
        If there are no averaged weights.
    BackendError
        If the backend does not work on this machine.

    Notes
    -----
    Law: forward(network, params, (x - shift) * scale) is the output in the evaluations of the run.

    Examples
    --------
    >>> import revgn
    >>> trained = revgn.rebuild(revgn.open_run("runs/first"), "best")
    >>> x = (revgn.load_dataset("digits").test.inputs - trained.shift) * trained.scale
    >>> revgn.forward(trained.network, trained.params, x.astype("float32")).shape
    (360, 10)
    """
    problem = problem_of(run, problem, optimizer=False, backend=backend)
    at, params = weights_of(run, problem, step, weights)
    dataset = problem.dataset
    return RunNetwork(
        problem.network,
        params,
        dataset.shift,
        dataset.scale,
        at,
        dataset.target_shift,
        dataset.target_scale,
    )


def weights_of(
    run: Run, problem: Problem, step: int | Literal["last", "best"] = "last", weights: Weights = "raw"
) -> tuple[int, ChainParams]:
    """Return the step of the requested checkpoint and its weights; raises the errors of `rebuild`."""
    checkpoint = _checkpoint(run, step, weights)
    restore = restore_average if weights == "average" else restore_weights
    params = restore(problem, checkpoint.arrays)
    if params is None:
        raise UsageError(f"{run.folder}: the checkpoint of step {checkpoint.step} has no averaged weights")
    return checkpoint.step, params


def _checkpoint(run: Run, step: int | str, weights: Weights) -> Checkpoint:
    if step == "last":
        return latest_checkpoint(run.folder)[0]
    if step == "best":
        return best_checkpoint(run.folder, weights)
    if step not in run.checkpoints:
        there = ", ".join(map(str, run.checkpoints)) or "none"
        raise RunError(f"{run.folder}: has no checkpoint of step {step}; available: {there}")
    return load_checkpoint(checkpoint_path(run.folder, int(step)))
