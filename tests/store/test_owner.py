import errno
import fcntl
import os
import sys
from dataclasses import replace

import pytest
from processes import Process

from revgn.errors import RunError, RunHeldError
from revgn.store import create_run, open_run, reopen_run, status
from revgn.store.owner import SILENT_SECONDS, is_alive, read_owner, this_process, write_owner
from revgn.store.owner import _began as began


def dead_process():
    """Return the owner for a process of this machine that has ended."""
    child = Process([sys.executable, "-c", ""])
    child.wait()
    return replace(this_process(), process=child.pid)


def test_living_and_dead_processes():
    here = this_process()
    assert is_alive(here)
    assert is_alive(dead_process()) is False
    assert is_alive(replace(here, began="1")) is False  # a later process has the same number
    assert is_alive(replace(here, host="elsewhere")) is None
    assert is_alive(replace(here, machine="another boot")) is None


def test_a_process_that_has_ended_unnoticed_by_its_parent_is_dead():
    child = Process([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(replace(this_process(), process=child.pid, began=began(child.pid))) is False
    assert began(child.pid)
    child.wait()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"host": "a"}', b'{"host": "a", "process": "1"}'])
def test_a_damaged_owner_file_gives_none(tmp_path, content):
    assert read_owner(tmp_path / "writer.json") is None
    (tmp_path / "writer.json").write_bytes(content)
    assert read_owner(tmp_path / "writer.json") is None


def test_round_trip(tmp_path):
    write_owner(tmp_path / "writer.json", this_process())
    assert read_owner(tmp_path / "writer.json") == this_process()


@pytest.fixture
def no_locks(monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)


@pytest.mark.usefixtures("no_locks")
def test_without_file_locks_a_writer_on_another_machine_holds_the_run_for_a_minute(tmp_path, provenance):
    """It counts as dead when it has not written its journal for a minute."""
    folder, journal = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    create_run(folder, provenance)._release()
    write_owner(folder / "writer.json", replace(this_process(), host="elsewhere"))
    now = journal.stat().st_mtime
    os.utime(journal, times=(0, now + 3600))
    with pytest.raises(RunHeldError, match="on elsewhere"):
        reopen_run(folder, provenance)
    assert status(open_run(folder)) == "running"
    os.utime(journal, times=(0, now - SILENT_SECONDS))
    assert status(open_run(folder)) == "killed"
    reopen_run(folder, provenance).close("finished")


@pytest.mark.usefixtures("no_locks")
def test_without_file_locks_a_run_that_could_not_be_created_leaves_no_folder(tmp_path, provenance):
    with pytest.raises(AttributeError):
        create_run(tmp_path / "run", replace(provenance, config_toml=None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_locks")
def test_without_file_locks_a_living_writer_holds_the_run(tmp_path, provenance):
    folder = tmp_path / "run"
    with create_run(folder, provenance):
        alive = replace(this_process(), process=1, began=began(1))
        write_owner(folder / "writer.json", alive)
        with pytest.raises(RunError, match="process 1 on"):
            reopen_run(folder, provenance)
    write_owner(folder / "writer.json", dead_process())
    reopen_run(folder, provenance).close("finished")
    assert read_owner(folder / "writer.json") == this_process()
