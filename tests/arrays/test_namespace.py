"""Library and device of arrays, and transfers between host and device."""

import os
import sys

import numpy as np
import pytest

from revgn.arrays import (
    array_namespace,
    backend_of,
    cupy_absence,
    describe_cuda,
    device_of,
    draw_normal,
    draw_orthonormal,
    memory_size,
    select_backend,
    synchronize,
    to_host,
)
from revgn.errors import BackendError, RevgnError, UsageError
from revgn.testing import tolerance


def test_arrays_return_unchanged_from_the_device(backend, dtype, rng):
    x = rng.standard_normal((3, 2)).astype(dtype)
    there = backend.asarray(x, dtype)
    assert there.dtype == backend.dtype(dtype)
    assert np.array_equal(to_host(there), x)
    assert to_host(there).dtype == x.dtype


def test_backend_of_an_array(backend):
    x = backend.asarray(np.zeros(2))
    found = backend_of(x)
    assert (found.xp.__name__, found.device) == (array_namespace(x).__name__, device_of(x))
    assert device_of(found.asarray([1.0])) == device_of(x)
    synchronize(x)


def test_arrays_of_different_libraries_raise():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(BackendError, match=r"array_api_strict.*numpy.ndarray.*one library") as raised:
        array_namespace(np.zeros(2), strict.zeros(2))
    assert isinstance(raised.value, (RevgnError, TypeError))


def test_an_argument_that_is_not_an_array_raises():
    with pytest.raises(BackendError, match="list"):
        array_namespace([1.0])


def test_backends_by_name():
    assert select_backend("numpy").name == "numpy"
    assert select_backend("auto").name == ("numpy" if cupy_absence() else "cupy")
    with pytest.raises(UsageError, match="'torch' is not one of"):
        select_backend("torch")


def test_only_gpu_tests_use_a_gpu(request):
    """Other tests get NumPy for the backend "auto", even on a machine with a GPU."""
    if any(item.get_closest_marker("gpu") for item in request.session.items):
        pytest.skip("GPU tests are selected")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert select_backend("auto").name == "numpy"


def test_describe_cuda(stand_in, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CUPY_TF32", raising=False)
    found = describe_cuda()
    assert (found.cupy, found.runtime, found.driver_cuda, found.driver) == (
        stand_in.__version__,
        "13.0",
        "13.1",
        None,
    )
    assert [(gpu.compute_capability, gpu.memory_total) for gpu in found.gpus] == [("9.0", 80 << 30)]
    assert 0 < found.gpus[0].memory_free <= 80 << 30
    assert not found.tf32
    monkeypatch.setenv("CUPY_TF32", "1")
    assert describe_cuda().tf32
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert not describe_cuda().tf32


@pytest.mark.parametrize(
    ("script", "version"),
    [("echo 580.159.03; echo 580.159.03", "580.159.03"), ("exit 9", None), ("true", None)],
)
def test_the_driver_version_is_read_from_nvidia_smi(script, version, stand_in, monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert describe_cuda().driver == version


def test_missing_cupy_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "not installed" in cupy_absence()
    assert select_backend("auto").name == "numpy"
    with pytest.raises(BackendError, match=r"backend cupy: CuPy is not installed.*--backend numpy"):
        select_backend("cupy")


def test_draws_are_bitwise_equal_on_all_backends(backend, dtype):
    kind = backend.dtype(dtype)
    x = draw_normal(np.random.default_rng(5), (4, 3), 0.1, backend.backend, kind)
    expected = (0.1 * np.random.default_rng(5).standard_normal((4, 3))).astype(dtype)
    assert np.array_equal(to_host(x), expected)
    assert x.dtype == kind


@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (4, 4), (2, 1), (1, 1)])
def test_orthonormal_draws(rows, columns, backend, dtype):
    U = draw_orthonormal(np.random.default_rng(6), rows, columns, backend.backend, backend.dtype(dtype))
    host = to_host(U)
    assert host.shape == (rows, columns)
    assert np.allclose(host.T @ host, np.eye(columns), atol=tolerance(U.dtype, "map"))
    if columns == rows == 4:
        assert np.linalg.matrix_rank(host) == 4


@pytest.mark.parametrize(("limit", "bound"), [("max", 4096 * 1000), ("5000", 5000), (None, 4096 * 1000)])
def test_memory_size_is_limited_by_the_container(limit, bound, monkeypatch, tmp_path):
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr("revgn.arrays.namespace._CONTAINER", tmp_path / "memory.max")
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert memory_size(select_backend("numpy")) == bound


def test_memory_may_be_unknown(monkeypatch):
    monkeypatch.delattr("os.sysconf")
    assert memory_size(select_backend("numpy")) is None
