"""Automatic choice of the faster minimum-norm solver, made before training; see `revgn.training.estimate`."""

from revgn.solvers.conjugate_gradients import TOLERANCE
from revgn.solvers.damping import DAMPING, DAMPING_UNIT, DampingUnit
from revgn.solvers.outputs import OUTPUTS, Outputs
from revgn.solvers.rows import ROWS, Rows
from revgn.solvers.tiled_kernel import memory_setting
from revgn.structs import setting, struct


@struct
class Automatic:
    """Choice between `MinimumNorm` and `ConjugateGradients`: the one that is estimated to be faster.

    `Automatic` is not itself a solver. It is replaced by the chosen solver before training.
    """

    damping: float = setting(DAMPING, default=0.0, ge=0, resumable=True, chosen=True)
    outputs: Outputs = setting(OUTPUTS, default="logits", chosen=True)
    rows: Rows = setting(ROWS, default="all", ge=1, chosen=True)
    memory: int | None = memory_setting()
    tolerance: float = setting(TOLERANCE, default=1e-3, gt=0, lt=1)
    damping_unit: DampingUnit = setting(DAMPING_UNIT, default="relative", resumable=True)
