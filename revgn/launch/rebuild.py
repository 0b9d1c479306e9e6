"""The trained network of a run, from a checkpoint."""

from pathlib import Path
from typing import Literal, NamedTuple

from revgn.arrays import BackendName
from revgn.data import Interface
from revgn.data.dataset import HostArray
from revgn.errors import RunError, UsageError
from revgn.launch.problem import model_of_run
from revgn.losses import Loss
from revgn.networks import ChainParams, Network
from revgn.store.checkpoint import Checkpoint, best_checkpoint, latest_checkpoint, load_checkpoint
from revgn.store.names import Weights, checkpoint_path
from revgn.store.reader import Run, as_run
from revgn.training import Problem, restore_average, restore_weights
from revgn.training.state import Drawn

Step = int | Literal["last", "best"]


class RunNetwork(NamedTuple):
    """A trained network with its loss, and with the interface that gives inputs and outputs their meaning.

    For raw inputs x (n, d), the input of the network is (x - shift) * scale. If the targets were
    standardized, an output z corresponds to the prediction z / target_scale + target_shift.
    """

    network: Network
    params: ChainParams
    loss: Loss
    interface: Interface
    step: int

    @property
    def shift(self) -> HostArray:
        """Subtracted from the inputs, (d,) float64."""
        return self.interface.shift

    @property
    def scale(self) -> HostArray:
        """Factor of the inputs, (d,)."""
        return self.interface.scale

    @property
    def target_shift(self) -> HostArray | None:
        """Subtracted from the targets, (c,); None if the targets were not standardized."""
        return self.interface.target_shift

    @property
    def target_scale(self) -> HostArray | None:
        """Factor of the targets, (c,)."""
        return self.interface.target_scale


def rebuild(
    run: Run | Path | str,
    step: Step = "last",
    weights: Weights = "raw",
    problem: Problem | None = None,
    backend: BackendName = "numpy",
) -> RunNetwork:
    """Return the network of a run after `step` steps, on `backend` or on the backend of `problem`.

    The data of the run are not needed. For runs before version 0.2, which lack the file network.h5, they are
    needed, and the frozen arrays are drawn again from the seed.

    Parameters
    ----------
    run : Run or path
        The run, or its folder.
    step : int or {"last", "best"}
        Step of the checkpoint; "last" is the newest checkpoint, "best" the one with the best score.
    weights : {"raw", "average"}
        Raw weights, or averaged weights.
    problem : Problem or None
        The problem of a run that was started with a `Problem`.
    backend : {"numpy", "cupy"}
        Array library.

    Raises
    ------
    RunError
        If there is no such checkpoint, it is damaged, or the network cannot be built in this version.
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
    >>> trained = revgn.rebuild("runs/first", "best")
    >>> x = (revgn.load_dataset("digits").test.inputs - trained.shift) * trained.scale
    >>> revgn.forward(trained.network, trained.params, x.astype("float32")).shape
    (360, 10)
    """
    run = as_run(run)
    model = model_of_run(run, problem, backend)
    at, params = weights_of(run, model, step, weights)
    return RunNetwork(model.network, params, model.loss, model.interface, at)


def weights_of(run: Run, of: Drawn, step: Step = "last", weights: Weights = "raw") -> tuple[int, ChainParams]:
    """Return the step of the requested checkpoint and its weights; raises the errors of `rebuild`."""
    checkpoint = _checkpoint(run, step, weights)
    restore = restore_average if weights == "average" else restore_weights
    params = restore(of, checkpoint.arrays)
    if params is None:
        raise UsageError(f"{run.folder}: the checkpoint of step {checkpoint.step} has no averaged weights")
    return checkpoint.step, params


def _checkpoint(run: Run, step: Step, weights: Weights) -> Checkpoint:
    if step == "last":
        return latest_checkpoint(run.folder)[0]
    if step == "best":
        return best_checkpoint(run.folder, weights)
    if step not in run.checkpoints:
        there = ", ".join(map(str, run.checkpoints)) or "none"
        raise RunError(f"{run.folder}: has no checkpoint of step {step}; available: {there}")
    return load_checkpoint(checkpoint_path(run.folder, int(step)))
