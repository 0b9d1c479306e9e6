"""The set-ups of Buffelli et al. 2024, section 5, by name: network, data, batch size and block step.

Let L be the number of blocks. The step in the code of the paper is L times the block step of this package.
The paper's learning rates of 0.1 (mini-batches) and 0.5 (full batch) are therefore 0.1 L and 0.5 L here.
"""

from typing import Any

from revgn.linalg import PAPER_RULE
from revgn.networks import REFERENCE


def _preset(name: str, lr: float, **data: Any) -> dict[str, Any]:
    shape = REFERENCE[name]
    solver = {
        "kind": "block",
        "block_weights": "uniform",
        "rtol": PAPER_RULE.rtol,
        "atol": PAPER_RULE.atol,
    }
    own = {"name": "cifar10", "augmentation": "resized-crop"} if "cifar" in name else {"name": "mnist"}
    return {
        "network": {"blocks": shape.blocks, "hidden": shape.hidden, "first_block": shape.first_block},
        "training": {"batch_size": "full" if data else 1024, "epochs": 100},
        "data": own | data,
        "optimizer": {"kind": "gauss-newton", "lr": round(lr * shape.blocks, 9), "solver": solver},
    }


PRESETS: dict[str, dict[str, Any]] = {name: _preset(name, 0.1) for name in REFERENCE} | {
    f"{name}-full-batch": _preset(name, 0.5, subset=1024) for name in ("paper-mnist", "paper-cifar10")
}
