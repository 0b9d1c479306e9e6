"""CuPy and CUDA versions and the GPUs of this machine."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from revgn.arrays.namespace import cupy_absence


@dataclass(frozen=True, slots=True)
class Gpu:
    """Name, compute capability and memory in bytes of one GPU."""

    name: str
    compute_capability: str
    memory_free: int
    memory_total: int


@dataclass(frozen=True, slots=True)
class Cuda:
    """Versions of CuPy, CUDA and the driver, the precision of float32 products, and the GPUs."""

    cupy: str
    runtime: str  # version of the CUDA libraries that CuPy uses
    driver_cuda: str  # newest CUDA version that the driver supports
    driver: str | None  # None if nvidia-smi does not report it
    tf32: bool
    gpus: tuple[Gpu, ...]


def describe_cuda() -> Cuda | None:
    """Return the versions and GPUs that CuPy finds; None if CuPy cannot be used.

    Notes
    -----
    CuPy multiplies float32 matrices in float32 by default. If the environment variable CUPY_TF32 is positive,
    it uses TF32, which keeps 10 bits of the mantissa of each factor instead of 23. NVIDIA_TF32_OVERRIDE=0
    disables TF32 in any case.
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
    """Convert CUDA's version number to text: 13010 to 13.1."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> str | None:
    """Version of the NVIDIA driver from nvidia-smi, since CUDA does not report it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return found[0] if found else None
