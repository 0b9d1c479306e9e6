"""Provenance of a run: settings, machine, data and versions at its start."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from revgn.arrays import Backend, Cuda, describe_cuda, device_name
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
    """Return the provenance of a run that trains `problem` on this machine."""
    config, cuda = problem.config, describe_cuda() if problem.backend.name == "cupy" else None
    return Provenance(
        title=f"{_optimizers(problem.optimizer)} on {problem.dataset.name}",
        command=command,
        config=config_dict(config),
        config_toml=config_toml(config),
        seed=config.training.seed,
        backend=problem.backend.name,
        device=_device(problem.backend, cuda),
        dtype=config.training.dtype,
        data_name=problem.dataset.name,
        data_sha256=problem.dataset.checksum,
        versions=_versions(cuda),
        references=REFERENCES,
        image_shape=problem.dataset.image_shape,
    )


def _device(backend: Backend, cuda: Cuda | None) -> str:
    """Return the name of the processor; for a GPU also memory, compute capability and float32 precision."""
    if cuda is None:
        return device_name(backend)
    gpu = cuda.gpus[backend.device.id]
    products = "TF32 allowed" if cuda.tf32 else "no TF32"
    memory = f"{gpu.memory_total / 1e9:.1f} GB"
    return f"{gpu.name}, {memory}, compute capability {gpu.compute_capability}, {products}"


def _versions(cuda: Cuda | None) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if cuda is not None:
        found |= {"cupy": cuda.cupy, "cuda-runtime": cuda.runtime, "nvidia-driver": cuda.driver or "unknown"}
    return found


def _optimizers(optimizer: Optimizer) -> str:
    """Return the kinds of an optimizer and its inner ones, such as "orthogonalized gauss-newton"."""
    kinds = [kind_of(part) for part in parts_of(optimizer) if part is not None]
    return " ".join([kinds[0], *(kind for kind in kinds[1:] if kind in FAMILIES["optimizer"])])
