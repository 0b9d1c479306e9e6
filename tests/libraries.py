"""The array libraries under test."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from revgn.arrays import Array, Backend, cupy_absence, select_backend


class ReadOnlyBackend(Backend):
    """NumPy with read-only arrays: code that changes an argument raises an error."""

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        array = np.array(x, dtype=dtype)
        array.flags.writeable = False
        return array


@dataclass(frozen=True)
class Library:
    """A backend under test; dtypes by name, since each library has its own."""

    name: str
    backend: Backend

    def asarray(self, x: Any, dtype: str = "float64") -> Array:
        return self.backend.asarray(x, dtype=self.dtype(dtype))

    def dtype(self, name: str) -> Any:
        return getattr(self.backend.xp, name)


def make_library(name: str) -> Library:
    if name == "numpy":
        return Library(name, select_backend("numpy"))
    if name == "numpy:readonly":
        plain = select_backend("numpy")
        return Library(name, ReadOnlyBackend(plain.name, plain.xp, plain.device))
    if name == "cupy":
        if reason := cupy_absence():
            pytest.skip(reason)
        return Library(name, select_backend("cupy"))
    import array_api_strict

    return Library(name, Backend("strict", array_api_strict, array_api_strict.Device("device1")))
