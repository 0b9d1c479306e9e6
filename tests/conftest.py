"""Backends, dtypes, and a Hypothesis that repeats itself."""

from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np
import pytest

from revgn.arrays import Array, Backend, cupy_absence, select_backend

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None, max_examples=40)
hypothesis.settings.load_profile("fixed")

BACKENDS = ("numpy", "numpy:readonly", "strict", "strict:device1")


class ReadOnlyBackend(Backend):
    """NumPy whose arrays cannot be written: whoever changes an argument raises."""

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

    device = array_api_strict.Device("device1" if name == "strict:device1" else "CPU_DEVICE")
    return Library(name, Backend("strict", array_api_strict, device))


@pytest.fixture(params=[*BACKENDS, pytest.param("cupy", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest) -> Library:
    """Each backend in turn; CuPy with `-m gpu`."""
    return make_library(request.param)


@pytest.fixture
def numpy_backend() -> Library:
    """Plain NumPy, for what is compared with dense truths or needs no second library."""
    return make_library("numpy")


@pytest.fixture(params=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Each precision in turn, by name."""
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
