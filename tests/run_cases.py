import subprocess
import sys
from pathlib import Path

import pytest
from processes import Process

import revgn
from revgn.store import Provenance

CONFIG = {
    "optimizer": {"name": "gauss-newton", "lr": 0.5, "carry": None, "nesterov": False},
    "network": {"hidden": [64, 32], "blocks": 2, "is_deep": True},
    "notes": {},
}
CHILD = """
import os, sys
from pathlib import Path
import numpy as np
from revgn.errors import RunError
from revgn.store import Provenance, create_run, open_run, reopen_run

folder = Path(sys.argv[1])
provenance = Provenance(
    "a run", "revgn train", {"seed": 0}, "seed = 0", 0, "numpy", "cpu", "float64", "digits", "0" * 64, {}, ""
)
"""


@pytest.fixture(scope="session")
def provenance():
    return Provenance(
        title="exact steps on digits",
        command="revgn train --lr 0.5",
        config=CONFIG,
        config_toml="[optimizer]\nlr = 0.5\n",
        seed=7,
        backend="numpy",
        device="a processor",
        dtype="float32",
        data_name="digits",
        data_sha256="ab" * 32,
        versions={"revgn": "0.1.0", "numpy": "2.0"},
        references="arXiv 2411.07979",
    )


@pytest.fixture
def start_child(tmp_path):
    def start(body, folder, output):
        root = str(Path(revgn.__file__).parents[1])
        with output.open("wb") as file:
            return Process(
                [sys.executable, "-c", CHILD + body, str(folder)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={"PYTHONPATH": root, "PATH": ""},
            )

    return start
