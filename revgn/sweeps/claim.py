"""Claims: how worker processes agree on which of them runs a trial.

Each attempt at a trial is a folder. It is made by `mkdir`, which succeeds in one process only:

    SWEEP/.claims/TRIAL/0001/owner.json     the process that runs the trial
                            /beat.json      its progress (heartbeat), rewritten every second
                            /stop           written by another process: reason to end the trial

The newest attempt owns the trial. If its process is dead, or runs on another machine and has sent no
heartbeat for a minute, another process makes the next attempt. An attempt that is no longer the newest ends.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from revgn.errors import RunError
from revgn.store.files import write_shared, writing
from revgn.store.owner import SILENT_SECONDS, Owner, is_alive, read_owner, this_process, write_owner

CLAIMS = ".claims"
BEAT_SECONDS = 1.0
_LOOK_SECONDS = 0.2


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """Heartbeat: the progress of an attempt.

    `count` grows with every heartbeat. `ended` is the final status, or "" while the attempt runs.
    """

    count: int = 0
    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    scores: tuple[tuple[float, float], ...] = ()  # (epoch, score), higher is better
    judged: str = ""  # name of the metric that the scores are of
    ended: str = ""
    message: str = ""

    @property
    def by_test(self) -> bool:
        """Whether the scores are of the test set, for lack of a validation set."""
        return self.judged.startswith("test")


def score_of_trial(beat: Beat) -> float:
    """Return the best score on the validation set, or without one the last score on the test set."""
    scores = [score for _, score in beat.scores]
    return max(scores[-1:] if beat.by_test else scores, default=-math.inf)


class Claim(NamedTuple):
    """An attempt at a trial: its folder, its process (None while it is being made) and its last heartbeat."""

    folder: Path
    owner: Owner | None
    beat: Beat


def newest_claim(sweep: Path, trial: str) -> Claim | None:
    """Return the newest attempt at a trial; None if there was none."""
    folder = sweep / CLAIMS / trial
    try:
        newest = max((name for name in os.listdir(folder) if name.isdecimal()), key=int)
    except (FileNotFoundError, ValueError):
        return None
    folder = folder / newest
    beat = Beat()
    with suppress(OSError, msgspec.MsgspecError):
        beat = msgspec.json.decode((folder / "beat.json").read_bytes(), type=Beat)
    return Claim(folder, read_owner(folder / "owner.json"), beat)


def newest_claims(sweep: Path) -> list[Claim]:
    """Return the newest attempt at each trial of a sweep."""
    with suppress(FileNotFoundError):
        return list(filter(None, (newest_claim(sweep, trial) for trial in os.listdir(sweep / CLAIMS))))
    return []


class Silence:
    """Time since the last heartbeat of each attempt.

    It is measured with the clock of this process, since the clocks of other machines may differ.
    """

    def __init__(self) -> None:
        self._heard: dict[Path, tuple[int, float]] = {}

    def of(self, claim: Claim) -> float:
        """Return the seconds since the heartbeat last changed."""
        count, since = self._heard.get(claim.folder, (-1, 0.0))
        if count != claim.beat.count:
            self._heard[claim.folder] = (claim.beat.count, time.monotonic())
            return 0.0
        return time.monotonic() - since


def is_held(claim: Claim | None, silence: Silence) -> bool:
    """Return whether a process is running the trial, given its newest attempt."""
    if claim is None or claim.beat.ended:
        return False
    alive = None if claim.owner is None else is_alive(claim.owner)
    return silence.of(claim) < SILENT_SECONDS if alive is None else alive


def attempt(claim: Claim | None) -> int:
    """Return the number of an attempt; 0 if there is none."""
    return 0 if claim is None else int(claim.folder.name)


def take(sweep: Path, trial: str, after: int) -> Path | None:
    """Make the attempt after number `after` and return its folder; None if another process has made it."""
    folder = sweep / CLAIMS / trial / f"{after + 1:04d}"
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            return None
    write_owner(folder / "owner.json", this_process())
    return folder


def ask_to_stop(claim: Path, reason: str) -> None:
    """Request that a trial ends for the given reason or, if the reason is empty, that its attempt stops."""
    with suppress(RunError):
        write_shared(claim / "stop", reason.encode())


@contextmanager
def beating(claim: Path, say: Callable[[], Beat]) -> Iterator[Callable[[], bool | str]]:
    """Write heartbeats while the block runs.

    The function given to the block returns False, True if the trial should stop and be resumed later, or the
    reason to end it for good.
    """
    verdict: list[bool | str] = [False]
    done = threading.Event()

    def beat() -> None:
        last, count = 0.0, 0
        while not done.wait(_LOOK_SECONDS):
            verdict[0] = verdict[0] or _stop_reason(claim)
            if time.monotonic() - last >= BEAT_SECONDS:
                last, count = time.monotonic(), count + 1
                with suppress(RunError):  # a full disk must not end the trial here; writing its journal will
                    write_beat(claim, msgspec.structs.replace(say(), count=count))

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield lambda: verdict[0]
    finally:
        done.set()
        thread.join()


def write_beat(claim: Path, beat: Beat) -> None:
    """Write the heartbeat of an attempt."""
    write_shared(claim / "beat.json", msgspec.json.encode(beat))


def _stop_reason(claim: Path) -> bool | str:
    """Return the reason to end the trial, True to stop the attempt without ending the trial, else False."""
    with suppress(OSError):
        return (claim / "stop").read_text(encoding="utf-8", errors="replace") or True
    with suppress(OSError):  # a network file system may fail for a moment
        return claim.with_name(f"{int(claim.name) + 1:04d}").exists()
    return False
