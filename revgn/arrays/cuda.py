"""Versions and GPUs that CuPy finds on this machine."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from revgn.arrays.namespace import cupy_absence


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, with its memory in bytes."""

    name: str
    compute_capability: str
    memory_free: int
    memory_total: int


@dataclass(frozen=True, slots=True)
class Cuda:
    """Versions of CuPy and of the software below it, precision of float32 products, and the GPUs."""

    cupy: str
    runtime: str  # of the CUDA libraries that CuPy uses
    driver_cuda: str  # the newest CUDA that the driver supports
    driver: str | None  # None: nvidia-smi does not tell
    tf32: bool
    gpus: tuple[Gpu, ...]


def describe_cuda() -> Cuda | None:
    """Return what CuPy finds here; None where it cannot be used.

    Notes
    -----
    CuPy multiplies float32 matrices in float32, unless the environment variable CUPY_TF32 is positive: TF32
    keeps 10 bits of each factor instead of 23. NVIDIA_TF32_OVERRIDE=0 overrules it.
    """
    if cupy_absence() is not None:
        return None
    import cupy

    runtime = cupy.cuda.runtime
    gpus = []
    for number in range(runtime.getDeviceCount()):
        about = runtime.getDeviceProperties(number)
        with cupy.cuda.Device(number):
            free, total = runtime.memGetInfo()
        gpus.append(Gpu(about["name"].decode(), f"{about['major']}.{about['minor']}", int(free), int(total)))
    allowed = int(os.environ.get("CUPY_TF32", "0")) > 0
    return Cuda(
        cupy=cupy.__version__,
        runtime=_version(runtime.runtimeGetVersion()),
        driver_cuda=_version(runtime.driverGetVersion()),
        driver=_driver(),
        tf32=allowed and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0",
        gpus=tuple(gpus),
    )


def _version(number: int) -> str:
    """Version in words of CUDA's number for it: 13.1 for 13010."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> str | None:
    """Version of NVIDIA's driver, which CUDA itself does not tell."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return found[0] if found else None
