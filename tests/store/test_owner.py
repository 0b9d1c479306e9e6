import errno
import fcntl
import sys
from dataclasses import replace

import pytest
from processes import Process

from revgn.errors import RunError
from revgn.store import create_run, reopen_run
from revgn.store.owner import _began as began
from revgn.store.owner import is_alive, read_owner, this_process, write_owner


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


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"host": "a"}', b'{"host": "a", "process": "1"}'])
def test_a_damaged_owner_file_gives_none(tmp_path, content):
    assert read_owner(tmp_path / "writer.json") is None
    (tmp_path / "writer.json").write_bytes(content)
    assert read_owner(tmp_path / "writer.json") is None


def test_round_trip(tmp_path):
    write_owner(tmp_path / "writer.json", this_process())
    assert read_owner(tmp_path / "writer.json") == this_process()


def test_without_file_locks_a_living_writer_holds_the_run(tmp_path, provenance, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    folder = tmp_path / "run"
    with create_run(folder, provenance):
        alive = replace(this_process(), process=1, began=began(1))
        write_owner(folder / "writer.json", alive)
        with pytest.raises(RunError, match="process 1 on"):
            reopen_run(folder, provenance)
    write_owner(folder / "writer.json", dead_process())
    reopen_run(folder, provenance).close("finished")
    assert read_owner(folder / "writer.json") == this_process()
