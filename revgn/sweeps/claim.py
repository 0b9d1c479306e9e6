"""Claims of jobs: a folder for each attempt, made by `mkdir`, which one process alone can do.

    SWEEP/.claims/JOB/0001/owner.json     the process
                          /beat.json      its progress, anew every second
                          /stop           written by another process: end the job, for this reason

A job belongs to its newest attempt. A process that finds the owner of the attempt dead, or on another machine
and silent, makes the next one; of two that try at once, one succeeds. An attempt that is no longer the newest
ends.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from revgn.errors import RunError
from revgn.store.files import writing
from revgn.store.owner import Owner, is_alive, read_owner, this_process, write_owner

CLAIMS = ".claims"
BEAT_SECONDS = 1.0
SILENT_SECONDS = 60.0  # without a beat, after which a process of another machine counts as dead
_LOOK_SECONDS = 0.2


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of an attempt; `count` grows with every beat, `ended` is the status it ended with."""

    count: int = 0
    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    scores: tuple[tuple[float, float], ...] = ()  # (epoch, score), more is better
    ended: str = ""
    message: str = ""


class Claim(NamedTuple):
    """An attempt at a job, its process (None while it is being made) and its last beat."""

    folder: Path
    owner: Owner | None
    beat: Beat


def newest_claim(sweep: Path, job: str) -> Claim | None:
    """Return the attempt that a job belongs to; None before the first."""
    folder = sweep / CLAIMS / job
    try:
        newest = max(name for name in os.listdir(folder) if name.isdecimal())
    except (FileNotFoundError, ValueError):
        return None
    folder = folder / newest
    beat = Beat()
    with suppress(OSError, msgspec.MsgspecError):
        beat = msgspec.json.decode((folder / "beat.json").read_bytes(), type=Beat)
    return Claim(folder, read_owner(folder / "owner.json"), beat)


class Silence:
    """Time since the last beat of each attempt, by this process's own clock: machines' clocks may differ."""

    def __init__(self) -> None:
        self._heard: dict[Path, tuple[int, float]] = {}

    def of(self, claim: Claim) -> float:
        """Seconds for which the beat has been the same."""
        count, since = self._heard.get(claim.folder, (-1, 0.0))
        if count != claim.beat.count:
            self._heard[claim.folder] = (claim.beat.count, time.monotonic())
            return 0.0
        return time.monotonic() - since


def is_held(claim: Claim | None, silence: Silence) -> bool:
    """Tell whether a process works at the job of this newest attempt."""
    if claim is None or claim.beat.ended:
        return False
    alive = None if claim.owner is None else is_alive(claim.owner)
    return silence.of(claim) < SILENT_SECONDS if alive is None else alive


def attempt(claim: Claim | None) -> int:
    """Return the number of an attempt, 0 of none."""
    return 0 if claim is None else int(claim.folder.name)


def take(sweep: Path, job: str, after: int) -> Path | None:
    """Make the attempt that comes after that number; None where another process has made it."""
    folder = sweep / CLAIMS / job / f"{after + 1:04d}"
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            return None
    write_owner(folder / "owner.json", this_process())
    return folder


def ask_to_stop(claim: Path, reason: str) -> None:
    """Ask the process that works at the job to end it for a reason, or without one to leave it for later."""
    with suppress(RunError):
        put(claim / "stop", reason.encode())


def put(path: Path, content: bytes) -> None:
    """Write a whole file into a folder to which other processes write; a reader sees all of it or none."""
    partial = path.with_name(f".{path.name}-{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}")
    with writing(path):
        try:
            partial.write_bytes(content)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def beating(claim: Path, say: Callable[[], Beat]) -> Iterator[Callable[[], bool | str]]:
    """Beat while the block runs; gives a function that tells whether the job should end, or why."""
    verdict: list[bool | str] = [False]
    done = threading.Event()

    def beat() -> None:
        last, count = 0.0, 0
        while not done.wait(_LOOK_SECONDS):
            verdict[0] = verdict[0] or _asked(claim)
            if time.monotonic() - last >= BEAT_SECONDS:
                last, count = time.monotonic(), count + 1
                with suppress(RunError):  # a full disk must not end the job; its journal will tell
                    write_beat(claim, msgspec.structs.replace(say(), count=count))

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield lambda: verdict[0]
    finally:
        done.set()
        thread.join()


def write_beat(claim: Path, beat: Beat) -> None:
    """Write the beat of an attempt."""
    put(claim / "beat.json", msgspec.json.encode(beat))


def _asked(claim: Path) -> bool | str:
    """Reason to end the attempt; True where it is only to stop."""
    with suppress(OSError):
        return (claim / "stop").read_text(encoding="utf-8", errors="replace") or True
    return claim.with_name(f"{int(claim.name) + 1:04d}").exists()
