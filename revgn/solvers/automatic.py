"""The faster of the minimum norm's solvers on this machine, chosen before training; see `revgn.training`."""

from revgn.solvers.minimum_norm import _DAMPING, _OUTPUTS, Outputs, bytes_setting
from revgn.solvers.rows import ROWS, Rows
from revgn.structs import setting, struct


@struct
class Automatic:
    """`MinimumNorm` or `ConjugateGradients`: a choice to be made, not a solver."""

    damping: float = setting(_DAMPING, default=0.0, ge=0, resumable=True)
    outputs: Outputs = setting(_OUTPUTS, default="logits")
    rows: Rows = setting(ROWS, default="all", ge=1)
    memory: int | None = bytes_setting(
        "Memory for the solver in bytes, such as 4GB; by default half of the machine's."
    )
    tolerance: float = setting(
        "Relative residual at which conjugate gradients end, if chosen.", default=1e-3, gt=0, lt=1
    )
