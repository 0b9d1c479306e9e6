"""Each bench runs to its end and prints, on the digits and at small sizes."""

import importlib
import sys
from pathlib import Path

import pytest

from revgn.data import load_dataset

SMALL = {
    "bench_cg": "--batch 32 --steps 1 --every 1 --only none blocks groups+2 sample kronecker mean",
    "bench_conv": "--rounds 1 --batch 16 --size 8 --set network.hidden=[8,16]",
    "bench_defaults": "--data digits auto-mpg --seeds 1 --set training.steps=1 --set network.hidden=8",
    "bench_estimate": "--batches 32 --steps 2 --set network.hidden=16",
    "bench_full_batch": "--rows 32 --most 2",
    "bench_generalization": "--epochs 1 --batch 64 --seeds 1 --budget 0.01 --set network.hidden=16",
    "bench_large_batch": "--samples 64 --block 64 --hidden 16 --steps 2 --damping 0.1",
    "bench_recording": "--milliseconds 0.1 --steps 3 --rounds 1",
    "bench_step": "--backend numpy --rounds 1 --batch 32 --hidden 16",
    "bench_step --busy": "--busy --backend numpy --rounds 1 --batch 32 --hidden 16 --only adam muon",
    "bench_tiles": "--samples 32 --outputs 2 --hidden 8 --only 30000",
}


@pytest.mark.parametrize("name", SMALL)
def test_it_runs(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # as on the command line
    bench = importlib.import_module(name.split()[0])
    monkeypatch.setattr(bench, "load_data", lambda config: load_dataset("digits", subset=128), raising=False)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *SMALL[name].split()])
    bench.main()
    assert capsys.readouterr().out
