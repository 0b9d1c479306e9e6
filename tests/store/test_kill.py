import random
import time
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
from processes import wait_until

from revgn.store import is_run, latest_checkpoint, open_run, reopen_run

WRITE_FAST = """
writer = create_run(folder, provenance)
for step in range(1, 1_000_000):
    writer.record_step({"step": step, "loss": 1 / step, "rho": step * 1e-15})
    os.write(1, b"step %d\\n" % step)
    if step % 7 == 0:
        writer.snapshot()
        os.write(1, b"snapshot %d\\n" % step)
    if step % 23 == 0:
        arrays = {"w": np.full(1000, float(step))}
        writer.save_checkpoint(step=step, arrays=arrays, scores={"raw": step % 5})
        os.write(1, b"checkpoint %d\\n" % step)
"""
KILLS = 10
AT_ONCE = 5


def acknowledged(output):
    """Return the last step, snapshot and checkpoint that the child process reported as written."""
    last = {"step": 0, "snapshot": 0, "checkpoint": 0}
    for line in output.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            what, step = line.split()
            last[what] = int(step)
    return last


def check(folder, last, provenance):
    with h5py.File(folder / "run.h5", "r") as file:
        steps = file["steps/step"][...]
        assert len(steps) >= last["snapshot"]
        np.testing.assert_array_equal(file["steps/loss"][...] if len(steps) else steps, 1 / steps)
        assert file.attrs["status"] == "running"
    steps = open_run(folder).steps
    assert len(steps["step"]) >= last["step"]
    np.testing.assert_array_equal(steps["step"], np.arange(1, len(steps["step"]) + 1))
    np.testing.assert_array_equal(steps.get("loss", []), 1 / steps["step"])
    if last["checkpoint"]:
        checkpoint, passed_over = latest_checkpoint(folder)
        assert checkpoint.step >= last["checkpoint"]
        assert passed_over == []
        assert len(steps["step"]) >= checkpoint.step
        assert set(checkpoint.arrays["w"]) == {checkpoint.step}
    following = len(steps["step"]) + 1
    with reopen_run(folder, replace(provenance, command="revgn resume")) as writer:
        writer.record_step({"step": following, "loss": 1 / following})
    assert open_run(folder).steps["step"][-1] == following


def test_killed_at_any_instant(tmp_path, start_child, provenance):
    draw = random.Random(4)
    total = 0
    for first in range(0, KILLS, AT_ONCE):
        folders = [tmp_path / str(number) for number in range(first, first + AT_ONCE)]
        outputs = [folder.with_suffix(".txt") for folder in folders]
        children = [start_child(WRITE_FAST, *pair) for pair in zip(folders, outputs, strict=True)]
        for child, folder in zip(children, folders, strict=True):
            assert wait_until(partial(is_run, folder), child)
            time.sleep(draw.uniform(0, 0.15))  # kill at a random instant
            child.kill()
            assert child.wait() == -9
        for folder, output in zip(folders, outputs, strict=True):
            last = acknowledged(output)
            total += last["step"]
            check(folder, last, provenance)
    print(f"{KILLS} kills, {total} acknowledged steps")
    assert total > KILLS
