"""Claims: which process runs a trial, and when another process may take it over."""

import errno
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from processes import PATIENCE, Process, wait_until

from revgn.store.owner import this_process, write_owner
from revgn.sweeps import claim as claims
from revgn.sweeps.claim import (
    Beat,
    Silence,
    ask_to_stop,
    attempt,
    beating,
    is_held,
    newest_claim,
    take,
    write_beat,
)


def test_only_one_of_many_threads_takes_a_trial(tmp_path):
    taken = []
    start = threading.Barrier(8, timeout=PATIENCE)

    def try_it():
        start.wait()
        taken.append(take(tmp_path, "trial", 0))

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sum(folder is not None for folder in taken) == 1
    claim = newest_claim(tmp_path, "trial")
    assert (claim.owner, attempt(claim)) == (this_process(), 1)


def test_the_newest_attempt_has_the_highest_number(tmp_path):
    for after in (9998, 9999):
        take(tmp_path, "trial", after)
    assert attempt(newest_claim(tmp_path, "trial")) == 10_000


def test_the_trial_of_a_dead_process_is_free(tmp_path):
    assert not is_held(newest_claim(tmp_path, "trial"), Silence())
    folder = take(tmp_path, "trial", 0)
    assert is_held(newest_claim(tmp_path, "trial"), Silence())
    child = Process([sys.executable, "-c", ""])
    child.wait()
    write_owner(folder / "owner.json", replace(this_process(), process=child.pid))
    assert not is_held(newest_claim(tmp_path, "trial"), Silence())
    assert take(tmp_path, "trial", 0) is None
    assert take(tmp_path, "trial", 1).name == "0002"
    assert is_held(newest_claim(tmp_path, "trial"), Silence())


def test_a_trial_on_another_machine_is_free_after_a_minute_without_heartbeat(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: clock[0])
    folder, silence = take(tmp_path, "trial", 0), Silence()
    write_owner(folder / "owner.json", replace(this_process(), host="elsewhere"))
    for count in range(5):  # heartbeats at long intervals
        write_beat(folder, Beat(count=count))
        assert is_held(newest_claim(tmp_path, "trial"), silence)
        clock[0] += claims.SILENT_SECONDS - 1
    assert is_held(newest_claim(tmp_path, "trial"), silence)
    clock[0] += 2
    assert not is_held(newest_claim(tmp_path, "trial"), silence)


def test_an_attempt_writes_heartbeats_and_ends_for_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.0)
    monkeypatch.setattr(claims, "_LOOK_SECONDS", 0.001)
    folder = take(tmp_path, "trial", 0)
    with beating(folder, lambda: Beat(step=3, scores=((1.0, 0.5),))) as asked:
        wait_until(lambda: newest_claim(tmp_path, "trial").beat.count > 2)
        assert newest_claim(tmp_path, "trial").beat.scores == ((1.0, 0.5),)
        assert asked() is False
        ask_to_stop(folder, "hopeless")
        wait_until(asked)
        assert asked() == "hopeless"
    write_beat(folder, Beat(ended="stopped"))
    assert not is_held(newest_claim(tmp_path, "trial"), Silence())


@pytest.mark.parametrize("by", ["request", "newer attempt"])
def test_an_attempt_stops_on_request_or_when_a_newer_one_exists(tmp_path, by, monkeypatch):
    monkeypatch.setattr(claims, "_LOOK_SECONDS", 0.001)
    folder = take(tmp_path, "trial", 0)
    with beating(folder, Beat) as asked:
        if by == "request":
            ask_to_stop(folder, "")
        else:
            take(tmp_path, "trial", 1)
        wait_until(asked)
        assert asked() is True


def test_an_error_of_the_file_system_does_not_end_the_heartbeat(tmp_path, monkeypatch):
    def stale(path):
        raise OSError(errno.ESTALE, "stale file handle")

    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.0)
    monkeypatch.setattr(claims, "_LOOK_SECONDS", 0.001)
    folder = take(tmp_path, "trial", 0)
    with monkeypatch.context() as patch, beating(folder, Beat) as asked:
        patch.setattr(Path, "exists", stale)
        assert wait_until(lambda: newest_claim(tmp_path, "trial").beat.count > 2)
        assert asked() is False


@pytest.mark.parametrize("content", [b"", b"{", b'{"count": "a"}', b"\xff" * 100])
def test_a_damaged_heartbeat_is_ignored(tmp_path, content):
    folder = take(tmp_path, "trial", 0)
    (folder / "beat.json").write_bytes(content)
    (folder / "owner.json").write_bytes(content)
    claim = newest_claim(tmp_path, "trial")
    assert (claim.beat, claim.owner) == (Beat(), None)
