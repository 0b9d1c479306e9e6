"""A run on a GPU that is killed (kill -9) and resumed has the same bits as a run that was never stopped."""

import json
import os
import signal
import sys

import pytest
from gpu.optimizers import OPTIMIZERS
from processes import run
from repeats import repeats

from revgn.launch import resume_run, start_run
from revgn.settings import build_config
from revgn.store import open_run

STEPS = 11
KILLED_AT = 7  # between the checkpoints of steps 4 and 8
SETTINGS = {
    "data": {"subset": 200},
    "network": {"hidden": 96, "first_block": "identity"},  # linear and random features
    "training": {"backend": "cupy", "batch_size": 48, "steps": STEPS, "checkpoint_every": 4},
}
CHILD = """
import json, os, signal, sys
from revgn.launch import start_run
from revgn.settings import build_config

def kill(problem, event):
    if event.state.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

start_run(build_config(json.loads(sys.argv[1])), sys.argv[2], observe=kill)
"""


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_killed_and_resumed(name, tmp_path):
    settings = SETTINGS | {"optimizer": OPTIMIZERS[name]}
    start_run(build_config(settings), tmp_path / "whole")
    command = [sys.executable, "-c", CHILD.format(step=KILLED_AT), json.dumps(settings)]
    path = os.pathsep.join(filter(None, sys.path))
    killed = run([*command, str(tmp_path / "killed")], env=os.environ | {"PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert open_run(tmp_path / "killed").steps["step"].tolist() == list(range(1, KILLED_AT + 1))
    assert resume_run(tmp_path / "killed", {}).step == STEPS
    whole, resumed = repeats(tmp_path / "whole"), repeats(tmp_path / "killed")
    assert [*resumed] == [*whole]
    differ = [part for part in whole if resumed[part] != whole[part]]
    assert not differ, f"not the bits of a run that was never stopped: {', '.join(differ)}"
