"""Set-ups by name: small networks that train well, and the set-ups of Buffelli et al. 2024, section 5.

    mlp              trained projections, for any data
    revnet-small     two stages of convolutions, for small images such as the digits; seconds
    revnet-cifar10   two stages of convolutions, for CIFAR-10, with augmentation
    paper-...        network, data, batch size and block step of the paper
    plain            the fixed defaults

With any preset, no default is chosen from the data (`revgn.training.choices`).

In the set-ups of the paper, let L be the number of blocks. The step in the code of the paper is L times the
block step of this package. The paper's learning rates of 0.1 (mini-batches) and 0.5 (full batch) are
therefore 0.1 L and 0.5 L here.
"""

from typing import Any

from revgn.linalg import PAPER_RULE
from revgn.networks import REFERENCE

Table = dict[str, Any]


def _one_row(lr: float, damping: float, momentum: float) -> Table:
    """Return the exact step with one constrained row per sample."""
    solver = {"kind": "minimum-norm", "rows": 1, "damping": damping}
    return {"kind": "gauss-newton", "lr": lr, "momentum": momentum, "solver": solver}


def _training(batch_size: int, epochs: int) -> Table:
    return {"batch_size": batch_size, "epochs": epochs, "schedule": {"kind": "cosine"}}


def _paper(name: str, lr: float, **data: Any) -> Table:
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


PRESETS: dict[str, Table] = {
    "plain": {},
    "mlp": {
        "network": {"kind": "dense", "blocks": 2, "hidden": 256, "projection": "trained", "init_scale": 0.02},
        "optimizer": _one_row(1.0, damping=0.1, momentum=0.9),
        "training": _training(128, 5),
    },
    "revnet-small": {
        "network": {"kind": "convolutional", "channels": 16, "blocks": [1, 1], "hidden": [32, 64]},
        "optimizer": _one_row(0.3, damping=0.1, momentum=0.9),
        "training": _training(64, 5),
    },
    "revnet-cifar10": {
        "network": {"kind": "convolutional", "channels": 32, "blocks": [2, 2], "hidden": [96, 192]},
        "optimizer": {"kind": "orthogonalized"},
        "training": _training(128, 10),
        "data": {"name": "cifar10", "augmentation": "pad-crop-flip"},
    },
    **{name: _paper(name, 0.1) for name in REFERENCE},
    **{f"{name}-full-batch": _paper(name, 0.5, subset=1024) for name in ("paper-mnist", "paper-cifar10")},
}
