"""Library and device of an array, and transfers between host and device."""

import importlib
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import array_api_compat
import array_api_compat.numpy
import numpy as np

from revgn.arrays.typing import Array, Device, DType, Namespace
from revgn.errors import BackendError, UsageError

BackendName = Literal["auto", "numpy", "cupy"]

_CONTAINER = Path("/sys/fs/cgroup/memory.max")  # Linux: memory limit of a container


def array_namespace(*arrays: Any) -> Namespace:
    """Return the module of array functions that all `arrays` share.

    Raises
    ------
    BackendError
        If the arrays belong to different libraries, or an argument is not an array.

    Examples
    --------
    >>> import numpy as np
    >>> array_namespace(np.zeros(2), np.ones(3)).__name__
    'array_api_compat.numpy'
    """
    xp: Namespace | None = _namespace_of(type(arrays[0])) if arrays else None  # type: ignore[arg-type]
    if xp is not None and all(_namespace_of(type(x)) is xp for x in arrays[1:]):  # type: ignore[arg-type]
        return xp
    try:
        xp = array_api_compat.array_namespace(*arrays)
    except TypeError:
        kinds = sorted({f"{type(x).__module__}.{type(x).__name__}" for x in arrays})
        raise BackendError(
            f"array_namespace: got {', '.join(kinds)}; all arrays of a call must come from one library"
        ) from None
    return xp


@cache
def _namespace_of(kind: Any) -> Namespace | None:
    """Return the namespace of all arrays of a type; None if it depends on the array."""
    if issubclass(kind, np.ndarray):
        return cast("Namespace", array_api_compat.numpy)
    library = kind.__module__.partition(".")[0]
    if (library, kind.__name__) == ("cupy", "ndarray"):  # cupy.ndarray itself
        return cast("Namespace", importlib.import_module("array_api_compat.cupy"))
    return cast("Namespace", sys.modules[library]) if library == "array_api_strict" else None


def device_of(x: Array) -> Device:
    """Return the device that holds `x`, in the form that its namespace's creation functions accept."""
    return array_api_compat.device(x)


def to_host(x: Array) -> np.ndarray[Any, Any]:
    """Return `x` as a NumPy array, without a copy if it is one already.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(2)
    >>> to_host(x) is x
    True
    """
    if array_api_compat.is_cupy_array(x):
        return x.get()  # type: ignore[attr-defined, no-any-return]
    if array_api_compat.is_array_api_strict_namespace(cast("Any", array_namespace(x))):
        return np.asarray(x.to_device(array_namespace(x).Device("CPU_DEVICE")))  # type: ignore[attr-defined]
    return np.asarray(x)


@dataclass(frozen=True, slots=True)
class Backend:
    """Array library and device on which arrays are created."""

    name: str
    xp: Namespace
    device: Device

    def asarray(self, x: Any, dtype: DType = None) -> Array:
        """Convert a host array or nested numbers to an array of this backend, as `dtype` if given."""
        return self.xp.asarray(x, dtype=dtype, device=self.device)


def backend_of(x: Array) -> Backend:
    """Return the backend that holds `x`.

    Examples
    --------
    >>> import numpy as np
    >>> backend_of(np.zeros(2)).name
    'numpy'
    """
    xp = array_namespace(x)
    return Backend(xp.__name__.rpartition(".")[2], xp, device_of(x))


def select_backend(name: BackendName = "auto") -> Backend:
    """Return the backend called `name`; "auto" selects CuPy if there is a usable GPU, else NumPy.

    Raises
    ------
    BackendError
        If `name` is "cupy" and CuPy is not installed or there is no usable GPU.
    UsageError
        If there is no backend called `name`.

    Examples
    --------
    >>> select_backend("numpy").asarray([1, 2], dtype="float32")
    array([1., 2.], dtype=float32)
    """
    if name not in ("auto", "numpy", "cupy"):
        raise UsageError(f"backend: {name!r} is not one of auto, numpy, cupy")
    if name != "numpy":
        reason = cupy_absence()
        if reason is None:
            import cupy

            return Backend("cupy", array_namespace(cupy.empty(0)), cupy.cuda.Device())
        if name == "cupy":
            raise BackendError(f"backend cupy: {reason}; use --backend numpy")
    return Backend("numpy", cast("Namespace", array_api_compat.numpy), "cpu")


def cupy_absence() -> str | None:
    """Return the reason why CuPy cannot be used; None if it can."""
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "no GPU was found"
        probe = cupy.ones((2, 2), dtype=cupy.float32)
        if float((probe @ probe + probe).sum()) != 12.0:
            return "the GPU computes wrong results"
    except ModuleNotFoundError:
        return "CuPy is not installed (extras cuda12 and cuda13 install it)"
    except Exception as error:  # such as missing libraries or unsuitable drivers
        return f"no usable GPU was found ({' '.join(str(error).split())[:200]})"
    return None


def device_count() -> int:
    """Number of GPUs that CuPy finds; 0 if CuPy cannot be used."""
    if cupy_absence() is not None:
        return 0
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def synchronize(x: Array) -> None:
    """Wait until the device of `x` has finished all queued work; NumPy arrays need no waiting."""
    if array_api_compat.is_cupy_array(x):
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def memory_in_use(backend: Backend) -> float:
    """Memory in use in bytes; NaN if unknown.

    It is the size of CuPy's memory pool or, with NumPy, the peak resident memory of the process.
    """
    if backend.name == "cupy":
        import cupy

        return float(cupy.get_default_memory_pool().total_bytes())
    try:
        import resource
    except ImportError:  # not a POSIX system
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


def memory_size(backend: Backend) -> int | None:
    """Memory of the device in bytes, or the limit of its container if that is lower; None if unknown."""
    if backend.name == "cupy":
        import cupy

        return int(cupy.cuda.runtime.memGetInfo()[1])
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
    with suppress(OSError, ValueError):  # the file contains "max" if there is no limit
        size = min(size, int(_CONTAINER.read_text(encoding="ascii")))
    return size if size > 0 else None


def device_name(backend: Backend) -> str:
    """Name of the device: the GPU's name, or the processor's architecture and number of threads."""
    if backend.name == "cupy":
        import cupy

        return str(cupy.cuda.runtime.getDeviceProperties(backend.device.id)["name"].decode())
    return f"{platform.machine()} CPU, {os.cpu_count()} threads"
