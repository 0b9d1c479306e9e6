"""CUDA itself, with one GPU."""

from typing import Any

from .._memory import POOL

_MEMORY = 80 << 30


class CUDARuntimeError(RuntimeError):
    pass


def getDeviceCount() -> int:
    return 1


def getDevice() -> int:
    return 0


def getDeviceProperties(device: int) -> dict[str, Any]:
    return {
        "name": b"CuPy's stand-in",
        "major": 9,
        "minor": 0,
        "totalGlobalMem": _MEMORY,
        "multiProcessorCount": 132,
        "sharedMemPerBlock": 49152,
        "maxThreadsPerBlock": 1024,
    }


def memGetInfo() -> tuple[int, int]:
    return _MEMORY - POOL.total_bytes(), _MEMORY


def runtimeGetVersion() -> int:
    return 13000


def driverGetVersion() -> int:
    return 13010
