"""The optimizers whose runs on a GPU are compared: every kind of them, every kind of solver and wrapper."""

from steps_of_paper import steps

_DIRECTION = steps()["momentum"]

OPTIMIZERS = steps() | {
    "lbfgs": {"kind": "lbfgs", "history": 3},
    "levenberg-marquardt": {
        "kind": "levenberg-marquardt",
        "inner": {"lr": 0.3, "curvature": "exact"},
        "lowest": 0.5,
    },
    "paced": {
        "kind": "paced",
        "inner": _DIRECTION | {"weight_decay": 0.01},
        "length": {"kind": "backtracking"},
        "trust_radius": 0.5,
    },
    "blend": {"kind": "blend", "first": _DIRECTION, "second": {"kind": "adam"}},
    "switch": {"kind": "switch", "first": {"kind": "adam"}, "second": _DIRECTION, "switch_at": 5},
}
