"""The structs that a configuration can choose, by family and kind.

A new optimizer, solver, schedule or loss is registered here in one line; `register` adds a user's own.
"""

from typing import Any

from revgn import losses, networks, optimizers, solvers
from revgn.settings.config import Exponential, Tail
from revgn.structs import settings_of

FAMILIES: dict[str, dict[str, type]] = {
    "network": {"dense": networks.Architecture, "convolutional": networks.Convolutional},
    "optimizer": {
        "gauss-newton": optimizers.GaussNewton,
        "sgd": optimizers.SGD,
        "adam": optimizers.Adam,
        "muon": optimizers.Muon,
        "soap": optimizers.SOAP,
        "kfac": optimizers.KFAC,
        "lbfgs": optimizers.LBFGS,
        "levenberg-marquardt": optimizers.LevenbergMarquardt,
        "orthogonalized": optimizers.Orthogonalized,
        "paced": optimizers.Paced,
        "blend": optimizers.Blend,
        "switch": optimizers.Switch,
    },
    "solver": {
        "minimum-norm": solvers.MinimumNorm,
        "block": solvers.BlockWise,
        "cg": solvers.ConjugateGradients,
        "auto": solvers.Automatic,
    },
    "metric": {"features": optimizers.FeatureMetric},
    "preconditioner": {"blocks": solvers.Blocks},
    "length": {"backtracking": optimizers.Backtracking},
    "schedule": {"constant": optimizers.Constant, "cosine": optimizers.Cosine, "step": optimizers.StepDecay},
    "average": {"exponential": Exponential, "tail": Tail},
    "loss": {"cross-entropy": losses.CrossEntropy, "squared-error": losses.SquaredError},
}


RENAMED_KINDS = {("network", "couplings"): "dense"}
OWN = "own"  # the kind of a struct that is not registered


def register(family: str, kind: str, struct: type) -> None:
    """Register a struct of the user's own under a family and a kind, for use in configurations."""
    FAMILIES[family][kind] = struct


def kind_of(value: Any) -> str:
    """Return the kind of a struct or of its class; "own" if it is not registered."""
    known = {struct: kind for kinds in FAMILIES.values() for kind, struct in kinds.items()}
    return known.get(value if isinstance(value, type) else type(value), OWN)


def family_of(struct: type) -> str | None:
    """Return the family of a registered struct, else None."""
    return next((family for family, kinds in FAMILIES.items() if struct in kinds.values()), None)


def holders(family: str, name: str) -> list[str]:
    """Return the kinds of a family that have a field, as text: "gauss-newton's solvers", "kfac"."""
    found = []
    for kind, struct in FAMILIES[family].items():
        for of in settings_of(struct):
            if of.name == name:
                found.append(kind)
            elif of.family not in (None, family) and (inner := holders(str(of.family), name)):
                is_all = inner == list(FAMILIES[str(of.family)])
                which = "s" if is_all else f" {' or '.join(inner)}"
                found.append(f"{kind}'s {of.family}{which}")
    return found
