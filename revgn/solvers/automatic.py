"""Automatic choice of the faster minimum-norm solver, made before training; see `revgn.training.estimate`."""

from revgn.solvers.conjugate_gradients import TOLERANCE
from revgn.solvers.damping import DAMPING, DAMPING_UNIT, DampingUnit
from revgn.solvers.minimum_norm import _MEMORY, _OUTPUTS, Outputs, bytes_setting
from revgn.solvers.rows import ROWS, Rows
from revgn.structs import setting, struct


@struct
class Automatic:
    """Choice between `MinimumNorm` and `ConjugateGradients`: the one that is estimated to be faster.

    `Automatic` is not itself a solver. It is replaced by the chosen solver before training.
    """

    damping: float = setting(DAMPING, default=0.0, ge=0, resumable=True, chosen=True)
    outputs: Outputs = setting(_OUTPUTS, default="logits", chosen=True)
    rows: Rows = setting(ROWS, default="all", ge=1, chosen=True)
    memory: int | None = bytes_setting(_MEMORY)
    tolerance: float = setting(TOLERANCE, default=1e-3, gt=0, lt=1)
    damping_unit: DampingUnit = setting(DAMPING_UNIT, default="relative", resumable=True)
