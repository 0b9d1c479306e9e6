"""What is known of a run when it starts: settings, machine, data, versions."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from revgn.arrays import device_name
from revgn.optimizers import Optimizer
from revgn.settings import FAMILIES, config_dict, config_toml, kind_of, parts_of
from revgn.store import Provenance
from revgn.training import Problem

PACKAGES = ("revgn", "numpy", "scipy", "h5py", "cupy", "cupy-cuda12x", "cupy-cuda13x")
REFERENCES = (
    "Buffelli et al., Exact, Tractable Gauss-Newton Optimization in Deep Reversible Architectures "
    "Reveal Poor Generalization, NeurIPS 2024, arXiv 2411.07979"
)


def provenance(problem: Problem, command: str) -> Provenance:
    config = problem.config
    return Provenance(
        title=f"{_optimizers(problem.optimizer)} on {problem.dataset.name}",
        command=command,
        config=config_dict(config),
        config_toml=config_toml(config),
        seed=config.training.seed,
        backend=problem.backend.name,
        device=device_name(problem.backend),
        dtype=config.training.dtype,
        data_name=problem.dataset.name,
        data_sha256=problem.dataset.checksum,
        versions=_versions(),
        references=REFERENCES,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _optimizers(optimizer: Optimizer) -> str:
    """Return the kinds of an optimizer and those within it: "orthogonalized gauss-newton"."""
    kinds = [kind_of(part) for part in parts_of(optimizer) if part is not None]
    return " ".join([kinds[0], *(kind for kind in kinds[1:] if kind in FAMILIES["optimizer"])])
