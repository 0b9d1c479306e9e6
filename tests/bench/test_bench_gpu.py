"""The bench for a GPU, at a size that any machine measures in seconds."""

import json
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import bench_gpu
import pytest
from stand_in import cupy_stand_in

from revgn.arrays import select_backend

TINY = ("--hidden", "24", "--batch", "16", "--sizes", "8,16", "--rounds", "1")


@pytest.mark.parametrize("name", ["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def test_every_primitive_and_step_is_timed(name, tmp_path, capsys):
    """The steps are those of all optimizers; each line of the table fits into 110 columns."""
    file = tmp_path / "bench.json"
    assert bench_gpu.main(["--backend", name, *TINY, "--networks", "mnist", "--json", str(file)]) == 0
    report = json.loads(file.read_text(encoding="utf-8"))
    assert (report["failed"], report["left_out"]) == ({}, [])
    assert {(one["name"], one["n"], one["dtype"]) for one in report["primitives"]} >= {
        ("product", 16, "float32"),
        ("product", 8, "float64"),
        ("copy", 16, "float64"),
        ("cholesky", 8, "float32"),
        ("triangular solve, 1 column", 16, "float64"),
        ("triangular solve, 64 columns", 16, "float64"),
        ("eigenvectors", 8, "float32"),
        ("launch", 1, "float32"),
        ("host wait", 1, "float32"),
    }
    steps = report["networks"]["mnist"]["steps"]
    assert [*steps] == [*bench_gpu.steps()]
    for step in steps.values():
        assert 0 < step["least_ms"] <= step["ms"] <= step["most_ms"]
        assert step["to_adam"] == step["ms"] / steps["adam"]["ms"]
        assert step["to_floor"] == step["ms"] / max(step["floor_operations_ms"], step["floor_bytes_ms"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 110] == []
    assert sum(text.startswith("orthogonalized ") for text in lines) == 1


def test_the_floor_is_work_over_the_speed_of_the_largest_product():
    def of(name, n, dtype, **speed):
        return {"name": name, "n": n, "dtype": dtype} | speed

    primitives = [
        of("product", 8, "float32", operations_per_second=7e12),
        of("product", 16, "float32", operations_per_second=5e12),
        of("product", 16, "float64", operations_per_second=9e12),
        of("copy", 8, "float32", bytes_per_second=9e12),  # in a cache
        of("copy", 16, "float32", bytes_per_second=2e12),
    ]
    step = {"ms": 4.0, "operations": 1e10, "bytes_read": 1e9}
    assert bench_gpu.ratios(step, {"ms": 8.0}, {"primitives": primitives}) == {
        "floor_operations_ms": 2.0,
        "floor_bytes_ms": 0.5,
        "to_floor": 2.0,
        "to_adam": 0.5,
    }
    assert bench_gpu.ratios(step, {}, {"primitives": []}) == {}


def test_kernels_and_copies_to_the_host_are_counted(monkeypatch):
    def event(name, device, us):
        took = SimpleNamespace(elapsed_us=lambda: us)
        return SimpleNamespace(name=name, device_type=f"DeviceType.{device}", time_range=took)

    events = [
        event("cudaLaunchKernel", "CPU", 9.0),
        *[event("gemm", "CUDA", 1500.0)] * 2,
        event("add", "CUDA", 1000.0),
        event("Memset (Device)", "CUDA", 250.0),
        event("Memcpy DtoH (Device -> Pageable)", "CUDA", 250.0),
    ]
    torch, profiler = ModuleType("torch"), ModuleType("torch.profiler")
    torch.cuda = SimpleNamespace(is_available=lambda: True)
    profiler.ProfilerActivity = SimpleNamespace(CPU=0, CUDA=1)
    profiler.profile = lambda activities: nullcontext(SimpleNamespace(events=lambda: events))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch.profiler", profiler)
    assert bench_gpu.kernels(select_backend("numpy"), list) == {}
    with cupy_stand_in():
        found = bench_gpu.kernels(select_backend("cupy"), list)
    assert found["longest"][0] == {"name": "gemm", "count": 2, "ms": 3.0}
    assert (found["kernels"], found["to_host"], found["busy_ms"]) == (3, 1, 4.5)


def test_a_case_that_fails_is_reported_and_the_others_are_run(tmp_path, capsys, monkeypatch):
    def init_state(optimizer, *arguments):
        if type(optimizer).__name__ == "Muon":
            raise MemoryError("no memory\nfor this")
        return before(optimizer, *arguments)

    before = bench_gpu.init_state
    monkeypatch.setattr(bench_gpu, "init_state", init_state)
    file = tmp_path / "bench.json"
    assert bench_gpu.main(["--backend", "numpy", *TINY, "--steps", "muon,adam", "--json", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(file.read_text(encoding="utf-8"))
    assert [*report["failed"]] == [f"{network}: muon" for network in bench_gpu.NETWORKS]
    for network in bench_gpu.NETWORKS:
        assert f"{network}: muon: MemoryError: no memory for this" in lines
        assert report["failed"][f"{network}: muon"] == "MemoryError: no memory for this"
        assert [*report["networks"][network]["steps"]] == ["adam"]


def test_no_case_is_opened_when_the_time_is_over(capsys):
    assert bench_gpu.main(["--backend", "numpy", *TINY, "--limit", "-1"]) == 0
    assert "mnist: left out, the time is over" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("wrong", [("--steps", "adams"), ("--networks", "resnet"), ("--backend", "jax")])
def test_wrong_arguments_are_named(wrong, capsys):
    with pytest.raises(SystemExit):
        bench_gpu.main([*wrong])
    assert wrong[1] in capsys.readouterr().err
