"""Attributes of run.h5 that describe the machine."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from revgn.arrays import Backend, Cuda, Gpu
from revgn.launch.provenance import provenance
from revgn.settings import build_config
from revgn.training import build_problem, load_data

GPUS = (Gpu("NVIDIA T4", "7.5", 1, 16 * 10**9), Gpu("NVIDIA H100", "9.0", 1, 85 * 10**9))


@pytest.fixture(scope="module")
def problem():
    config = build_config(
        {"data": {"subset": 100}, "network": {"hidden": 16}, "training": {"backend": "numpy"}}
    )
    return build_problem(config, load_data(config))


@pytest.mark.parametrize(("tf32", "products"), [(False, "no TF32"), (True, "TF32 allowed")])
def test_a_gpu_with_its_software(tf32, products, problem, monkeypatch):
    """With several GPUs, the attributes describe the one that the run uses."""
    found = Cuda("14.2.0", "13.0", "13.1", "580.159", tf32, GPUS)
    monkeypatch.setattr("revgn.launch.provenance.describe_cuda", lambda: found)
    on_gpu = replace(problem, backend=Backend("cupy", problem.backend.xp, SimpleNamespace(id=1)))
    about = provenance(on_gpu, "revgn train")
    assert about.device == f"NVIDIA H100, 85.0 GB, compute capability 9.0, {products}"
    assert (
        about.versions.items()
        >= {"cupy": "14.2.0", "cuda-runtime": "13.0", "nvidia-driver": "580.159"}.items()
    )


def test_a_processor(problem, monkeypatch):
    monkeypatch.setattr("revgn.launch.provenance.describe_cuda", None)  # not called for a run on the host
    about = provenance(problem, "revgn train")
    assert about.image_shape == (1, 8, 8)
    assert about.device.endswith("threads")
    assert "nvidia-driver" not in about.versions


@pytest.mark.gpu
def test_the_gpu_that_is_there(problem):
    about = provenance(build_problem(build_config({"training": {"backend": "cupy"}}), problem.dataset), "")
    assert " GB, compute capability " in about.device
    assert about.versions["cuda-runtime"]
