"""Backends, dtypes, and a profile of Hypothesis that generates the same examples each time."""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before NumPy: workers share the cores

from collections.abc import Iterator
from itertools import islice
from typing import Any

import hypothesis
import numpy as np
import pytest
from libraries import Library, make_library
from stand_in import cupy_stand_in

from revgn import testing
from revgn.arrays import select_backend

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None, max_examples=40)
hypothesis.settings.load_profile("fixed")

PAIRS = [  # libraries and precisions of a test with both fixtures
    {"backend": "numpy", "dtype": "float32"},
    {"backend": "numpy:readonly", "dtype": "float64"},
    {"backend": "strict:device1", "dtype": "float32"},  # here a number of another precision is an error
    {"backend": "cupy:stand-in", "dtype": "float32"},
    {"backend": "cupy", "dtype": "float64"},
    {"backend": "cupy", "dtype": "float32"},
]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Hide GPUs from a session without GPU tests: there `auto` is NumPy, also in processes that it starts."""
    if not any(item.get_closest_marker("gpu") for item in session.items):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with the libraries and precisions in `PAIRS`; CuPy itself only with `-m gpu`.

    A test that names its own dtypes runs with each of them.
    """
    own = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark)}
    free = tuple(name for name in ("backend", "dtype") if name in {*metafunc.fixturenames} - own)
    if free:
        found = dict.fromkeys(tuple(pair[name] for name in free) for pair in PAIRS)
        on_gpu = {pair: [pytest.mark.gpu] if "cupy" in pair else [] for pair in found}
        metafunc.parametrize(free, [pytest.param(*pair, marks=on_gpu[pair]) for pair in found], indirect=True)


def _names(mark: pytest.Mark) -> list[str]:
    names = mark.args[0]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Each backend in turn."""
    if request.param == "cupy:stand-in":
        with cupy_stand_in():
            yield Library(request.param, select_backend("cupy"))
    else:
        yield make_library(request.param)


@pytest.fixture
def stand_in() -> Iterator[Any]:
    """The stand-in as the module `cupy`, for tests that count events or change its settings."""
    with cupy_stand_in() as cupy:
        yield cupy


@pytest.fixture
def numpy_backend() -> Library:
    """Plain NumPy, for tests that compare with dense references or need no second library."""
    return make_library("numpy")


@pytest.fixture
def few_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `revgn check --math` check its first 80 laws only."""
    complete = testing.check_machine
    monkeypatch.setattr(testing, "check_machine", lambda *args, **how: islice(complete(*args, **how), 80))


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> str:
    """Each precision in turn, by name."""
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run and time the trials of a sweep in this process, for tests whose subject is not the workers."""
    from sweep_cases import Here  # imports much that other tests do not need

    for place in ("launch", "forecast"):
        monkeypatch.setattr(f"revgn.sweeps.{place}.LocalPool", lambda workers, gpus: Here())
