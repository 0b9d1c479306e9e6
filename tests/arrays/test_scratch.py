"""Stored arrays are returned unchanged, from memory or from a temporary file that is always removed."""

import gc
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import run

from revgn.arrays import Scratch, device_of, nbytes, to_host
from revgn.arrays.scratch import scratch_folder
from revgn.errors import RunError, UsageError


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.mark.parametrize("room", [0, 100, 1 << 20])
def test_arrays_are_returned_unchanged(room, backend, dtype, rng):
    scratch = Scratch(room)
    arrays = [
        backend.asarray(rng.standard_normal(shape), dtype) for shape in ((3, 4), (1,), (2, 0), (5, 2, 3))
    ]
    for i, array in enumerate(arrays):
        scratch.put(i, array)
    for i in (3, 0, 2, 1, 0):
        found = scratch.get(i)
        assert np.array_equal(to_host(found), to_host(arrays[i]))
        assert (found.dtype, device_of(found)) == (arrays[i].dtype, device_of(arrays[i]))
    total = sum(nbytes(array.shape, array) for array in arrays)
    assert total == sum(to_host(array).nbytes for array in arrays)
    assert scratch.in_memory <= room
    assert scratch.in_memory + scratch.on_disk == total
    assert (scratch.on_disk == 0) == (room >= total)
    scratch.close()


def test_arrays_that_are_not_contiguous_are_returned_unchanged(rng):
    scratch, array = Scratch(0), rng.standard_normal((6, 4)).T[1:, ::2]
    scratch.put("a", array)
    assert np.array_equal(scratch.get("a"), array)


def test_the_first_arrays_stay_in_memory():
    scratch, first, second = Scratch(100), np.ones(10), np.ones(10)
    scratch.put(1, first)
    scratch.put(2, second)
    scratch.put(3, np.ones(2))
    assert scratch.get(1) is first
    assert scratch.get(2) is not second
    assert (scratch.in_memory, scratch.on_disk) == (96, 80)


def test_the_file_has_no_name_and_is_closed_with_the_object(folder):
    scratch = Scratch(0)
    scratch.put(1, np.ones(1000))
    assert list(folder.iterdir()) == []
    file = scratch._file
    del scratch
    gc.collect()
    assert file.closed


def test_no_file_is_left_after_a_kill(folder):
    code = """
import os, signal
import numpy as np
from revgn.arrays import Scratch
scratch = Scratch(0)
scratch.put(1, np.ones(100_000))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_reported(monkeypatch):
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        with pytest.raises(RunError, match="No space left on device; set TMPDIR"):
            Scratch(0).put(1, np.ones(1000))


def test_a_disk_that_is_too_small_raises_at_once(folder):
    free = shutil.disk_usage(folder).free
    with pytest.raises(UsageError, match=r"GB on disk are needed, but .* has .* GB left; allow more memory"):
        Scratch(1000, 2 * free)
    Scratch(3 * free, 2 * free)


def test_the_folder_is_tmpdir_or_a_folder_on_disk(monkeypatch, folder):
    assert scratch_folder() == str(folder)
    monkeypatch.delenv("TMPDIR")
    assert scratch_folder() in ("/var/tmp", "/tmp")
